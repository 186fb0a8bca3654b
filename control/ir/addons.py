"""Scripts that look at requests, without dialect."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class AddonDirection(Enum):
    """Which of a proxy's listeners."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"
    GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class Addon:
    """One rule. Globs are those of file names."""

    name: str
    namespace: str
    selector: Mapping[str, str]
    """Labels of the workloads in its namespace; empty: all of them."""
    direction: AddonDirection
    script: str
    path: str = ""
    methods: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    routes: tuple[str, ...] = ()
    timeout_s: float = 0.5
    fail_open: bool = False
    max_body_bytes: int = 64 * 1024
    sample_percent: float = 100.0

    def is_for(self, namespace: str, labels: Mapping[str, str], direction: AddonDirection) -> bool:
        """Whether a workload's listeners of a direction have it."""
        chosen = namespace == self.namespace and self.selector.items() <= labels.items()
        return chosen and direction is self.direction


@dataclass(frozen=True, slots=True)
class Addons:
    """All rules, oldest first."""

    rules: tuple[Addon, ...] = field(default=())

    def of(self, namespace: str, labels: Mapping[str, str], direction: AddonDirection) -> tuple[Addon, ...]:
        """For one proxy's listeners."""
        return tuple(rule for rule in self.rules if rule.is_for(namespace, labels, direction))
