"""The list of targets over real gRPC and TLS: who gets it, when, and that it follows the World."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from control.api.services import Address, Port, Service
from control.api.workload import AppPort, Workload
from control.api.world import World
from control.debug.targets import TargetList, control_planes, discovered
from control.xds.targets import MAX_LIST_BYTES, MAX_WATCHERS, METHOD, SERVICE, SETTLE_S
from mesh.lifecycle import TaskScope
from mesh.spiffe import SpiffeId
from tests.control.served import Served

Eventually = Callable[..., Awaitable[None]]
COLLECTOR = SpiffeId("cluster.local", "remora-system", "remora-collector")


class Watch:
    """One stream: the lists that came."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        watch: Any = channel.unary_stream
        self.call = watch(f"/{SERVICE}/{METHOD}")(b"")
        self.lists: list[Any] = []

    async def run(self) -> None:
        while message := await self.call.read():
            self.lists.append(json.loads(BytesValue.FromString(message).value))

    def names(self) -> list[str]:
        return [each["labels"]["workload"] for each in self.lists[-1]] if self.lists else ["nothing came"]


@asynccontextmanager
async def watching(plane: Served, identity: SpiffeId = COLLECTOR, life_s: float = 0) -> AsyncIterator[Watch]:
    async with plane.channel("ads", plane.certify(identity, life_s)) as channel, TaskScope() as scope:
        watch = Watch(channel)
        scope.spawn(watch.run(), name="watch")
        yield watch


async def refusal(plane: Served, identity: SpiffeId) -> grpc.aio.AioRpcError:
    async with plane.channel("ads", plane.certify(identity)) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await Watch(channel).run()
        return caught.value


async def test_the_collector_gets_the_list_at_once_and_each_change_of_it(
    plane_served: Served, eventually: Eventually
) -> None:
    plane_served.register("reviews-v1")
    async with watching(plane_served) as watch:
        await eventually(lambda: watch.names() == ["reviews-v1"], "the list")
        plane_served.register("ratings-v1", 2)
        await eventually(lambda: watch.names() == ["ratings-v1", "reviews-v1"], "the next one")
        assert len(watch.lists) == 2


async def test_changes_that_come_together_are_one_list(plane_served: Served, eventually: Eventually) -> None:
    async with watching(plane_served) as watch:
        await eventually(lambda: watch.lists == [[]], "a list without anybody")
        for number in range(1, 6):
            plane_served.register(f"reviews-v{number}", number)
            await asyncio.sleep(SETTLE_S / 100)
        await eventually(lambda: len(watch.names()) == 5, "all of them")
        assert len(watch.lists) == 2


@pytest.mark.parametrize(
    "identity",
    [
        SpiffeId("cluster.local", "default", "bookinfo-reviews"),
        SpiffeId("cluster.local", "default", "remora-collector"),
        SpiffeId("cluster.local", "remora-system", "remora-ingressgateway"),
    ],
)
async def test_nobody_else_gets_it(plane_served: Served, identity: SpiffeId) -> None:
    error = await refusal(plane_served, identity)
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert (
        'remora_control_targets_refused_total{reason="not allowed"} 1.0' in plane_served.plane.metrics_text().decode()
    )


async def test_there_are_no_more_streams_than_a_few(plane_served: Served, eventually: Eventually) -> None:
    credentials = plane_served.certify(COLLECTOR)
    async with plane_served.channel("ads", credentials) as channel, TaskScope() as scope:
        watches = [Watch(channel) for _ in range(MAX_WATCHERS)]
        for each in watches:
            scope.spawn(each.run(), name="watch")
        await eventually(lambda: all(each.lists for each in watches), "all that there may be")
        error = await refusal(plane_served, COLLECTOR)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert f"remora_control_targets_streams {MAX_WATCHERS:.1f}" in plane_served.plane.metrics_text().decode()


