"""Code of the user's in sidecars, without dialect: whose, for which requests, in which place."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from control.ir.proxy import Proxy


class Direction(Enum):
    """Of requests, as seen by the workload; a gateway's come in."""

    INBOUND = "INBOUND"
    OUTBOUND = "OUTBOUND"
    ANY = "ANY"


@dataclass(frozen=True, slots=True)
class PythonFilter:
    """One rule. Exactly one of `source` and `file` is set."""

    name: str
    """`NAMESPACE/NAME`."""
    namespace: str
    selector: Mapping[str, str]
    direction: Direction
    hosts: tuple[str, ...]
    """As written."""
    routes: tuple[str, ...]
    path_prefixes: tuple[str, ...]
    source: str | None
    file: str | None
    sha256: str | None
    class_name: str
    config: str
    """JSON, keys sorted."""
    before_faults: bool
    """Of the phases that come before injected faults."""
    timeout_s: float
    fail_open: bool
    max_body_bytes: int

    def selects(self, proxy: Proxy, root_namespaces: tuple[str, ...]) -> bool:
        """Whether the proxy has it. Rules of a root namespace are for the whole mesh."""
        near = self.namespace == proxy.namespace or self.namespace in root_namespaces
        return near and self.selector.items() <= proxy.labels.items()
