import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgpack
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from collectors.pipeline import Refused
from collectors.receivers.claims import Claims
from collectors.receivers.forward import ForwardLimits, ForwardReceiver
from collectors.receivers.forward_parser import ParserLimits
from collectors.receivers.members import Members
from collectors.records import Batch
from collectors.telemetry import Telemetry
from collectors.tls import Credentials, ServerTls, authenticate_der, client_context
from tests.collectors.authority import COLLECTOR, DOMAIN, Mint
from tests.collectors.build import FakeClock
from tests.collectors.fakes import Sink, bound

Eventually = Callable[..., Awaitable[None]]
LIMITS = ForwardLimits(
    max_connections=4,
    max_in_flight_bytes=20_000,
    message_timeout_s=0.3,
    parser=ParserLimits(max_message_bytes=100_000),
)


def message(text: str, chunk: str | None = None, size: int = 0) -> bytes:
    packed = msgpack.packb([5, {"message": text, "padding": "x" * size}])
    return bytes(msgpack.packb(["app", packed, {"chunk": chunk} if chunk else {}]))


class Rig:
    def __init__(self) -> None:
        self.sink = Sink()
        self.telemetry = Telemetry()
        clock = FakeClock()
        claims = Claims(Members, self.telemetry, clock)
        self.receiver = ForwardReceiver(self.sink, self.telemetry, clock, claims, LIMITS)
        self.mint = Mint()
        self.tls = ServerTls(self.mint.credentials(COLLECTOR))
        self.address = ("", 0)
        self.secure_address = ("", 0)
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(
        self, credentials: Credentials | None = None, context: ssl.SSLContext | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if credentials is not None:
            context = client_context(credentials)
        address = self.address if context is None else self.secure_address
        reader, writer = await asyncio.open_connection(*address, ssl=context)
        self._writers.append(writer)
        return reader, writer

    def closed_for(self, reason: str) -> float:
        return (
            self.telemetry.registry.get_sample_value(
                "remora_collector_closed_connections_total", {"receiver": "forward", "reason": reason}
            )
            or 0.0
        )


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    sock, rig.address = bound()
    await rig.receiver.listen(sock, None)
    sock, rig.secure_address = bound()
    await rig.receiver.listen(sock, rig.tls.context, lambda one: authenticate_der(one.getpeercert(True), DOMAIN))
    yield rig
    for writer in rig._writers:
        writer.transport.abort()
    rig.sink.open.set()
    await rig.receiver.close(1.0)


async def ack(reader: asyncio.StreamReader) -> Any:
    return msgpack.unpackb(await asyncio.wait_for(reader.read(1000), 5))


async def ended(reader: asyncio.StreamReader) -> bool:
    """Whether the server ends the connection, in whichever way."""
    try:
        return await asyncio.wait_for(reader.read(), 5) == b""
    except (ConnectionError, ssl.SSLError):
        return True


async def test_an_acknowledgement_comes_after_the_commit_and_not_before(rig: Rig, eventually: Eventually) -> None:
    reader, writer = await rig.connect()
    rig.sink.open.clear()
    writer.write(message("hello", "c1"))
    await eventually(lambda: rig.sink.entered == 1, "the batch is on its way")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.05)
    rig.sink.open.set()
    assert await ack(reader) == {"ack": "c1"}
    assert rig.sink.messages == ["hello"]


async def test_messages_without_a_chunk_are_stored_and_not_answered(rig: Rig, eventually: Eventually) -> None:
    reader, writer = await rig.connect()
    writer.write(message("a") + message("b", "c2"))
    assert await ack(reader) == {"ack": "c2"}
    assert rig.sink.messages == ["a", "b"]


async def test_who_closes_at_once_has_his_records_stored(rig: Rig, eventually: Eventually) -> None:
    _, writer = await rig.connect()
    writer.write(message("last words"))
    writer.close()
    await eventually(lambda: rig.sink.messages == ["last words"], "stored")


async def test_who_half_closes_still_gets_his_acknowledgement(rig: Rig) -> None:
    reader, writer = await rig.connect()
    writer.write(message("a", "c1"))
    writer.write_eof()
    assert await ack(reader) == {"ack": "c1"}
    assert await ended(reader)


