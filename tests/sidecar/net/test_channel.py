"""The channel between agent and worker over real socket pairs."""

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.config.codec import to_plain
from sidecar.config.endpoint import Address
from sidecar.config.messages import (
    MAX_FRAME_BYTES,
    AccessLog,
    Applied,
    Apply,
    Drain,
    Inspected,
    Listen,
    ToAgent,
    ToWorker,
)
from sidecar.config.route import DirectResponse, Route, RouteConfiguration, RouteMatch, VirtualHost
from sidecar.config.snapshot import Node, Snapshot
from sidecar.net.channel import BrokenChannel, Channel

Eventually = Callable[..., Awaitable[None]]


class End:
    """One side, remembering what it is told."""

    def __init__(self, sock: socket.socket, expects: Any, **options: Any) -> None:
        self.messages: list[Any] = []
        self.fds: list[list[int]] = []
        self.closed: list[Exception | None] = []
        self.channel = Channel(sock, expects, self._on_message, self.closed.append, **options)

    def _on_message(self, message: Any, fds: list[int]) -> None:
        self.messages.append(message)
        self.fds.append(fds)


class Pair:
    def __init__(self, **options: Any) -> None:
        ours, theirs = socket.socketpair()
        self.agent = End(ours, ToAgent, **options)
        self.worker = End(theirs, ToWorker, **options)

    def close(self) -> None:
        self.agent.channel.close()
        self.worker.channel.close()


@pytest.fixture
async def pair() -> Any:
    pair = Pair()
    yield pair
    pair.close()


@pytest.fixture
def raw() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


def frame(message: Any) -> bytes:
    body = msgpack.packb(to_plain(message))
    return struct.pack(">I", len(body)) + body


def large_snapshot(size: int) -> Snapshot:
    route = Route("r", RouteMatch(), DirectResponse(200, os.urandom(size)))
    return Snapshot("large", Node(), routes=(RouteConfiguration("r", (VirtualHost("v", ("*",), (route,)),)),))


async def test_messages_arrive_in_order_both_ways(pair: Pair, eventually: Eventually) -> None:
    for sequence in range(100):
        assert pair.agent.channel.send(Apply(sequence, Snapshot("v", Node())))
        assert pair.worker.channel.send(Applied(sequence))
    await eventually(lambda: len(pair.worker.messages) == len(pair.agent.messages) == 100, "all arrive")
    assert pair.agent.messages == [Applied(sequence) for sequence in range(100)]
    assert [message.sequence for message in pair.worker.messages] == list(range(100))


async def test_a_message_larger_than_the_kernels_buffer_arrives_whole(pair: Pair, eventually: Eventually) -> None:
    message = Apply(1, large_snapshot(8 * 1024 * 1024))
    assert pair.agent.channel.send(message)
    assert pair.agent.channel.queued_bytes > 0
    await eventually(lambda: pair.worker.messages == [message], "the large message arrives")
    assert pair.agent.channel.queued_bytes == 0


async def test_sockets_travel_beside_the_message_that_names_them(pair: Pair, eventually: Eventually) -> None:
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        addresses = tuple(Address(*sock.getsockname()) for sock in (first, second))
        pair.agent.channel.send(Drain(1.0))
        pair.agent.channel.send(Listen(addresses[:1]), fds=[first.fileno()])
        pair.agent.channel.send(Listen(addresses[1:]), fds=[second.fileno()])
        pair.agent.channel.send(Drain(2.0))
        await eventually(lambda: len(pair.worker.messages) == 4, "all arrive")
    assert pair.worker.fds[0] == pair.worker.fds[3] == []
    for index, address in ((1, addresses[0]), (2, addresses[1])):
        (fd,) = pair.worker.fds[index]
        assert not os.get_inheritable(fd)
        with socket.socket(fileno=fd) as received:
            assert received.getsockname() == (address.host, address.port)


async def test_sockets_wait_with_their_message_behind_a_full_buffer(pair: Pair, eventually: Eventually) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = Address(*server.getsockname())
        pair.agent.channel.send(Apply(1, large_snapshot(4 * 1024 * 1024)))
        pair.agent.channel.send(Listen((address,)), fds=[server.fileno()])
        await eventually(lambda: len(pair.worker.messages) == 2, "both arrive")
    (fd,) = pair.worker.fds[1]
    with socket.socket(fileno=fd) as received:
        assert received.getsockname()[1] == address.port


