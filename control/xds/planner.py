"""A World to what every registered proxy is to have. Snapshots are made here alone; streams only look them up."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from control.api.kinds import KINDS
from control.api.workload import Workload
from control.api.world import WorkloadKey, World
from control.generate import check, generate
from control.generate.generate import reach
from control.generate.memory import Memory
from control.ir.mesh import Mesh
from control.ir.settings import MeshSettings
from control.translate.mesh import translate
from control.translate.proxies import proxy_of
from control.xds.plan import Known, Plan, Planned, Snapshots

_log = logging.getLogger("control.xds")


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
    workloads = _same(before, mesh, world)
    unreadable: list[str] = []
    for key, workload in world.workloads.items():
        if key in workloads:
            continue
        earlier = before.workloads.get(key)
        try:
            workloads[key] = _planned(mesh, workload, earlier)
        except Exception as error:  # of such a record no proxy can be made; the others get theirs
            _log.exception("cannot read the workload %s/%s", workload.namespace, workload.name)
            unreadable.append(f"{workload.namespace}/{workload.name}: {type(error).__name__}: {error}")
            if earlier is not None:
                workloads[key] = replace(earlier, failed=True)
    if before.translated is None or before.translated.mesh.shape is not mesh.shape:
        memory.forget_unused()
    by_node = {each.proxy.node_id: each for each in workloads.values()}
    places = {(each.proxy.namespace, each.proxy.locality) for each in workloads.values()}
    return Plan(
        version=version,
        world=world,
        proxies={node_id: each.proxy for node_id, each in by_node.items()},
        snapshots=Snapshots(by_node, {each: reach(mesh, *each) for each in places}),
        warnings=translated.violations,
        problems=(*unreadable, *(problem for each in workloads.values() for problem in each.problems)),
        known=Known(translated, memory, workloads),
    )


def _same(before: Known, mesh: Mesh, world: World) -> dict[WorkloadKey, Planned]:
    """The workloads of which nothing has changed but what they reach."""
    old = None if before.translated is None else before.translated.mesh
    if old is None or old.shape is not mesh.shape:
        return {}
    return {
        key: planned
        for key, planned in before.workloads.items()
        if world.workloads.get(key) is planned.workload and not planned.failed and old.behind(*key) is mesh.behind(*key)
    }


def _planned(mesh: Mesh, workload: Workload, before: Planned | None) -> Planned:
    if before is not None and before.workload is workload:
        proxy = before.proxy
    else:
        proxy = proxy_of(workload, mesh.settings.trust_domain)
        if before is not None and before.proxy.node_id != proxy.node_id:
            before = None  # another pod of that name
    known = None if before is None else before.snapshot
    try:
        made = generate(mesh, proxy, known)
        if made is known and before is not None and not before.failed:
            problems = before.problems
        else:
            if known is not None and made == known:
                known.own, made = made.own, known
            problems = tuple(f"{proxy.namespace}/{proxy.workload}: {text}" for text in check(made))
    except Exception as error:  # one proxy's trouble must not keep the others from their configuration
        _log.exception("cannot generate the configuration of %s", proxy.node_id)
        problem = f"{proxy.namespace}/{proxy.workload}: {type(error).__name__}: {error}"
        return Planned(workload, proxy, known, (problem,), failed=True)
    return Planned(workload, proxy, made, problems)