@pytest.mark.parametrize(
    "broken",
    [
        b"\xc1",
        b"GET / HTTP/1.1\r\n\r\n",
        msgpack.packb(["t", 5, {"a": "x" * 100_001}]),
        msgpack.packb(["t", gzip.compress(b"\x92\x00\x80" * 480_000), {"compressed": "gzip"}]),
    ],
    ids=["byte", "HTTP", "size", "half a million entries in a kilobyte"],
)
async def test_broken_input_ends_its_own_connection_alone(rig: Rig, broken: bytes, eventually: Eventually) -> None:
    good_reader, good = await rig.connect()
    bad_reader, bad = await rig.connect()
    good.write(message("before", "c1"))
    assert await ack(good_reader) == {"ack": "c1"}
    bad.write(broken)
    assert await ended(bad_reader)
    good.write(message("after", "c2"))
    assert await ack(good_reader) == {"ack": "c2"}
    assert rig.closed_for("protocol error") == 1
    await eventually(lambda: len(rig.receiver.connections) == 1, "the broken one is forgotten")


async def test_who_sends_faster_than_is_stored_is_not_read_further(rig: Rig, eventually: Eventually) -> None:
    reader, writer = await rig.connect()
    rig.sink.open.clear()
    for number in range(2_000):
        writer.write(message(str(number), f"c{number}", size=8_000))
    # 16 MB are more than our limit and the kernel's buffers together.
    await eventually(lambda: rig.sink.entered == 1, "the first is on its way")
    (connection,) = rig.receiver.connections
    await eventually(lambda: connection._paused, "reading stops")
    assert connection._in_flight < LIMITS.max_in_flight_bytes + (1 << 19)
    assert writer.transport.get_write_buffer_size() > 0
    rig.sink.open.set()
    unpacker = msgpack.Unpacker()
    acked = 0
    while acked < 2_000:
        unpacker.feed(await asyncio.wait_for(reader.read(1 << 16), 5))
        acked += sum(1 for _ in unpacker)
    assert [int(str(text)) for text in rig.sink.messages] == list(range(2_000))


async def test_who_does_not_read_acknowledgements_is_not_read_either(rig: Rig, eventually: Eventually) -> None:
    _, writer = await rig.connect()
    (connection,) = rig.receiver.connections
    connection.pause_writing()
    writer.write(message("a", "c1"))
    assert connection._paused
    connection.resume_writing()
    await eventually(lambda: rig.sink.messages == ["a"], "stored after all")


async def test_a_message_that_does_not_end_in_time_ends_the_connection(rig: Rig) -> None:
    reader, writer = await rig.connect()
    writer.write(message("a", "c1")[:-2])
    assert await ended(reader)
    assert rig.closed_for("slow message") == 1


async def test_incomplete_messages_together_take_no_more_than_they_may_and_the_largest_goes(
    eventually: Eventually,
) -> None:
    sink, telemetry, clock = Sink(), Telemetry(), FakeClock()
    limits = ForwardLimits(max_pending_bytes=100_000)
    receiver = ForwardReceiver(sink, telemetry, clock, Claims(Members, telemetry, clock), limits)
    sock, address = bound()
    await receiver.listen(sock, None)
    sizes = (20_000, 50_000, 25_000)
    streams = [await asyncio.open_connection(*address) for _ in sizes]
    whole = [message(str(size), f"c{size}", size) for size in sizes]
    for (_, writer), sent in zip(streams, whole, strict=True):
        writer.write(sent[:-1])
    await eventually(lambda: receiver._pending == sum(map(len, whole)) - 3, "all three are under way")
    late_reader, late = await asyncio.open_connection(*address)
    late.write(message("one more", "c4", 10_000)[:-1])
    assert await ended(streams[1][0]), "the one with most of it"
    assert (
        telemetry.registry.get_sample_value(
            "remora_collector_closed_connections_total", {"receiver": "forward", "reason": "too much incomplete"}
        )
        == 1
    )
    for index in (0, 2):
        reader, writer = streams[index]
        writer.write(whole[index][-1:])
        assert await ack(reader) == {"ack": f"c{sizes[index]}"}
    late.write(message("one more", "c4", 10_000)[-1:])
    assert await ack(late_reader) == {"ack": "c4"}
    assert receiver._pending == 0
    for _, writer in [*streams, (late_reader, late)]:
        writer.close()
    await receiver.close(1.0)


async def test_an_idle_connection_is_left_in_peace(rig: Rig) -> None:
    reader, writer = await rig.connect()
    writer.write(message("a", "c1"))
    assert await ack(reader) == {"ack": "c1"}
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), LIMITS.message_timeout_s * 2)
    writer.write(message("b", "c2"))
    assert await ack(reader) == {"ack": "c2"}


