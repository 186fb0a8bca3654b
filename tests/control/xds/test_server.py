"""ADS over real gRPC and TLS: who gets a stream, what a bad client gets, and what a crowd does."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest
from envoy.service.discovery.v3 import discovery_pb2

from control.xds.messages import CDS, LDS, MAX_NAMES, RDS
from control.xds.server import MAX_REQUEST_BYTES, STREAM_RATE
from mesh.lifecycle import TaskScope
from mesh.spiffe import SpiffeId
from tests.control.app.control_process import Credentials
from tests.control.served import Served, served
from tests.control.xds.xds_client import METHOD, XdsClient

Eventually = Callable[..., Awaitable[None]]


async def refusal(plane: Served, credentials: Credentials | None, *messages: bytes) -> grpc.aio.AioRpcError:
    """How a stream that sends these bytes ends."""
    async with plane.channel("ads", credentials) as channel:
        call = channel.stream_stream(METHOD)()
        try:
            for message in messages:
                await call.write(message)
            while await call.read() is not grpc.aio.EOF:
                pass
            code = await call.code()
            details = await call.details()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            code, details = await call.code(), await call.details()
        return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)


def request(node_id: str, url: str = CDS, **fields: Any) -> bytes:
    message = discovery_pb2.DiscoveryRequest(type_url=url, **fields)
    message.node.id = node_id
    return message.SerializeToString()


async def still_serves(plane: Served, eventually: Eventually) -> None:
    """A well-behaved client beside the bad one gets everything."""
    record, _ = plane.register("productpage-v1", 9)
    async with plane.channel("ads", plane.credentials_of(record)) as channel, TaskScope() as scope:
        client = XdsClient(channel, record.node_id)
        scope.spawn(client.run(), name="client")
        await eventually(lambda: {CDS, LDS, RDS} <= client.received.keys(), "others are served")


async def test_without_a_certificate_there_is_no_connection(plane_served: Served) -> None:
    error = await refusal(plane_served, None, request("x"))
    assert error.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_of_another_mesh_gives_no_connection(plane_served: Served, tmp_path: Any) -> None:
    async with served(tmp_path / "foreign") as foreign:
        record, _ = foreign.register("reviews-v1")
        error = await refusal(plane_served, foreign.credentials_of(record), request(record.node_id))
    assert error.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("account", ["bookinfo-ratings", "default"])
async def test_a_node_is_served_to_its_own_identity_only(
    plane_served: Served, eventually: Eventually, account: str
) -> None:
    record, _ = plane_served.register("reviews-v1")
    other = plane_served.certify(SpiffeId("cluster.local", "default", account))
    error = await refusal(plane_served, other, request(record.node_id))
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    unknown = await refusal(plane_served, other, request(record.node_id.replace("reviews", "nobody")))
    assert unknown.code() is grpc.StatusCode.PERMISSION_DENIED
    await still_serves(plane_served, eventually)


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        pytest.param([b"\xff\xff\xff"], grpc.StatusCode.INVALID_ARGUMENT, id="no message"),
        pytest.param([request("")], grpc.StatusCode.INVALID_ARGUMENT, id="no node"),
        pytest.param([request("x" * 1000)], grpc.StatusCode.INVALID_ARGUMENT, id="a giant node id"),
        pytest.param([request("~~~")], grpc.StatusCode.PERMISSION_DENIED, id="a strange node id"),
        pytest.param(
            [request("x" * (MAX_REQUEST_BYTES + 1))], grpc.StatusCode.RESOURCE_EXHAUSTED, id="a giant message"
        ),
        pytest.param([request("NODE", "type.googleapis.com/x.Y")], grpc.StatusCode.INVALID_ARGUMENT, id="unknown type"),
        pytest.param([request("NODE"), request("NODE", "nonsense")], grpc.StatusCode.INVALID_ARGUMENT, id="later type"),
        pytest.param([request("NODE"), request("other")], grpc.StatusCode.INVALID_ARGUMENT, id="a second node"),
        pytest.param([request("NODE"), b"\xff\xff"], grpc.StatusCode.INVALID_ARGUMENT, id="rubbish later"),
        pytest.param(
            [request("NODE", RDS, resource_names=[str(n) for n in range(MAX_NAMES + 1)])],
            grpc.StatusCode.INVALID_ARGUMENT,
            id="too many names",
        ),
    ],
)
async def test_malformed_and_oversized_requests_end_their_stream_alone(
    plane_served: Served, eventually: Eventually, messages: list[bytes], code: grpc.StatusCode
) -> None:
    record, _ = plane_served.register("reviews-v1")
    made = []
    for message in messages:
        if b"NODE" in message:
            parsed = discovery_pb2.DiscoveryRequest.FromString(message)
            parsed.node.id = record.node_id
            message = parsed.SerializeToString()
        made.append(message)
    error = await refusal(plane_served, plane_served.credentials_of(record), *made)
    assert error.code() is code, error.details()
    await still_serves(plane_served, eventually)


async def test_an_expired_certificate_ends_its_stream(plane_served: Served, eventually: Eventually) -> None:
    record, _ = plane_served.register("reviews-v1")
    async with plane_served.channel("ads", plane_served.credentials_of(record)) as channel, TaskScope() as scope:
        client = XdsClient(channel, record.node_id)
        running = scope.spawn(client.run(), name="client")
        streams = plane_served.plane.publisher.streams
        await eventually(lambda: [s.acked_version is not None for s in streams()] == [True], "at rest")
        plane_served.clock.ahead_s = 25 * 3600
        plane_served.register("ratings-v1", 2)  # anything that has the stream look around
        with pytest.raises(grpc.aio.AioRpcError):
            await asyncio.wait_for(running, 5)
        assert await client.call.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_node_that_reconnects_in_a_loop_is_told_to_wait(plane_served: Served) -> None:
    record, _ = plane_served.register("reviews-v1")
    credentials = plane_served.credentials_of(record)
    codes = []
    async with plane_served.channel("ads", credentials) as channel:
        for _ in range(int(STREAM_RATE.burst) + 2):
            call = channel.stream_stream(METHOD)()
            await call.write(request(record.node_id, "unknown"))
            try:
                while await call.read() is not grpc.aio.EOF:
                    pass
            except grpc.aio.AioRpcError:
                pass
            codes.append(await call.code())
    assert codes[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert codes[-1] is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_client_that_floods_is_slowed_and_others_are_served(
    plane_served: Served, eventually: Eventually
) -> None:
    record, _ = plane_served.register("reviews-v1")
    async with plane_served.channel("ads", plane_served.credentials_of(record)) as channel, TaskScope() as scope:
        call = channel.stream_stream(METHOD)()

        async def flood() -> None:
            while True:
                await call.write(request(record.node_id, RDS, resource_names=["outbound"], response_nonce="old"))

        scope.spawn(flood(), name="flood")
        await still_serves(plane_served, eventually)
        call.cancel()


async def test_of_a_nodes_streams_only_so_many_stay(plane_served: Served, eventually: Eventually) -> None:
    record, _ = plane_served.register("reviews-v1")
    async with plane_served.channel("ads", plane_served.credentials_of(record)) as channel, TaskScope() as scope:
        streams = plane_served.plane.publisher.streams

        def start() -> asyncio.Task[None]:
            return scope.spawn(XdsClient(channel, record.node_id).run(), name="client")

        oldest = [start() for _ in range(4)]
        # At rest: gRPC forgets a call, and leaves its task behind, if a message is being sent on it when it is ended.
        await eventually(lambda: [s.acked_version is not None for s in streams()] == [True] * 4, "four at rest")
        newest = [start() for _ in range(2)]
        await eventually(lambda: sum(task.done() for task in oldest) == 2, "the oldest make room")
        await eventually(lambda: [s.acked_version is not None for s in streams()] == [True] * 4, "four again")
        assert not any(task.done() for task in newest)


async def test_a_thousand_sidecars_reconnect_at_once_and_all_are_served_within_a_minute(
    plane_served: Served, eventually: Eventually
) -> None:
    """Each with a TLS connection of its own. Nothing is generated for them: that has been done when they registered.

    A minute is for test machines that do much else, and for the thousand clients that share this process; alone the
    control plane needs 5 s of one core.
    """
    crowd, services = 1000, 100
    publisher = plane_served.plane.publisher
    records = [
        plane_served.register(
            f"s{number % services}-v{number // services}",
            inbound=f"10.0.{number // 250}.{number % 250 + 1}:15006",
            service_account="crowd",
        )[0]
        for number in range(crowd)
    ]
    credentials = plane_served.credentials_of(records[0])
    await eventually(lambda: len(publisher.plan.snapshots) == crowd, "planned", within=60)
    plan = publisher.plan
    began = time.monotonic()
    async with TaskScope() as scope:
        channels = [plane_served.channel("ads", credentials) for _ in records]
        clients = [XdsClient(channel, each.node_id) for channel, each in zip(channels, records, strict=True)]
        tasks = [scope.spawn(client.run(), name="client") for client in clients]

        def served_all() -> bool:
            assert not any(task.done() for task in tasks)
            return sum(stream.acked_version == publisher.version for stream in publisher.streams()) == crowd

        await eventually(served_all, "all are served", within=60)
        print(f"{crowd} sidecars served in {time.monotonic() - began:.1f} s")
        assert publisher.plan is plan
    for channel in channels:
        await channel.close()