async def test_records_beyond_the_bound_are_dropped_and_counted_while_messages_are_not(
    raw: tuple[socket.socket, socket.socket], eventually: Eventually
) -> None:
    sender = End(raw[0], ToWorker, max_queued_bytes=1024 * 1024)
    record = AccessLog(1, bytes(256 * 1024))
    taken = 0
    while sender.channel.send(record, droppable=True):
        taken += 1
        assert taken < 100, "the bound never bites"
    assert sender.channel.dropped == 1
    assert not sender.channel.send(record, droppable=True)
    assert sender.channel.send(Applied(5))
    receiver = End(raw[1], ToAgent)
    await eventually(lambda: len(receiver.messages) == taken + 1, "what was taken arrives")
    assert receiver.messages[-1] == Applied(5)
    assert sender.channel.send(record, droppable=True), "there is room again"
    sender.channel.close()
    receiver.channel.close()


async def test_the_peers_end_is_told_once_and_nothing_can_be_sent_after(pair: Pair, eventually: Eventually) -> None:
    pair.worker.channel.close()
    await eventually(lambda: pair.agent.closed, "the end is noticed")
    assert pair.agent.closed == [None]
    assert not pair.agent.channel.send(Drain(1.0))


async def test_what_a_dying_peer_said_last_is_heard_although_sending_to_it_fails(
    pair: Pair, eventually: Eventually
) -> None:
    pair.worker.channel.send(AccessLog(3, b"abc"))
    pair.worker.channel.close()
    assert not pair.agent.channel.send(Drain(1.0))
    await eventually(lambda: pair.agent.closed, "the end is noticed")
    assert pair.agent.messages == [AccessLog(3, b"abc")]
    assert pair.agent.closed == [None]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        pytest.param(struct.pack(">I", MAX_FRAME_BYTES + 1), "frame of", id="too long a frame"),
        pytest.param(frame(Drain(1.0)), "no message", id="a message for the other side"),
        pytest.param(struct.pack(">I", 1) + b"\xc1", "no message", id="no msgpack"),
        pytest.param(struct.pack(">I", 3) + b"\x01\x02\x03", "no message", id="bytes after the value"),
        pytest.param(struct.pack(">I", 2) + b"\x92\x01", "no message", id="a value cut off"),
        pytest.param(struct.pack(">I", 0), "no message", id="an empty frame"),
        pytest.param(struct.pack(">I", 4000) + b"\x91" * 4000, "no message", id="nested too deeply"),
    ],
)
async def test_a_frame_that_is_no_message_closes_the_channel(
    data: bytes, why: str, raw: tuple[socket.socket, socket.socket], eventually: Eventually
) -> None:
    end = End(raw[0], ToAgent)
    raw[1].sendall(data)
    await eventually(lambda: end.closed, "the channel closes")
    (error,) = end.closed
    assert isinstance(error, BrokenChannel)
    assert why in str(error)
    assert raw[1].recv(1) == b""


async def test_addresses_without_sockets_close_the_channel(
    raw: tuple[socket.socket, socket.socket], eventually: Eventually
) -> None:
    end = End(raw[0], ToWorker)
    raw[1].sendall(frame(Listen((Address("127.0.0.1", 1),))))
    await eventually(lambda: end.closed, "the channel closes")
    assert "1 addresses but 0 sockets" in str(end.closed[0])


async def test_sockets_that_no_message_names_are_closed_with_the_channel(
    raw: tuple[socket.socket, socket.socket], eventually: Eventually
) -> None:
    end = End(raw[0], ToWorker)
    reader, writer = os.pipe()
    socket.send_fds(raw[1], [frame(Drain(1.0))], [writer])
    os.close(writer)
    await eventually(lambda: end.messages, "the message arrives")
    end.channel.close()
    assert os.read(reader, 1) == b"", "no one holds the other end"
    os.close(reader)


async def test_an_error_of_the_receiver_is_its_own_and_not_the_peers(raw: tuple[socket.socket, socket.socket]) -> None:
    loop = asyncio.get_running_loop()
    errors: list[Any] = []
    loop.set_exception_handler(lambda _, context: errors.append(context["exception"]))
    closed: list[Exception | None] = []

    def fail(message: Any, fds: list[int]) -> None:
        raise ValueError("a bug of ours")

    channel = Channel(raw[0], ToAgent, fail, closed.append)
    raw[1].sendall(frame(Inspected(1, "{}")))
    while not errors:
        await asyncio.sleep(0)
    channel.close()
    assert [str(error) for error in errors] == ["a bug of ours"]
    assert closed == []


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=20))
def test_any_chunking_gives_the_same_messages(sizes: list[int]) -> None:
    expected = [Applied(1), AccessLog(2, b"xyz"), Inspected(3, '{"a": 1}')]
    data = b"".join(map(frame, expected))

    async def receive() -> list[Any]:
        ours, theirs = socket.socketpair()
        end = End(ours, ToAgent)
        at = 0
        for index in range(len(data)):
            if at >= len(data):
                break
            size = sizes[index % len(sizes)]
            theirs.sendall(data[at : at + size])
            at += size
            await asyncio.sleep(0)
        theirs.close()
        while not end.closed:
            await asyncio.sleep(0)
        return end.messages

    assert asyncio.run(receive()) == expected