async def test_one_connection_too_many_is_refused_and_the_others_served(rig: Rig) -> None:
    streams = [await rig.connect() for _ in range(LIMITS.max_connections)]
    for reader, writer in streams:
        writer.write(message("a", "c1"))
        assert await ack(reader) == {"ack": "c1"}
    reader, _ = await rig.connect()
    assert await ended(reader)
    assert rig.closed_for("too many connections") == 1


async def test_what_the_store_refuses_is_not_acknowledged_and_the_connection_ends(rig: Rig) -> None:
    reader, writer = await rig.connect()
    rig.sink.refuse = Refused("closing", retry=True)
    writer.write(message("a", "c1"))
    assert await ended(reader)
    rig.sink.refuse = None
    reader, writer = await rig.connect()
    writer.write(message("a", "c1"))
    assert await ack(reader) == {"ack": "c1"}


async def test_a_stage_that_fails_in_an_unforeseen_way_ends_one_connection_and_holds_nothing_back(
    eventually: Eventually,
) -> None:
    class Broken(Sink):
        async def consume(self, batch: Batch) -> None:
            self.entered += 1
            if self.entered == 1:
                await self.open.wait()
                raise RuntimeError("a mistake of ours")
            await super().consume(batch)

    sink, telemetry, clock = Broken(), Telemetry(), FakeClock()
    receiver = ForwardReceiver(sink, telemetry, clock, Claims(Members, telemetry, clock), LIMITS)
    sock, address = bound()
    await receiver.listen(sock, None)
    sink.open.clear()
    reader, writer = await asyncio.open_connection(*address)
    writer.write(message("a", "c1", size=10_000))
    await eventually(lambda: sink.entered == 1, "it is on its way")
    writer.write(message("b", "c2", size=1_000))
    await eventually(lambda: receiver._in_flight > 11_000, "another one waits")
    sink.open.set()
    assert await ended(reader)
    await eventually(lambda: not receiver.connections, "it is over")
    assert receiver._in_flight == 0
    assert (
        telemetry.registry.get_sample_value(
            "remora_collector_refused_records_total", {"receiver": "forward", "signal": "logs"}
        )
        == 1
    )
    writer.close()
    reader, writer = await asyncio.open_connection(*address)
    writer.write(message("c", "c3"))
    assert await ack(reader) == {"ack": "c3"}
    writer.close()
    await receiver.close(1.0)
    assert receiver._in_flight == 0


async def test_closing_stores_and_acknowledges_what_came_whole(rig: Rig, eventually: Eventually) -> None:
    reader, writer = await rig.connect()
    rig.sink.open.clear()
    writer.write(message("a", "c1") + message("b", "c2")[:10])
    await eventually(lambda: rig.sink.entered == 1, "on its way")
    closing = asyncio.ensure_future(rig.receiver.close(5.0))
    await asyncio.sleep(0)
    rig.sink.open.set()
    assert await ack(reader) == {"ack": "c1"}
    await closing
    assert await ended(reader)
    assert rig.sink.messages == ["a"]


async def test_records_sent_again_have_the_same_ids_and_others_never(rig: Rig, eventually: Eventually) -> None:
    for count in (3, 6):
        _, writer = await rig.connect()
        writer.write(message("a", "c1") + message("a") + message("a", "c2"))
        await eventually(lambda count=count: len(rig.sink.messages) == count, "all three are stored")
    ids = [record.id for batch in rig.sink.batches for record in batch.logs]
    assert len(ids) == 6
    assert (ids[0], ids[2]) == (ids[3], ids[5]) == ("chunk:c1/0", "chunk:c2/0")
    assert len(set(ids)) == 4


# Mutual TLS


