"""A Job's sidecar learns that its application has ended, and nobody else does."""

from envoy.service.runtime.v3.rtds_pb2 import Runtime

from control.api.workload import Workload
from control.api.world import World
from control.generate.types import RTDS, TYPES
from control.ir.settings import MeshSettings
from control.xds.messages import SHORT, Request
from control.xds.planner import Planner
from control.xds.subscription import Subscription
from sidecar.agent.lifecycle import LAYER
from tests.control.app.control_process import workload
from tests.control.xds.test_with_our_sidecar import ROOT


def world(**job: object) -> World:
    made = World()
    for number, (name, changes) in enumerate({"job-1": job, "web-1": {}}.items()):
        made = made.with_workload(Workload.model_validate(workload(name, number, **changes)))
    return made


async def test_the_end_of_an_application_is_one_response_to_its_own_sidecar() -> None:
    planner = Planner(lambda: MeshSettings(root_pem=ROOT))
    running = await planner.plan(world())
    finished = await planner.plan(world(finished=True))
    assert (running.problems, finished.problems) == ((), ())
    job, web = (world().workloads["default", name].node_id for name in ("job-1", "web-1"))
    assert dict(running.snapshots[job].resources[RTDS]) == {}
    assert dict(finished.snapshots[web].resources[RTDS]) == {}
    (packed,) = finished.snapshots[job].resources[RTDS].values()
    layer = Runtime.FromString(packed.value)
    assert (layer.name, layer.layer["finished"]) == (LAYER, True)

    subscription = Subscription("s")
    subscription.offer(running.snapshots[job])
    subscription.receive(Request(RTDS, names=frozenset([LAYER])), 0.0)
    first = subscription.next(0.0)
    assert first is not None
    assert list(first.resources) == []
    subscription.receive(Request(RTDS, first.version, first.nonce, frozenset([LAYER])), 0.0)
    subscription.offer(finished.snapshots[job])
    second = subscription.next(0.0)
    assert second is not None
    assert (SHORT[second.type_url], len(second.resources)) == ("RTDS", 1)


def test_it_comes_last() -> None:
    assert list(TYPES)[-1] == "RTDS"
