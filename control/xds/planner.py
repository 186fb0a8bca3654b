"""A World to what every registered proxy is to have. Snapshots are made here alone; streams only look them up."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from control.api.kinds import KINDS
from control.api.violation import Violation
from control.api.workload import Workload
from control.api.world import WorkloadKey, World
from control.generate import Snapshot, check, generate
from control.generate.memory import Memory
from control.generate.references import other_endpoints_only
from control.ir.mesh import Mesh
from control.ir.proxy import Proxy
from control.ir.settings import MeshSettings
from control.translate.mesh import Translated, translate
from control.translate.proxies import proxy_of

_log = logging.getLogger("control.xds")


@dataclass(frozen=True, slots=True)
class _Planned:
    """What one workload came to."""

    workload: Workload
    proxy: Proxy
    snapshot: Snapshot | None
    """None: it never could be made."""
    problems: tuple[str, ...]
    failed: bool = False
    """The snapshot is one that could be made earlier."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What the next plan is made from."""

    translated: Translated | None = None
    memory: Memory = field(default_factory=Memory)
    workloads: Mapping[WorkloadKey, _Planned] = field(default_factory=dict)


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
    known: _Known = field(default_factory=_Known, repr=False, compare=False)


class Planner:
    """Makes plans, each from the one before: a change costs what depends on it. A proxy whose configuration stays equal
    keeps the same snapshot object."""

    def __init__(self, settings: Callable[[], MeshSettings]) -> None:
        self._settings = settings
        self._used: MeshSettings | None = None
        self._settings_changes = 0
        self._before = Plan()
        self._turn = asyncio.Lock()

    def version_of(self, world: World) -> str:
        """The World's generation; with a suffix once the mesh's settings (its roots) have changed."""
        settings = self._settings()
        if self._used is not None and self._used != settings:
            self._settings_changes += 1
        self._used = settings
        return f"{world.generation}.{self._settings_changes}" if self._settings_changes else str(world.generation)

    def adopt(self, trial: Plan, world: World) -> Plan | None:
        """A trial's plan as the plan of `world`; None unless that means the same as the World that was tried."""
        same = trial.version == self.version_of(world) and trial.world.workloads is world.workloads
        # Rules are equal when they say the same; in each kind their order, which is by age, counts as well.
        if not same or any(trial.world.of_kind(kind) != world.of_kind(kind) for kind in KINDS):
            return None
        self._before = replace(trial, world=world)
        return self._before

    async def plan(self, world: World, *, trial: bool = False) -> Plan:
        """Never raises for a World of parsed resources. A trial is forgotten. Others have the event loop meanwhile."""
        async with self._turn:
            version, settings = self.version_of(world), self._settings()
            plan = await asyncio.to_thread(plan_of, version, world, settings, self._before)
            if not trial:
                self._before = plan
        return plan


def plan_of(version: str, world: World, settings: MeshSettings, last: Plan) -> Plan:
    """The same as from an empty plan, at the cost of what has changed since the `last` one."""
    before = last.known
    translated = translate(world, settings, before.translated)
    mesh = translated.mesh
    memory = mesh.parts[Memory] = before.memory.next()
    workloads: dict[WorkloadKey, _Planned] = {}
    for key, workload in world.workloads.items():
        workloads[key] = _planned(mesh, workload, before.workloads.get(key))
    if before.translated is None or before.translated.mesh.shape is not mesh.shape:
        memory.forget_unused()
    snapshots = {each.proxy.node_id: each.snapshot for each in workloads.values() if each.snapshot is not None}
    return Plan(
        version=version,
        world=world,
        proxies={each.proxy.node_id: each.proxy for each in workloads.values()},
        snapshots=snapshots,
        warnings=translated.violations,
        problems=tuple(problem for each in workloads.values() for problem in each.problems),
        known=_Known(translated, memory, workloads),
    )


def _planned(mesh: Mesh, workload: Workload, before: _Planned | None) -> _Planned:
    if before is not None and before.workload is workload:
        proxy = before.proxy
    else:
        proxy = proxy_of(workload, mesh.settings.trust_domain)
        if before is not None and before.proxy.node_id != proxy.node_id:
            before = None  # another pod of that name
    known = None if before is None else before.snapshot
    try:
        made = generate(mesh, proxy, known)
        if before is not None and known is not None and not before.failed:
            if made is not known and other_endpoints_only(made, known):
                return _Planned(workload, proxy, made, before.problems)
            if made == known:
                return replace(before, workload=workload, proxy=proxy) if before.workload is not workload else before
        problems = tuple(f"{proxy.namespace}/{proxy.workload}: {text}" for text in check(made))
    except Exception as error:  # one proxy's trouble must not keep the others from their configuration
        _log.exception("cannot generate the configuration of %s", proxy.node_id)
        problem = f"{proxy.namespace}/{proxy.workload}: {type(error).__name__}: {error}"
        return _Planned(workload, proxy, known, (problem,), failed=True)
    return _Planned(workload, proxy, made, problems)
