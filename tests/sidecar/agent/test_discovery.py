"""The ADS stream over real gRPC with mutual TLS."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from envoy.config.core.v3.base_pb2 import Node

from mesh.clock import SystemClock
from mesh.lifecycle import TaskScope
from sidecar.agent.backoff import Backoff
from sidecar.agent.channels import Credentials
from sidecar.agent.discovery import Discovery
from sidecar.config.messages import Refused
from sidecar.xds.ads import Ads
from sidecar.xds.configuration import Configuration
from sidecar.xds.kinds import Kind
from tests.sidecar.agent.control_plane import FakeControlPlane, Stream
from tests.sidecar.xds.authority import TestAuthority
from tests.sidecar.xds.resources import assignment, eds_cluster, pack

Eventually = Callable[..., Awaitable[None]]
WHO = "spiffe://cluster.local/ns/default/sa/reviews"


class Subject:
    """A discovery at work, and workers that take or refuse what they are told to."""

    def __init__(self, control_plane: FakeControlPlane, credentials: Credentials | None = None) -> None:
        chain, key = control_plane.authority.pair(WHO)
        self.credentials = credentials or Credentials(control_plane.authority.pem, chain, key)
        self.applied: list[Configuration] = []
        self.refusal: Refused | None = None
        self.served = 0
        self.discovery = Discovery(
            control_plane.ads,
            Node(id="node-1"),
            Ads(),
            lambda: self.credentials,
            self._apply,
            self._on_served,
            SystemClock(),
            Backoff(random.Random(5), base_s=0.05, max_s=0.2),
        )
        self.counts = self.discovery.counts

    async def _apply(self, configuration: Configuration) -> Refused | None:
        if self.refusal is None:
            self.applied.append(configuration)
        return self.refusal

    def _on_served(self) -> None:
        self.served += 1


@pytest.fixture
async def control_plane() -> AsyncIterator[FakeControlPlane]:
    async with FakeControlPlane(TestAuthority()) as running:
        yield running


@pytest.fixture
async def scope() -> AsyncIterator[TaskScope]:
    async with TaskScope() as scope:
        yield scope


def cluster(name: str, **changes: Any) -> Any:
    return pack(Kind.CDS, eds_cluster(name, **changes))


async def stream_of(control_plane: FakeControlPlane, eventually: Eventually, number: int = 1) -> Stream:
    await eventually(lambda: len(control_plane.streams) >= number, "a stream is opened")
    stream = control_plane.streams[number - 1]
    await eventually(lambda: len(stream.requests) >= 2, "clusters and listeners are asked for")
    return stream


async def serve_a(stream: Stream, subject: Subject, eventually: Eventually) -> None:
    stream.send(Kind.CDS, "c1", "n1", cluster("a"))
    await eventually(lambda: stream.of(Kind.EDS), "the cluster's endpoints are asked for")
    stream.send(Kind.EDS, "e1", "n2", pack(Kind.EDS, assignment("a", 80)))
    await eventually(lambda: len(stream.of(Kind.EDS)) == 2, "the endpoints are acknowledged")


async def test_what_the_workers_serve_is_acknowledged(
    control_plane: FakeControlPlane, scope: TaskScope, eventually: Eventually
) -> None:
    subject = Subject(control_plane)
    scope.spawn(subject.discovery.run(), name="discovery")
    stream = await stream_of(control_plane, eventually)
    assert [bool(request.node.id) for request in stream.requests] == [True, False], "the node comes once"
    assert stream.requests[0].node.id == "node-1"
    await serve_a(stream, subject, eventually)
    assert [cluster.name for cluster in subject.applied[0].clusters] == ["a"]
    _, ack = stream.of(Kind.CDS)
    assert (ack.version_info, ack.response_nonce, ack.HasField("error_detail")) == ("c1", "n1", False)
    assert (subject.counts.connected, subject.counts.acks, subject.served) == (True, 2, 1)


async def test_a_rejected_resource_is_told_with_its_path_while_the_old_one_serves(
    control_plane: FakeControlPlane, scope: TaskScope, eventually: Eventually
) -> None:
    subject = Subject(control_plane)
    scope.spawn(subject.discovery.run(), name="discovery")
    stream = await stream_of(control_plane, eventually)
    await serve_a(stream, subject, eventually)
    stream.send(Kind.CDS, "c2", "n3", cluster("a", lb_policy="MAGLEV"))
    await eventually(lambda: len(stream.of(Kind.CDS)) == 3, "an answer comes")
    nack = stream.of(Kind.CDS)[2]
    assert (nack.version_info, nack.response_nonce) == ("c1", "n3")
    assert nack.error_detail.message.startswith("CDS a: lb_policy: MAGLEV is not supported")
    assert nack.error_detail.code == 3
    assert list(subject.counts.rejections) == ["CDS"]
    stream.send(Kind.CDS, "c3", "n4", cluster("a", connect_timeout="3s"))
    await eventually(lambda: len(stream.of(Kind.CDS)) == 4, "the next good version is acknowledged")
    assert stream.of(Kind.CDS)[3].version_info == "c3"
    assert subject.counts.rejections == {}
    assert len(subject.applied) == 2


async def test_what_the_workers_refuse_is_refused(
    control_plane: FakeControlPlane, scope: TaskScope, eventually: Eventually
) -> None:
    subject = Subject(control_plane)
    subject.refusal = Refused(1, "a", "tls", "no such secret")
    scope.spawn(subject.discovery.run(), name="discovery")
    stream = await stream_of(control_plane, eventually)
    stream.send(Kind.CDS, "c1", "n1", cluster("a"))
    await eventually(lambda: stream.of(Kind.EDS), "the cluster's endpoints are asked for")
    stream.send(Kind.EDS, "e1", "n2", pack(Kind.EDS, assignment("a", 80)))
    await eventually(lambda: len(stream.of(Kind.CDS)) == 2, "an answer comes")
    nack = stream.of(Kind.CDS)[1]
    assert (nack.version_info, nack.response_nonce) == ("", "n1")
    assert nack.error_detail.message == "CDS a: tls: no such secret"


async def test_with_the_control_plane_away_nothing_changes_and_on_return_the_last_versions_are_told(
    control_plane: FakeControlPlane, scope: TaskScope, eventually: Eventually
) -> None:
    subject = Subject(control_plane)
    scope.spawn(subject.discovery.run(), name="discovery")
    await serve_a(await stream_of(control_plane, eventually), subject, eventually)
    await control_plane.stop()
    await eventually(lambda: subject.counts.failures >= 2, "it is tried again")
    assert not subject.counts.connected
    assert subject.discovery.ads.serving == subject.applied[0]
    await control_plane.start()
    stream = await stream_of(control_plane, eventually, 2)
    await eventually(lambda: len(stream.requests) >= 3, "everything is asked for again")
    told = {request.type_url: (request.version_info, request.response_nonce) for request in stream.requests}
    assert told == {Kind.CDS.value: ("c1", ""), Kind.EDS.value: ("e1", ""), Kind.LDS.value: ("", "")}
    assert stream.requests[0].node.id == "node-1"
    stream.send(Kind.CDS, "c1", "m1", cluster("a"))
    await eventually(lambda: len(stream.of(Kind.CDS)) == 2, "the same again is acknowledged")
    assert len(subject.applied) == 1, "without being applied again"


async def test_new_credentials_open_a_new_stream_at_once(
    control_plane: FakeControlPlane, scope: TaskScope, eventually: Eventually
) -> None:
    subject = Subject(control_plane)
    scope.spawn(subject.discovery.run(), name="discovery")
    await serve_a(await stream_of(control_plane, eventually), subject, eventually)
    chain, key = control_plane.authority.pair(WHO)
    subject.credentials = Credentials(control_plane.authority.pem, chain, key)
    subject.discovery.reconnect()
    stream = await stream_of(control_plane, eventually, 2)
    await eventually(lambda: control_plane.streams[0].ended, "the old stream ends")
    assert stream.requests[0].version_info == "c1"
    assert subject.counts.failures == 0


async def test_a_stream_that_the_server_closes_is_opened_again(
    control_plane: FakeControlPlane, scope: TaskScope, eventually: Eventually
) -> None:
    subject = Subject(control_plane)
    scope.spawn(subject.discovery.run(), name="discovery")
    (await stream_of(control_plane, eventually)).close()
    await stream_of(control_plane, eventually, 2)
    assert subject.counts.failures == 1


async def test_a_control_plane_of_another_mesh_gets_no_request(
    control_plane: FakeControlPlane, scope: TaskScope, eventually: Eventually
) -> None:
    chain, key = control_plane.authority.pair(WHO)
    subject = Subject(control_plane, Credentials(TestAuthority("other").pem, chain, key))
    scope.spawn(subject.discovery.run(), name="discovery")
    await eventually(lambda: subject.counts.failures >= 2, "it is tried again")
    assert control_plane.streams == []


async def test_bytes_that_are_no_response_end_the_stream_and_not_the_agent(
    control_plane: FakeControlPlane, scope: TaskScope, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    subject = Subject(control_plane)
    scope.spawn(subject.discovery.run(), name="discovery")
    stream = await stream_of(control_plane, eventually)
    stream.send(Kind.CDS, "c1", "n1", cluster("a"))
    bad = cluster("a")
    bad.value = b"\xff\xff"
    stream.send(Kind.CDS, "c2", "n2", bad)
    await eventually(lambda: subject.counts.nacks == 1, "it is refused")
    await eventually(lambda: "is not a envoy.config.cluster.v3.Cluster" in caplog.text, "and said")
