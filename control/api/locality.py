"""Where something runs, as Kubernetes' well-known labels of nodes say it."""

from typing import NamedTuple


class Locality(NamedTuple):
    """Empty where it is not known. https://kubernetes.io/docs/reference/labels-annotations-taints/#topologykubernetesioregion"""

    region: str = ""
    zone: str = ""
    subzone: str = ""

    def __bool__(self) -> bool:
        """Whether anything is known."""
        return any(self)


NOWHERE = Locality()
"""Nobody has said."""
