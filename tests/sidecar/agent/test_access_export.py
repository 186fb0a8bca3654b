"""Access records to a collector that acknowledges, forgets, lies, hangs up or is away."""

import random
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import msgpack
import pytest

from mesh.clock import SystemClock
from mesh.records import ACCESS_TAG
from sidecar.agent.access_export import AccessExporter
from sidecar.agent.channels import Credentials
from sidecar.agent.collector_tls import secure
from sidecar.config.endpoint import Address
from sidecar.config.messages import AccessLog
from tests.sidecar.agent.collector import ForwardInput, forward_input
from tests.sidecar.xds.authority import TestAuthority

Eventually = Callable[..., Awaitable[None]]
WHO = "spiffe://cluster.local/ns/default/sa/reviews"


@pytest.fixture(scope="module")
def authority() -> TestAuthority:
    return TestAuthority()


@pytest.fixture
def collector(authority: TestAuthority, tmp_path: Path) -> Iterator[ForwardInput]:
    with forward_input(authority, tmp_path) as running:
        yield running


class Subject:
    """An exporter and the credentials that it uses."""

    def __init__(self, address: Address, authority: TestAuthority, **options: int) -> None:
        chain, key = authority.pair(WHO)
        self.credentials = Credentials(authority.pem, chain, key)
        self.exporter = AccessExporter(
            address,
            secure(lambda: self.credentials, "cluster.local"),
            SystemClock(),
            random.Random(1),
            **options,
        )


@pytest.fixture
def subject(collector: ForwardInput, authority: TestAuthority) -> Iterator[Subject]:
    subject = Subject(collector.address, authority)
    subject.exporter.start()
    yield subject
    subject.exporter.stop(0)


def records(*numbers: int) -> AccessLog:
    """Entries as a worker sends them."""
    entries = b"".join(msgpack.packb([n, {"id": f"node/epoch/{n}"}]) for n in numbers)
    return AccessLog(len(numbers), entries)


def numbers(entries: bytes) -> list[int]:
    unpacker = msgpack.Unpacker()
    unpacker.feed(entries)
    return [entry[0] for entry in unpacker]


async def test_entries_arrive_as_they_are_and_are_acknowledged(
    subject: Subject, collector: ForwardInput, eventually: Eventually
) -> None:
    subject.exporter.offer(records(1, 2))
    subject.exporter.offer(records(3))
    await eventually(lambda: subject.exporter.acknowledged == 3, "all are acknowledged")
    assert {tag for tag, *_ in collector.chunks} == {ACCESS_TAG}
    assert sum(size for _, _, size, _ in collector.chunks) == 3
    assert numbers(collector.entries) == [1, 2, 3]
    assert subject.exporter.buffered_bytes == 0
    uris = [value for kind, value in collector.peers[0]["subjectAltName"] if kind == "URI"]
    assert uris == [WHO], "we proved who we are"


async def test_what_is_offered_close_together_shares_a_chunk(
    subject: Subject, collector: ForwardInput, eventually: Eventually
) -> None:
    for number in range(100):
        subject.exporter.offer(records(number))
    await eventually(lambda: subject.exporter.acknowledged == 100, "all are acknowledged")
    assert len(collector.chunks) <= 3


async def test_a_chunk_is_never_larger_than_the_bound(
    collector: ForwardInput, authority: TestAuthority, eventually: Eventually
) -> None:
    subject = Subject(collector.address, authority, max_chunk_bytes=1000)
    for number in range(100):
        subject.exporter.offer(AccessLog(1, bytes(300)))
        assert number >= 0
    subject.exporter.start()
    await eventually(lambda: subject.exporter.acknowledged == 100, "all are acknowledged")
    assert max(len(entries) for *_, entries in collector.chunks) <= 1000
    subject.exporter.stop(1)


async def test_a_chunk_whose_acknowledgement_is_lost_is_sent_again_under_the_same_id(
    subject: Subject, collector: ForwardInput, eventually: Eventually
) -> None:
    collector.acknowledge = False
    subject.exporter.offer(records(1))
    await eventually(lambda: len(collector.chunks) == 1, "it arrives")
    collector.acknowledge = True
    collector.hang_up()
    await eventually(lambda: subject.exporter.acknowledged == 1, "it is acknowledged")
    first, second = collector.chunks
    assert first == second
    assert subject.exporter.failures == 1
    assert subject.exporter.dropped == 0


@pytest.mark.parametrize(
    "answer",
    [{"ack": "another"}, {"nack": 1}, "ack", {"ack": "x" * 10_000}],
    ids=["another id", "no ack", "text", "long"],
)
async def test_a_wrong_acknowledgement_is_none(
    answer: object, subject: Subject, collector: ForwardInput, eventually: Eventually
) -> None:
    collector.answer = answer  # type: ignore[assignment]
    subject.exporter.offer(records(1))
    await eventually(lambda: subject.exporter.failures >= 2, "it is sent again")
    assert subject.exporter.acknowledged == 0
    collector.answer = None
    await eventually(lambda: subject.exporter.acknowledged == 1, "until it is acknowledged")
    assert len({chunk_id for _, chunk_id, _, _ in collector.chunks}) == 1