async def test_a_workload_of_the_mesh_is_served_over_tls_1_3_and_known_by_name(rig: Rig) -> None:
    reader, writer = await rig.connect(rig.mint.credentials())
    connection = writer.get_extra_info("ssl_object")
    assert connection.version() == "TLSv1.3"
    writer.write(message("a", "c1"))
    assert await ack(reader) == {"ack": "c1"}
    assert rig.sink.batches[0].logs[0].workload == "bookinfo-productpage"
    names = x509.load_der_x509_certificate(connection.getpeercert(True)).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert names.value.get_values_for_type(x509.UniformResourceIdentifier) == [str(COLLECTOR)]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"uris": ("spiffe://elsewhere.org/ns/default/sa/x",)}, id="of another trust domain"),
        pytest.param({"uris": ()}, id="without a name"),
        pytest.param({"uris": (), "dns": ("remora-collector.remora-system.svc",)}, id="with a DNS name only"),
        pytest.param(
            {"uris": ("spiffe://cluster.local/ns/a/sa/b", "spiffe://cluster.local/ns/c/sa/d")}, id="with two names"
        ),
        pytest.param({"uris": ("https://cluster.local/ns/a/sa/b",)}, id="with a URI that is no SPIFFE id"),
        pytest.param({"uris": ("spiffe://cluster.local/ns/A/sa/b",)}, id="with a malformed SPIFFE id"),
        pytest.param({"ca": True}, id="that is an authority"),
        pytest.param({"life_s": -10}, id="that has expired"),
        pytest.param({"usages": (ExtendedKeyUsageOID.SERVER_AUTH,)}, id="for servers only"),
    ],
)
async def test_a_certificate_of_ours_is_refused(rig: Rig, changes: dict[str, Any]) -> None:
    reader, writer = await rig.connect(rig.mint.credentials(**changes))
    writer.write(message("a", "c1"))
    assert await ended(reader)
    assert rig.sink.batches == []
    reader, writer = await rig.connect(rig.mint.credentials())
    writer.write(message("b", "c2"))
    assert await ack(reader) == {"ack": "c2"}


async def test_strangers_plaintext_and_old_tls_are_refused(rig: Rig) -> None:
    ours = rig.mint.credentials().roots_pem
    reader, writer = await rig.connect(Mint("another root").credentials(roots=ours))
    writer.write(message("a", "c1"))
    assert await ended(reader), "a certificate of another root"

    nobody = ssl.create_default_context(cadata=ours.decode())
    nobody.check_hostname = False
    reader, writer = await rig.connect(context=nobody)
    writer.write(message("a", "c1"))
    assert await ended(reader), "no certificate"

    old = client_context(rig.mint.credentials())
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await rig.connect(context=old)

    reader, writer = await asyncio.open_connection(*rig.secure_address)
    rig._writers.append(writer)
    writer.write(message("a", "c1"))
    await ended(reader)
    assert rig.sink.batches == []


async def test_new_roots_and_certificates_serve_new_handshakes_and_old_connections_live_on(rig: Rig) -> None:
    old_reader, old_writer = await rig.connect(rig.mint.credentials())
    successor = Mint("successor")
    rig.tls.update(successor.credentials(COLLECTOR))
    reader, writer = await rig.connect(successor.credentials())
    writer.write(message("new", "c1"))
    assert await ack(reader) == {"ack": "c1"}
    old_writer.write(message("old", "c2"))
    assert await ack(old_reader) == {"ack": "c2"}
    both = rig.mint.credentials().roots_pem + successor.credentials().roots_pem
    reader, writer = await rig.connect(rig.mint.credentials(roots=both))
    writer.write(message("too late", "c3"))
    assert await ended(reader), "the old root is trusted no more"


async def test_all_connections_together_hold_no_more_than_the_whole_may(eventually: Eventually) -> None:
    """While it is used up nobody reads; then all go on, and nothing is lost."""
    sink = Sink()
    sink.open.clear()
    limits = ForwardLimits(max_total_bytes=100_000)
    telemetry, clock = Telemetry(), FakeClock()
    receiver = ForwardReceiver(sink, telemetry, clock, Claims(Members, telemetry, clock), limits)
    sock, (host, port) = bound()
    await receiver.listen(sock, None)
    message = msgpack.packb(["app", [[1, {"m": "x" * 1_000}]] * 20, {"chunk": "c"}])
    streams = [await asyncio.open_connection(host, port) for _ in range(20)]
    for _, writer in streams:
        writer.write(message * 10)
    await eventually(lambda: receiver.full, "it is used up")
    held = sum(connection._in_flight for connection in receiver.connections)
    # What one of them read at once comes on top.
    assert 100_000 <= held < 100_000 + 10 * len(message)
    reading = [connection for connection in receiver.connections if not connection._paused]
    assert reading == []
    late = await asyncio.open_connection(host, port)
    late[1].write(message)
    sink.open.set()
    for reader, writer in [*streams, late]:
        expected = b"\x81\xa3ack\xa1c" * (1 if reader is late[0] else 10)
        assert await asyncio.wait_for(reader.readexactly(len(expected)), 10) == expected
        writer.close()
        await writer.wait_closed()
    await receiver.close(1)
    assert not receiver.full
    assert len(sink.messages) == 20 * 201
