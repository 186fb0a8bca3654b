"""Every limit of a listener: what happens when it is met, what is counted, and that others are served."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from sidecar.config.endpoint import Address
from sidecar.config.limits import ProcessLimits
from sidecar.listeners.context import COUNTERS
from tests.sidecar.worker.peers import Client, Incoming, Origin, read_head
from tests.sidecar.worker.proxy import Proxy, cluster, everything, forward_to, plain_listener

Eventually = Callable[..., Awaitable[None]]


async def serve(proxy: Proxy, origin: Origin, **http: Any) -> Address:
    address = proxy.bind()
    await proxy.apply(
        clusters=(cluster("up", origin.address),),
        listeners=(plain_listener("in", address, everything(forward_to("up")), **http),),
    )
    return address


def counted(proxy: Proxy) -> dict[str, int]:
    """What the only listener has counted so far, by metrics' names without `envoy_`."""
    (live,) = proxy.worker.listeners
    return {metric.removeprefix("envoy_"): getattr(live.counts, name) for name, metric in COUNTERS}


async def test_the_last_request_of_a_connection_is_told_so(proxy: Proxy, origin: Origin, client: Client) -> None:
    connection = await client.connect(await serve(proxy, origin, max_requests_per_connection=3))
    answers = [await connection.get() for _ in range(3)]
    assert [answer.get(b"connection") for answer in answers] == [None, None, b"close"]
    assert await connection.closed() == b""
    assert counted(proxy)["http_downstream_cx_max_requests_reached"] == 1


async def test_an_idle_connection_that_is_too_old_is_closed(proxy: Proxy, origin: Origin, client: Client) -> None:
    connection = await client.connect(await serve(proxy, origin, max_connection_duration_s=0.2))
    assert (await connection.get()).status == 200
    assert await connection.closed() == b""
    assert counted(proxy)["http_downstream_cx_max_duration_reached"] == 1


async def test_a_connection_that_becomes_too_old_finishes_its_request(
    proxy: Proxy, origin: Origin, client: Client, eventually: Eventually
) -> None:
    async def handle(incoming: Incoming) -> None:
        (live,) = proxy.worker.listeners
        await eventually(lambda: live.counts.cx_old, "it is too old")
        await incoming.answer()

    origin.handler = handle
    connection = await client.connect(await serve(proxy, origin, max_connection_duration_s=0.2))
    answer = await connection.get()
    assert (answer.status, answer.get(b"connection")) == (200, b"close")
    assert await connection.closed() == b""


async def test_an_idle_connection_is_closed_and_counted(proxy: Proxy, origin: Origin, client: Client) -> None:
    connection = await client.connect(await serve(proxy, origin, idle_timeout_s=0.1))
    assert await connection.closed() == b""
    assert counted(proxy)["http_downstream_cx_idle_timeout"] == 1
    assert proxy.records == []


async def test_a_head_that_is_too_slow_gets_408(proxy: Proxy, origin: Origin, client: Client) -> None:
    connection = await client.connect(await serve(proxy, origin, request_headers_timeout_s=0.1))
    await connection.send(b"GET / HTTP/1.1\r\nHo")
    answer = await connection.answer()
    assert (answer.status, answer.body) == (408, b"request header timeout")
    assert await connection.closed() == b""
    assert counted(proxy)["http_downstream_rq_header_timeout"] == 1


async def test_a_body_that_trickles_is_not_borne_for_ever(proxy: Proxy, origin: Origin, client: Client) -> None:
    connection = await client.connect(await serve(proxy, origin, request_timeout_s=0.15))
    await connection.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab")
    answer = await connection.answer()
    assert (answer.status, answer.body) == (408, b"request timeout")
    (record,) = proxy.records
    assert record.details == "request_overall_timeout"
    assert counted(proxy)["http_downstream_rq_timeout"] == 1


async def test_a_request_that_is_whole_in_time_is_not_bound_by_it(
    proxy: Proxy, origin: Origin, client: Client, eventually: Eventually
) -> None:
    async def handle(incoming: Incoming) -> None:
        began = incoming.number
        await eventually(lambda: proxy.worker.cluster("up").counts.rq_active == began, "it is in flight")
        await incoming.answer()

    origin.handler = handle
    connection = await client.connect(await serve(proxy, origin, request_timeout_s=0.05))
    assert (await connection.get()).status == 200


async def test_an_answer_that_takes_too_long_is_504_dt(proxy: Proxy, origin: Origin, client: Client) -> None:
    async def handle(incoming: Incoming) -> None:
        await incoming.reader.read()

    origin.handler = handle
    connection = await client.connect(await serve(proxy, origin, max_stream_duration_s=0.1))
    answer = await connection.get()
    assert (answer.status, answer.body) == (504, b"downstream duration timeout")
    (record,) = proxy.records
    assert (record.flags, record.details) == ("DT", "max_duration_timeout")
    assert counted(proxy)["http_downstream_rq_max_duration_reached"] == 1


