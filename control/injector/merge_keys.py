"""How each list of a pod is merged: Kubernetes' published `x-kubernetes-patch-merge-key` of core/v1, as a table.

Lists that are not here are replaced as a whole, as Kubernetes does with tolerations, command or envFrom. One deviation:
ports are told apart by number *and* protocol. Kubernetes' key is the number alone, by which a patch of 53/UDP hits
53/TCP (kubernetes/kubernetes 39188).
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class MergeKey:
    """Fields that together name an item. All but the first may be missing, and then have the default beside them."""

    fields: tuple[str, ...]
    defaults: tuple[Any, ...] = ()

    def of(self, item: dict[str, Any]) -> tuple[Any, ...] | None:
        """The item's identity; None: it has none."""
        first = item.get(self.fields[0])
        if first is None or any(isinstance(item.get(name), dict | list) for name in self.fields):
            return None
        rest = (item.get(name) for name in self.fields[1:])
        return (
            first,
            *(default if value is None else value for value, default in zip(rest, self.defaults, strict=True)),
        )


_NAME = MergeKey(("name",))

_CONTAINER = {
    "env": _NAME,
    "ports": MergeKey(("containerPort", "protocol"), ("TCP",)),
    "volumeMounts": MergeKey(("mountPath",)),
    "volumeDevices": MergeKey(("devicePath",)),
}

_SPEC = {
    "containers": _NAME,
    "initContainers": _NAME,
    "ephemeralContainers": _NAME,
    "volumes": _NAME,
    "imagePullSecrets": _NAME,
    "schedulingGates": _NAME,
    "resourceClaims": _NAME,
    "hostAliases": MergeKey(("ip",)),
    "topologySpreadConstraints": MergeKey(("topologyKey",)),
}

LISTS: dict[tuple[str, ...], MergeKey] = {
    ("metadata", "ownerReferences"): MergeKey(("uid",)),
    **{("spec", name): key for name, key in _SPEC.items()},
    **{
        ("spec", group, name): key
        for group in ("containers", "initContainers", "ephemeralContainers")
        for name, key in _CONTAINER.items()
    },
}
"""By the field's path, lists' places left out."""

PRIMITIVE_LISTS = frozenset({("metadata", "finalizers")})
"""Lists of text to which a patch adds."""
