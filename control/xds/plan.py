"""What one version of the mesh means for each proxy."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from control.api.violation import Violation
from control.api.workload import Workload
from control.api.world import WorkloadKey, World
from control.generate.generate import Reach, refreshed
from control.generate.memory import Memory
from control.generate.nearest import Place
from control.generate.types import Snapshot
from control.ir.proxy import Proxy
from control.translate.mesh import Translated


@dataclass(slots=True)
class Planned:
    """What one workload came to, in plans between which nothing of its own changed."""

    workload: Workload
    proxy: Proxy
    snapshot: Snapshot | None
    """Of one of those plans; None: it never could be made."""
    problems: tuple[str, ...]
    failed: bool = False
    """The snapshot is one that could be made earlier."""


class Snapshots(Mapping[str, Snapshot]):
    """By node id. Where nothing but what proxies reach has changed, a proxy's is put together when it is asked for:
    that is for the connected ones. Equal ones stay the same object from one plan to the next."""

    def __init__(self, planned: Mapping[str, Planned], reached: Mapping[tuple[str, Place], Reach]) -> None:
        """`planned` by node id, `reached` by namespace and place."""
        self._planned = planned
        self._reached = reached
        self._made: dict[str, Snapshot] = {}

    def __getitem__(self, node_id: str) -> Snapshot:
        made = self._made.get(node_id)
        if made is None:
            planned = self._planned[node_id]
            if planned.snapshot is None:
                raise KeyError(node_id)
            made = planned.snapshot
            if not planned.failed:
                proxy = planned.proxy
                made = planned.snapshot = refreshed(made, proxy, self._reached[proxy.namespace, proxy.locality])
            self._made[node_id] = made
        return made

    def __contains__(self, node_id: object) -> bool:
        planned: Any = self._planned.get(node_id)  # type: ignore[call-overload]
        return planned is not None and planned.snapshot is not None

    def __iter__(self) -> Iterator[str]:
        return (node_id for node_id, planned in self._planned.items() if planned.snapshot is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


@dataclass(frozen=True, slots=True)
class Known:
    """What the next plan is made from."""

    translated: Translated | None = None
    memory: Memory = field(default_factory=Memory)
    workloads: Mapping[WorkloadKey, Planned] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """What one version of the mesh means for each proxy, by node id."""

    version: str = ""
    world: World = field(default_factory=World)
    proxies: Mapping[str, Proxy] = field(default_factory=dict)
    snapshots: Mapping[str, Snapshot] = field(default_factory=dict)
    warnings: tuple[Violation, ...] = ()
    """What the rules say that cannot be done."""
    problems: tuple[str, ...] = ()
    """What is wrong with snapshots, a line each: mistakes of ours, or of rules that nobody caught. `apply` refuses what
    leads to such a plan."""
    known: Known = field(default_factory=Known, repr=False, compare=False)
