"""What a change costs: who is sent what, and what had to be made for it."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from prometheus_client import CollectorRegistry

from control.api.world import World
from control.generate.types import CDS, EDS, LDS, RDS, SDS
from control.generate.upstreams import upstreams
from control.ir.settings import MeshSettings
from control.xds.metrics import DiscoveryMetrics
from control.xds.plan import Plan
from control.xds.planner import Planner
from control.xds.publisher import Publisher
from mesh.clock import SystemClock
from mesh.lifecycle import TaskScope
from tests.bench.control.world import place, pod, rules, world
from tests.control.xds.subscriber import Subscriber, Taken
from tests.control.xds.test_planner import rule

Eventually = Callable[..., Awaitable[None]]

SERVICES, PODS = 60, 180
QUIET = 7
"""A service without rules of its own."""
CLUSTER = "outbound|80||service-7.team-0.svc.cluster.local"


class Mesh:
    """A published mesh with every proxy connected."""

    def __init__(self, publisher: Publisher, clock: SystemClock, world: World) -> None:
        self.publisher = publisher
        self.world = world
        self._clock = clock
        self.subscribers = [Subscriber(publisher, each) for each in world.workloads.values()]

    def connect(self) -> None:
        for each in self.subscribers:
            each.connect(self._clock.monotonic())
        assert all(each.stream.subscription.synced for each in self.subscribers)
        self.forget()

    def forget(self) -> None:
        for each in self.subscribers:
            each.taken.clear()

    def submit(self, world: World, reason: str) -> Plan:
        """The plan before."""
        before, self.world = self.publisher.plan, world
        self.publisher.submit(world, reason)
        return before

    def taken(self) -> list[list[Taken]]:
        """By each proxy, with what has become due."""
        for each in self.subscribers:
            each.take(self._clock.monotonic())
        return [each.taken for each in self.subscribers]


@pytest.fixture
async def mesh() -> AsyncIterator[Mesh]:
    clock = SystemClock()
    planner = Planner(lambda: MeshSettings(root_pem="root"))
    publisher = Publisher(planner, clock, DiscoveryMetrics(CollectorRegistry()))
    made = Mesh(publisher, clock, world(SERVICES, PODS))
    await publisher.start(made.world)
    async with TaskScope() as scope:
        scope.spawn(publisher.run(), name="publisher")
        made.connect()
        yield made


def kinds(taken: list[Taken]) -> list[tuple[str, tuple[str, ...]]]:
    return [(each.type, each.names) for each in taken]


async def test_a_new_pod_costs_everybody_one_resource_of_endpoints_and_nothing_else(
    mesh: Mesh, eventually: Eventually
) -> None:
    before = mesh.submit(mesh.world.with_workload(pod(QUIET, 0, generation=1)), "workload")
    await eventually(lambda: mesh.publisher.plan.version == mesh.publisher.version, "published")
    assert [kinds(taken) for taken in mesh.taken()] == [[("EDS", (CLUSTER,))]] * PODS
    assert all(each.stream.subscription.synced for each in mesh.subscribers)
    # What had to be made: one service's part, and the new pod's own.
    after = mesh.publisher.plan
    old, new = (upstreams(plan.known.translated.mesh, "team-0").parts for plan in (before, after))  # type: ignore[union-attr]
    host = CLUSTER.rpartition("|")[2]
    assert [name for name in new if new[name] is not old.get(name)] == [host]
    for node_id, snapshot in before.snapshots.items():
        for url in (CDS, LDS, RDS, SDS):
            assert after.snapshots[node_id].resources[url] is snapshot.resources[url]
    assert len({id(each.resources[EDS]) for each in after.snapshots.values()}) == 1


async def test_a_pod_that_goes_costs_as_little(mesh: Mesh, eventually: Eventually) -> None:
    namespace, name = place(QUIET)
    mesh.subscribers = [each for each in mesh.subscribers if f"{name}-0-2.{namespace}" not in each.node_id]
    mesh.submit(mesh.world.without_workload((namespace, f"{name}-0-2")), "workload")
    await eventually(lambda: mesh.publisher.plan.version == mesh.publisher.version, "published")
    assert [kinds(taken) for taken in mesh.taken()] == [[("EDS", (CLUSTER,))]] * (PODS - 1)


async def test_who_does_not_subscribe_to_the_cluster_is_sent_nothing(mesh: Mesh, eventually: Eventually) -> None:
    apart = mesh.subscribers[0]
    names = mesh.publisher.plan.snapshots[apart.node_id].resources[EDS]
    apart.want_endpoints(frozenset(names) - {CLUSTER}, 0.0)
    assert apart.take(0.0) == 0
    mesh.submit(mesh.world.with_workload(pod(QUIET, 0, generation=1)), "workload")
    await eventually(lambda: mesh.publisher.plan.version == mesh.publisher.version, "published")
    mesh.taken()
    assert apart.taken == []
    assert apart.stream.acked_version == mesh.publisher.version, "and it is up to date"
    assert kinds(mesh.subscribers[1].taken) == [("EDS", (CLUSTER,))]


async def test_a_rule_costs_the_tables_in_which_it_is(mesh: Mesh, eventually: Eventually) -> None:
    before = mesh.submit(mesh.world.with_resources([rule("late", 1e9, "service-7.team-0")]), "rules")
    await eventually(lambda: mesh.publisher.plan.version == mesh.publisher.version, "published")
    assert [kinds(taken) for taken in mesh.taken()] == [[("RDS", ("80",))]] * PODS
    after = mesh.publisher.plan
    for node_id, snapshot in before.snapshots.items():
        for url in (CDS, EDS, LDS, SDS):
            assert after.snapshots[node_id].resources[url] is snapshot.resources[url]


async def test_a_service_of_the_same_words_costs_nothing(mesh: Mesh, eventually: Eventually) -> None:
    mesh.submit(mesh.world.with_resources(rules(SERVICES)), "rules")
    await eventually(lambda: mesh.publisher.plan.version == mesh.publisher.version, "published")
    assert mesh.taken() == [[]] * PODS
