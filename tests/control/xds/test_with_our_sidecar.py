"""Our sidecar's half of the protocol at the other end, by hand, in no time: the clock stands still.

Whatever needed a timeout to go on would stand still, too.
"""

import pytest

from control.api.parse import parse
from control.api.source import SourceFile
from control.api.workload import Workload
from control.api.world import World
from control.ca.root import to_pem
from control.ca.sign import self_sign
from control.ca.template import DEFAULT_LIFETIMES, root_template
from control.ir.settings import MeshSettings
from control.xds.messages import CDS, EDS, RDS, SHORT, Request
from control.xds.planner import Planner
from control.xds.subscription import Refused, Subscription
from sidecar.xds.ads import Ads
from sidecar.xds.ads import Request as AdsRequest
from tests.control.app.control_process import workload
from tests.control.ca.requests import ec_key

SUBSETS = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec: {hosts: [reviews], http: [{route: [{destination: {host: reviews, subset: %s}}]}]}
"""
_KEY = ec_key()
_TEMPLATE = root_template("cluster.local", _KEY.public_key(), now=1_800_000_000, lifetimes=DEFAULT_LIFETIMES)
ROOT = to_pem(self_sign(_TEMPLATE, _KEY))


class Pair:
    """One of each, and the wire between them."""

    def __init__(self) -> None:
        self.planner = Planner(lambda: MeshSettings(root_pem=ROOT))
        self.world = World()
        self.subscription = Subscription("s")
        self.ads = Ads()
        self.sent: list[str] = []
        self.applied = 0
        self.refusals: list[str] = []
        for number, name in enumerate(("reviews-v1", "reviews-v2", "productpage-v1")):
            self.world = self.world.with_workload(Workload.model_validate(workload(name, number)))
        self.node_id = self.world.workloads["default", "productpage-v1"].node_id

    async def plan(self) -> None:
        plan = await self.planner.plan(self.world)
        assert plan.problems == ()
        self.subscription.offer(plan.snapshots[self.node_id])

    def apply(self, text: str) -> None:
        parsed = parse([SourceFile("f.yaml", text)])
        assert parsed.ok, parsed.violations
        self.world = self.world.with_resources(parsed.resources)

    def remove_rules(self) -> None:
        self.world = self.world.with_resources((), list(self.world.resources))

    def deliver(self, requests: list[AdsRequest]) -> None:
        for each in requests:
            event = self.subscription.receive(
                Request(each.kind.value, each.version, each.nonce, frozenset(each.names), each.error), 0.0
            )
            if isinstance(event, Refused):
                self.refusals.append(event.message)

    def run(self) -> None:
        """Until neither has anything to say."""
        for _ in range(100):
            response = self.subscription.next(0.0)
            if response is None:
                step = self.ads.step(0.0)
                self.deliver(list(step.requests))
                if step.configuration is not None:
                    self.applied += 1
                    self.check_no_gap()
                    self.deliver(self.ads.applied())
                elif not step.requests and self.subscription.next(0.0) is None:
                    return
                continue
            self.sent.append(SHORT[response.type_url])
            self.deliver(self.ads.received(response.type_url, response.version, response.nonce, response.resources))
        raise AssertionError(f"they never stop: {self.sent}")

    def check_no_gap(self) -> None:
        """The sidecar hands out only what is whole."""
        assert self.ads.waiting_for == ()


@pytest.fixture
async def pair() -> Pair:
    made = Pair()
    await made.plan()
    made.deliver(made.ads.connected())
    made.run()
    assert made.subscription.synced
    assert made.refusals == []
    return made


async def test_a_fresh_sidecar_is_configured_without_waiting(pair: Pair) -> None:
    assert pair.applied == 1
    assert sorted(set(pair.sent)) == ["CDS", "EDS", "LDS", "RDS", "SDS"]
    assert len(pair.sent) <= 6


async def test_new_subsets_and_routes_to_them_arrive_without_waiting(pair: Pair) -> None:
    pair.sent.clear()
    pair.apply(SUBSETS % "v1")
    await pair.plan()
    pair.run()
    assert pair.subscription.synced
    assert pair.sent == ["CDS", "EDS", "RDS"]


async def test_a_changed_route_is_one_response(pair: Pair) -> None:
    pair.apply(SUBSETS % "v1")
    await pair.plan()
    pair.run()
    pair.sent.clear()
    pair.apply(SUBSETS % "v2")
    await pair.plan()
    pair.run()
    assert pair.subscription.synced
    assert pair.sent == ["RDS"]


async def test_removed_subsets_go_after_the_routes_that_used_them(pair: Pair) -> None:
    pair.apply(SUBSETS % "v1")
    await pair.plan()
    pair.run()
    pair.sent.clear()
    pair.remove_rules()
    await pair.plan()
    pair.run()
    assert pair.subscription.synced
    assert pair.sent[:2] == ["RDS", "CDS"]
    serving = pair.ads.serving
    assert serving is not None


async def test_a_new_workload_is_endpoints_and_clusters_only(pair: Pair) -> None:
    pair.sent.clear()
    pair.world = pair.world.with_workload(Workload.model_validate(workload("reviews-v3", 7)))
    await pair.plan()
    pair.run()
    assert pair.subscription.synced
    assert "LDS" not in pair.sent
    assert "EDS" in pair.sent


async def test_forty_changes_end_in_sync(pair: Pair) -> None:
    for number in range(40):
        if number % 7 == 6:
            pair.remove_rules()
        else:
            pair.apply(SUBSETS % ("v1" if number % 2 else "v2"))
        await pair.plan()
        if number % 3:
            pair.run()
    pair.run()
    assert pair.subscription.synced
    assert pair.refusals == []


async def test_a_new_stream_after_a_restart_of_the_control_plane_sends_nothing(pair: Pair) -> None:
    pair.subscription = Subscription("t")
    pair.sent.clear()
    await pair.plan()
    pair.deliver(pair.ads.connected())
    pair.run()
    assert pair.sent == []
    assert pair.subscription.synced


async def test_a_new_stream_to_a_changed_mesh_sends_the_difference(pair: Pair) -> None:
    pair.apply(SUBSETS % "v1")
    pair.subscription = Subscription("t")
    pair.sent.clear()
    await pair.plan()
    pair.deliver(pair.ads.connected())
    pair.run()
    assert pair.subscription.synced
    assert set(pair.sent) == {SHORT[CDS], SHORT[EDS], SHORT[RDS]}