async def test_a_collector_that_comes_later_gets_everything(
    authority: TestAuthority, tmp_path: Path, eventually: Eventually
) -> None:
    with forward_input(authority, tmp_path) as gone:
        address = gone.address
    subject = Subject(address, authority)
    subject.exporter.start()
    for number in range(50):
        subject.exporter.offer(records(number))
    await eventually(lambda: subject.exporter.failures >= 2, "it is away")
    assert subject.exporter.buffered_bytes > 0
    with forward_input(authority, tmp_path, port=address.port) as collector:
        await eventually(lambda: subject.exporter.acknowledged == 50, "all arrive")
        assert numbers(collector.entries) == list(range(50))
        assert subject.exporter.dropped == 0
        subject.exporter.stop(1)


async def test_beyond_the_buffers_bound_records_are_dropped_and_counted(
    authority: TestAuthority, collector: ForwardInput
) -> None:
    subject = Subject(collector.address, authority, max_buffered_bytes=1000)
    for _ in range(10):
        subject.exporter.offer(AccessLog(2, bytes(300)))
    assert subject.exporter.buffered_bytes == 900
    assert subject.exporter.dropped == 14


async def test_offering_never_waits_for_a_collector_that_does_not_answer(
    subject: Subject, collector: ForwardInput, eventually: Eventually
) -> None:
    collector.acknowledge = False
    subject.exporter.offer(records(1))
    await eventually(lambda: len(collector.chunks) == 1, "the thread waits for the acknowledgement")
    began = time.perf_counter()
    for number in range(1000):
        subject.exporter.offer(records(number))
    assert time.perf_counter() - began < 0.5


async def test_stopping_sends_what_is_buffered(authority: TestAuthority, collector: ForwardInput) -> None:
    subject = Subject(collector.address, authority)
    subject.exporter.offer(records(1, 2, 3))
    subject.exporter.start()
    subject.exporter.stop(5)
    assert numbers(collector.entries) == [1, 2, 3]
    assert (subject.exporter.acknowledged, subject.exporter.dropped) == (3, 0)
    subject.exporter.offer(records(4))
    assert subject.exporter.dropped == 1


async def test_stopping_gives_up_at_its_deadline_and_counts_what_is_lost(
    authority: TestAuthority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with forward_input(authority, tmp_path) as gone:
        address = gone.address
    subject = Subject(address, authority)
    subject.exporter.offer(records(1, 2))
    subject.exporter.start()
    began = time.perf_counter()
    subject.exporter.stop(0.5)
    assert time.perf_counter() - began < 3
    assert subject.exporter.dropped == 2
    assert "2 access records are lost" in caplog.text


async def test_new_credentials_are_used_for_the_next_chunk(
    subject: Subject, collector: ForwardInput, authority: TestAuthority, eventually: Eventually
) -> None:
    subject.exporter.offer(records(1))
    await eventually(lambda: subject.exporter.acknowledged == 1, "the first arrives")
    chain, key = authority.pair(WHO)
    subject.credentials = Credentials(authority.pem, chain, key)
    subject.exporter.reconnect()
    subject.exporter.offer(records(2))
    await eventually(lambda: subject.exporter.acknowledged == 2, "the second arrives")
    assert collector.connections == 2
    assert collector.peers[0]["serialNumber"] != collector.peers[1]["serialNumber"]


@pytest.mark.parametrize(
    "uri",
    [
        pytest.param("spiffe://cluster.local/ns/default/sa/remora-collector", id="another namespace"),
        pytest.param("spiffe://other/ns/remora-system/sa/remora-collector", id="another trust domain"),
    ],
)
async def test_another_workload_in_the_collectors_place_gets_nothing(
    uri: str, authority: TestAuthority, tmp_path: Path, eventually: Eventually
) -> None:
    with forward_input(authority, tmp_path, uri) as impostor:
        subject = Subject(impostor.address, authority)
        subject.exporter.start()
        subject.exporter.offer(records(1))
        await eventually(lambda: subject.exporter.failures, "the attempt fails")
        assert impostor.chunks == []
        assert "none of its names" in (subject.exporter.last_error or "")
        subject.exporter.stop(0)


async def test_a_collector_of_another_mesh_gets_nothing(
    authority: TestAuthority, tmp_path: Path, eventually: Eventually
) -> None:
    with forward_input(TestAuthority("other"), tmp_path) as impostor:
        subject = Subject(impostor.address, authority)
        subject.exporter.start()
        subject.exporter.offer(records(1))
        await eventually(lambda: subject.exporter.failures, "the attempt fails")
        assert impostor.chunks == []
        subject.exporter.stop(0)
