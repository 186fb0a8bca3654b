"""A World to what every registered proxy is to have. Snapshots are made here alone; streams only look them up."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from control.api.kinds import KINDS
from control.api.violation import Violation
from control.api.world import World
from control.generate import Snapshot, check, generate
from control.generate.references import Seen
from control.ir.proxy import Proxy
from control.ir.settings import MeshSettings
from control.translate.mesh import translate
from control.translate.proxies import proxy_of

_log = logging.getLogger("control.xds")


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


class Planner:
    """Makes plans. A proxy whose configuration stays equal keeps the same snapshot object."""

    def __init__(self, settings: Callable[[], MeshSettings], *, slice_s: float = 0.02) -> None:
        self._settings = settings
        self._slice_s = slice_s
        """Others get the event loop at least this often while a large mesh is planned."""
        self._used: MeshSettings | None = None
        self._settings_changes = 0
        self._known: Mapping[str, Snapshot] = {}
        self._seen = Seen()

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
        self._known = trial.snapshots
        return replace(trial, world=world)

    async def plan(self, world: World, *, trial: bool = False) -> Plan:
        """Never raises for a World of parsed resources. A trial is forgotten."""
        loop = asyncio.get_running_loop()
        version = self.version_of(world)
        settings = self._settings()
        translated = translate(world, settings)
        proxies: dict[str, Proxy] = {}
        snapshots: dict[str, Snapshot] = {}
        problems: list[str] = []
        known = self._known
        self._seen.next_plan()
        turn_ends = loop.time() + self._slice_s
        for workload in world.workloads.values():
            proxy = proxy_of(workload, settings.trust_domain)
            proxies[proxy.node_id] = proxy
            before = known.get(proxy.node_id)
            try:
                made = generate(translated.mesh, proxy)
                problems += [f"{proxy.namespace}/{proxy.workload}: {text}" for text in check(made, self._seen)]
            except Exception as error:  # one proxy's trouble must not keep the others from their configuration
                _log.exception("cannot generate the configuration of %s", proxy.node_id)
                problems.append(f"{proxy.namespace}/{proxy.workload}: {type(error).__name__}: {error}")
                if before is not None:
                    snapshots[proxy.node_id] = before
            else:
                snapshots[proxy.node_id] = before if before is not None and before.hash == made.hash else made
            if loop.time() >= turn_ends:
                await asyncio.sleep(0)
                turn_ends = loop.time() + self._slice_s
        if not trial:
            self._known = snapshots
        return Plan(version, world, proxies, snapshots, translated.violations, tuple(problems))
