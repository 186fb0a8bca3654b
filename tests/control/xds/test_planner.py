"""Plans: one snapshot object for equal content, trials that become plans, one proxy's trouble that stays its own."""

from dataclasses import replace

import pytest

from control.api.parse import parse
from control.api.resource import Resource
from control.api.source import SourceFile
from control.api.workload import TcpOutbound, Workload
from control.api.world import World
from control.ir.settings import MeshSettings
from control.xds.planner import Planner
from tests.control.app.control_process import workload

RULE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: %s}
spec: {hosts: [%s], http: [{timeout: 1s, route: [{destination: {host: reviews}}]}]}
"""


def rule(name: str, created_at: float, host: str = "reviews") -> Resource:
    [resource] = parse([SourceFile("f.yaml", RULE % (name, host))]).resources
    return replace(resource, created_at=created_at)


@pytest.fixture
def world() -> World:
    made = World()
    for number, name in enumerate(("reviews-v1", "ratings-v1")):
        made = made.with_workload(Workload.model_validate(workload(name, number)))
    return made


@pytest.fixture
def planner() -> Planner:
    return Planner(lambda: MeshSettings(root_pem="root"))


async def test_equal_configuration_is_the_same_object(planner: Planner, world: World) -> None:
    first = await planner.plan(world)
    second = await planner.plan(replace(world, generation=7))
    assert second.version == "7"
    for node_id, snapshot in first.snapshots.items():
        assert second.snapshots[node_id] is snapshot


async def test_a_changed_root_is_another_version_and_another_trust(world: World) -> None:
    roots = ["one"]
    planner = Planner(lambda: MeshSettings(root_pem=roots[0]))
    first = await planner.plan(world)
    roots[0] = "two"
    second = await planner.plan(world)
    assert first.version != second.version
    assert all(first.snapshots[node].hash != second.snapshots[node].hash for node in first.snapshots)


async def test_a_trial_becomes_the_plan_of_the_world_that_was_stored(planner: Planner, world: World) -> None:
    tried = world.with_resources([rule("a", 100.0)])
    stored = world.with_resources([rule("a", 100.3)])
    plan = planner.adopt(await planner.plan(tried, trial=True), stored)
    assert plan is not None
    assert plan.world is stored
    assert plan.version == planner.version_of(stored)
    fresh = await Planner(lambda: MeshSettings(root_pem="root")).plan(stored)
    assert {node: s.hash for node, s in plan.snapshots.items()} == {node: s.hash for node, s in fresh.snapshots.items()}


@pytest.mark.parametrize("what", ["another rule", "another order", "another workload", "another generation"])
async def test_a_trial_of_something_else_is_not_taken(planner: Planner, world: World, what: str) -> None:
    rules = [rule("a", 100.0), rule("b", 101.0, "ratings")]
    trial = await planner.plan(world.with_resources(rules), trial=True)
    stored = {
        "another rule": world.with_resources([rules[0], rule("b", 101.0)]),
        "another order": world.with_resources([rules[0], replace(rules[1], created_at=99.0)]),
        "another workload": world.with_workload(Workload.model_validate(workload("details-v1", 5))),
        "another generation": replace(world.with_resources(rules), generation=9),
    }[what]
    assert planner.adopt(trial, stored) is None


async def test_one_proxys_trouble_is_its_own(planner: Planner, world: World) -> None:
    before = await planner.plan(world)
    # No document makes such a workload: it stands for a mistake of ours.
    relayed = TcpOutbound.model_construct(service=[], port=7, listen="127.0.0.1:7379")
    impossible = world.workloads["default", "ratings-v1"].model_copy(update={"tcp_outbound": (relayed,)})
    broken = await planner.plan(world.with_workload(impossible).with_resources([rule("a", 100.0)]))
    ratings = world.workloads["default", "ratings-v1"].node_id
    reviews = world.workloads["default", "reviews-v1"].node_id
    [problem] = broken.problems
    assert problem.startswith("default/ratings-v1: TypeError: ")
    assert broken.snapshots[ratings] is before.snapshots[ratings]  # the last good one serves on
    assert broken.snapshots[reviews] is not before.snapshots[reviews]


async def test_a_record_that_makes_no_proxy_keeps_nobody_else_from_theirs(planner: Planner, world: World) -> None:
    before = await planner.plan(world)
    key = ("default", "ratings-v1")
    # As above: what cannot even be asked for who it is.
    impossible = world.workloads[key].model_copy(update={"kind": "nothing"})
    ratings, reviews = world.workloads[key].node_id, world.workloads["default", "reviews-v1"].node_id
    broken = await planner.plan(world.with_workload(impossible).with_resources([rule("a", 100.0)]))
    [problem] = broken.problems
    assert problem.startswith("default/ratings-v1: ValueError: 'nothing'")
    assert broken.snapshots[ratings] is before.snapshots[ratings]  # the last good one serves on
    assert broken.snapshots[reviews] is not before.snapshots[reviews]
    fresh = await Planner(lambda: MeshSettings(root_pem="root")).plan(world.with_workload(impossible))
    assert set(fresh.snapshots) == {reviews}, "of one that never was any good there is nothing to serve"
    healed = await planner.plan(world)
    assert not healed.problems