async def test_an_answer_that_is_under_way_too_long_is_cut(proxy: Proxy, origin: Origin, client: Client) -> None:
    async def handle(incoming: Incoming) -> None:
        await incoming.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome")
        await incoming.reader.read()

    origin.handler = handle
    connection = await client.connect(await serve(proxy, origin, max_stream_duration_s=1.0))
    await connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await read_head(connection.reader)
    assert await connection.was_cut()
    assert proxy.records[0].flags == "DT"


@pytest.mark.parametrize(
    ("limits", "metric"),
    [
        (ProcessLimits(max_connections=2), "listener_downstream_global_cx_overflow"),
        (ProcessLimits(max_listener_connections=2), "listener_downstream_cx_overflow"),
    ],
    ids=["of the process", "of the listener"],
)
async def test_a_connection_too_many_is_closed_and_the_others_are_served(
    proxy: Proxy, origin: Origin, client: Client, eventually: Eventually, limits: ProcessLimits, metric: str
) -> None:
    address = await serve(proxy, origin)
    proxy.worker.load.limits = limits
    first, second = [await client.connect(address) for _ in range(2)]
    assert (await first.get()).status == (await second.get()).status == 200
    third = await client.connect(address)
    assert await third.closed() == b""
    assert counted(proxy)[metric] == 1

    await second.close()
    (live,) = proxy.worker.listeners
    await eventually(lambda: live.connections == 1, "there is room again")
    fourth = await client.connect(address)
    assert (await fourth.get()).status == 200
    assert (await first.get()).status == 200


class Memory:
    """Of a worker whose limit is 100 MiB: as much as the test says."""

    def __init__(self, proxy: Proxy) -> None:
        self._worker = proxy.worker
        self._worker.load.limits = ProcessLimits(memory_bytes=100)
        self.used = 50
        self._worker.watermark._resident = lambda: self.used
        self._worker.watermark._release = lambda: None

    def becomes(self, used: int) -> None:
        self.used = used
        self._worker.watermark.look()


async def test_when_memory_is_short_new_requests_get_503_and_connections_end(
    proxy: Proxy, origin: Origin, client: Client, eventually: Eventually
) -> None:
    memory = Memory(proxy)
    address = await serve(proxy, origin)

    async def handle(incoming: Incoming) -> None:
        if incoming.request.target == b"/slow":
            memory.becomes(91)
        await incoming.answer()

    origin.handler = handle
    idle, busy = await client.connect(address), await client.connect(address)
    assert (await idle.get()).get(b"connection") is None

    # What was in flight is answered, and the connection ends with it.
    answer = await busy.get("/slow")
    assert (answer.status, answer.get(b"connection")) == (200, b"close")
    shed = await idle.get()
    assert (shed.status, shed.body, shed.get(b"connection")) == (503, b"overloaded", b"close")
    assert await idle.closed() == b""
    assert (proxy.records[-1].flags, proxy.records[-1].details) == ("OM", "overload")
    assert len(origin.requests) == 2
    assert counted(proxy)["http_downstream_rq_overload_close"] == 1

    memory.becomes(96)
    waiting = await client.connect(address)  # the kernel's backlog takes it
    await waiting.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    (live,) = proxy.worker.listeners
    assert live.connections == 0
    memory.becomes(80)
    assert (await waiting.answer()).status == 200
    assert (await waiting.get()).get(b"connection") is None


async def test_a_listener_that_comes_while_memory_is_short_sheds_too(
    proxy: Proxy, origin: Origin, client: Client
) -> None:
    memory = Memory(proxy)
    memory.becomes(92)
    connection = await client.connect(await serve(proxy, origin))
    assert (await connection.get()).status == 503


async def test_a_draining_connection_still_takes_the_request_that_was_on_its_way(
    proxy: Proxy, origin: Origin, client: Client
) -> None:
    address = await serve(proxy, origin)
    fresh, used, idle = [await client.connect(address) for _ in range(3)]
    for each in (used, idle):
        assert (await each.get()).status == 200
    listener = proxy.snapshot.listeners[0]
    chain = listener.filter_chains[0]
    assert chain.http is not None
    changed = replace(chain, http=replace(chain.http, server_name="other"))

    await proxy.apply(listeners=(replace(listener, filter_chains=(changed,)),))

    for each in (fresh, used):
        answer = await each.get()
        assert answer.status == 200
    assert answer.get(b"connection") == b"close"
    assert await idle.closed() == b""