async def test_a_stream_ends_well_when_the_certificate_ends(plane_served: Served, eventually: Eventually) -> None:
    async with watching(plane_served) as watch:
        await eventually(lambda: watch.lists, "a list")
        plane_served.clock.ahead_s = 10 * 365 * 86_400
        plane_served.register("reviews-v1")
        await eventually(watch.call.done, "the end")
        assert await watch.call.code() is grpc.StatusCode.OK


# What is in it.


def pod(name: str, address: str = "10.0.0.7", **more: Any) -> Workload:
    record = {"name": name, "service_account": "reviews", "addresses": [address], "capture": True} | more
    return Workload.model_validate(record)


def world(*workloads: Workload, **services: Service) -> World:
    found = {("remora-system", name.replace("_", "-")): each for name, each in services.items()}
    return World().with_found(found, {(each.namespace, each.name): each for each in workloads}, {})


def test_a_pod_is_found_by_its_address_and_known_by_its_owner() -> None:
    labels = {"app": "reviews", "version": "v2", "service.istio.io/canonical-name": "reviews-canonical"}
    reviews = pod("reviews-7d-x", owner="reviews-v2", labels=labels)
    (group,) = json.loads(TargetList("cluster.local").render(world(reviews)))
    assert group == {
        "targets": ["10.0.0.7:15020"],
        "labels": {
            "job": "remora-sidecar",
            "workload": "reviews-7d-x",
            "namespace": "default",
            "app": "reviews",
            "version": "v2",
            "__meta_remora_principal": "spiffe://cluster.local/ns/default/sa/reviews",
            "__meta_remora_service": "reviews-canonical",
            "__meta_remora_owner": "reviews-v2",
        },
    }


def test_gateways_are_listed_and_who_has_no_sidecar_or_has_ended_is_not() -> None:
    gateway = pod("gw", "fd00::7", kind="gateway", capture=False, gateway_ports={"80": "[::]:8080"})
    listed = world(gateway, pod("plain", "10.0.0.8", capture=False), pod("job", "10.0.0.9", finished=True))
    (group,) = json.loads(TargetList("cluster.local").render(listed))
    assert group["targets"] == ["[fd00::7]:15020"]


def test_the_mesh_s_own_processes_are_listed_by_their_services() -> None:
    ports = (Port(15014, "https-rest", "HTTPS", others=(Address("10.0.1.1", 15014), Address("10.0.1.2", 15014))),)
    control = Service("remora-system", "remora-control", ports)
    ports = (Port(24224, "forward", "TCP", members=((pod("remora-collector-0", "10.0.1.3", capture=False), AppPort(
        service_port=24224, app="10.0.1.3:24224")),)),)  # fmt: skip
    collector = Service("remora-system", "remora-collector", ports)
    listed = world(remora_control=control, remora_collector=collector)
    groups = json.loads(TargetList("cluster.local").render(listed))
    about = [(each["targets"], each["labels"]["job"], each["labels"].get("__scheme__")) for each in groups]
    assert about == [
        (["10.0.1.1:15014"], "remora-control", "https"),
        (["10.0.1.2:15014"], "remora-control", "https"),
        (["10.0.1.3:15020"], "remora-collector", None),
    ]
    assert control_planes(listed) == ["10.0.1.1:15014", "10.0.1.2:15014"]
    found = discovered(listed, "cluster.local", "https://0.0.0.0:15014", Path("/nowhere"))
    assert found == groups


def test_a_mesh_of_five_thousand_pods_is_far_below_the_bound() -> None:
    pods = [pod(f"reviews-v1-5d4f8c7b9-{number:05}", f"10.{number >> 8}.{number & 255}.7", owner="reviews-v1",
                labels={"app": "reviews", "version": "v1"}) for number in range(5000)]  # fmt: skip
    targets = TargetList("cluster.local")
    assert len(targets.render(world(*pods))) < MAX_LIST_BYTES / 3
