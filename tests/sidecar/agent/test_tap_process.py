"""A real sidecar under steady traffic, tapped: everything arrives as it was, and nobody who reads slowly is felt."""

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles

import pytest

from remora.tap.records import Counts, Exchange
from remora.tap.sinks import Flows
from remora.tap.stream import TapStream
from tests.control.app.control_process import ControlProcess
from tests.remora.inspection import in_mitmproxy, inspection
from tests.serving import end
from tests.sidecar.agent.sidecar_process import Sidecar

Eventually = Callable[..., Awaitable[None]]

RATE = 500
CONNECTIONS = 10
SECONDS = 2.0


class Echo:
    """Answers each request with its path, having read its body."""

    def __init__(self) -> None:
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
                await reader.readexactly(int(length[1]) if length else 0)
                path = head.split(b" ")[1]
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(path), path))
        writer.close()

    async def stop(self) -> None:
        await end(self._server, self._tasks)


@pytest.fixture
async def sidecar(tmp_path: Path) -> AsyncIterator[Sidecar]:
    """One that serves; its application answers with the path that it was asked for."""
    control = ControlProcess(tmp_path / "state")
    await control.start()
    application = Echo()
    found = Sidecar(control, tmp_path, await application.start())
    await found.start()
    await found.await_ready()
    yield found
    await found.close()
    await application.stop()
    await control.stop()


@dataclass
class Load:
    """Requests at a steady rate over a few connections, each with a path of its own."""

    port: int
    padding: bytes = b""
    """Makes bodies larger."""
    took_s: list[float] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    async def run(self, seconds: float = SECONDS) -> None:
        await asyncio.gather(*(self._client(number, seconds) for number in range(CONNECTIONS)))

    async def _client(self, number: int, seconds: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        began = time.monotonic()
        due = began
        count = 0
        while due < began + seconds:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            path = f"/{number}/{count}?token=secret-{count}"
            body = f"body of {number}/{count}".encode() + self.padding
            asked = time.monotonic()
            head = f"POST {path} HTTP/1.1\r\nhost: reviews:9080\r\nauthorization: Bearer secret\r\n"
            writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            assert answer.startswith(b"HTTP/1.1 200 "), answer
            await reader.readexactly(len(path))
            self.took_s.append(time.monotonic() - asked)
            self.paths.append(path)
            count += 1
            due += CONNECTIONS / RATE
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def admin_of(sidecar: Sidecar) -> str:
    return sidecar.info["admin"]


def redacted(path: str) -> str:
    return path.partition("=")[0] + "=[redacted]"


_SHOW = """
import json, sys
from mitmproxy.io import FlowReader
for f in FlowReader(open(sys.argv[1], "rb")).stream():
    print(json.dumps([f.request.method, f.request.pretty_url, f.request.headers["authorization"], f.request.text,
                      f.response.status_code, f.response.text, f.server_conn.peername, f.request.timestamp_start,
                      f.response.timestamp_end, f.metadata["remora.direction"], len(f.metadata["remora.trace_id"])]))
"""


async def test_a_flow_file_has_every_request_with_every_field(sidecar: Sidecar, tmp_path: Path) -> None:
    load = Load(sidecar.outbound)
    path = tmp_path / "tapped.flow"
    wish = {"direction": "outbound", "path": "/[0-9]/*", "seconds": 60}
    stream = await asyncio.to_thread(TapStream, admin_of(sidecar), wish)

    def read() -> Counts:
        with open(path, "wb") as file, contextlib.closing(stream):
            sink = Flows(inspection(), file)
            for item in stream:
                if isinstance(item, Exchange):
                    sink.add(item)
            sink.close()
        assert isinstance(item, Counts)
        return item

    reading = asyncio.create_task(asyncio.to_thread(read))
    before = time.time()
    await load.run()
    stream.stop()
    counts = await reading

    count = len(load.paths)
    assert count >= RATE * SECONDS * 0.9, "the machine is too busy for the rate"
    assert (counts.matched, counts.sent, counts.dropped, counts.why) == (count, count, 0, "client")
    flows = [json.loads(line) for line in in_mitmproxy(_SHOW, str(path)).splitlines()]
    assert sorted(flow[1] for flow in flows) == sorted(f"http://reviews:9080{redacted(path)}" for path in load.paths)
    for method, url, authorization, sent, status, got, upstream, began, ended, direction, trace in flows:
        name = "/".join(url.partition("?")[0].split("/")[-2:])
        assert (method, authorization, status, direction, trace) == ("POST", "Bearer [redacted]", 200, "outbound", 32)
        assert sent == f"body of {name}"
        assert got == f"/{name}?token=secret-{name.partition('/')[2]}"
        assert upstream == ["127.0.0.1", sidecar.sockets["inbound"].getsockname()[1]]
        assert before - 1 <= began <= ended <= time.time() + 1


async def test_both_sides_of_a_sidecar_tell_of_one_trace(sidecar: Sidecar) -> None:
    stream = await asyncio.to_thread(TapStream, admin_of(sidecar), {"max": 2, "seconds": 30})
    assert await sidecar.get("/hello") == (200, "/hello")
    with contextlib.closing(stream):
        items = await asyncio.to_thread(list, stream)
    inbound, outbound = (item for item in items if isinstance(item, Exchange))
    assert (inbound.direction, outbound.direction) == ("inbound", "outbound")
    assert inbound.trace_id == outbound.trace_id
    assert inbound.request_id == outbound.request_id
    assert inbound.peer == "spiffe://cluster.local/ns/default/sa/bookinfo-reviews"
    assert (outbound.cluster, inbound.cluster) == ("outbound|9080||reviews.default.svc.cluster.local", "inbound|9080||")


async def test_a_reader_that_stops_reading_slows_no_request_and_loses_what_it_does_not_take(
    sidecar: Sidecar,
) -> None:
    quiet = Load(sidecar.outbound, b"x" * 20_000)
    await quiet.run()
    # Nothing of this one is read before the load is over: sockets and queues fill up, then records are dropped.
    stuck = await asyncio.to_thread(TapStream, admin_of(sidecar), {"seconds": 60, "show_secrets": True})
    tapped = Load(sidecar.outbound, b"x" * 20_000)
    await tapped.run()
    # Of the slowest of all, the machine's other work says more than ours.
    assert quantiles(tapped.took_s, n=10)[-1] < quantiles(quiet.took_s, n=10)[-1] + 0.1
    stuck.stop()
    with contextlib.closing(stuck):
        items = await asyncio.to_thread(list, stuck)
    last = items[-1]
    assert isinstance(last, Counts)
    assert last.matched == 2 * len(tapped.paths)
    assert last.sent == sum(isinstance(item, Exchange) for item in items)
    assert last.sent + last.dropped == last.matched
    assert last.dropped > 0


async def test_a_worker_that_is_replaced_is_tapped_again(sidecar: Sidecar, eventually: Eventually) -> None:
    stream = await asyncio.to_thread(TapStream, admin_of(sidecar), {"direction": "outbound", "max": 2, "seconds": 30})
    assert await sidecar.get("/before") == (200, "/before")
    (worker,) = sidecar.workers()
    worker.kill()

    async def answers() -> bool:
        try:
            return (await sidecar.get("/after"))[0] == 200
        except OSError:
            return False

    await eventually(answers, "another worker serves", within=15)
    with contextlib.closing(stream):
        items = await asyncio.to_thread(list, stream)
    assert [item.target for item in items if isinstance(item, Exchange)] == ["/before", "/after"]


async def test_an_abandoned_tap_leaves_nothing_behind(sidecar: Sidecar, eventually: Eventually) -> None:
    stream = await asyncio.to_thread(TapStream, admin_of(sidecar), {})
    stream.close()

    async def closed() -> bool:
        _, text = await sidecar.admin("/stats/prometheus")
        lines = text.splitlines()
        return "remora_agent_taps_open 0.0" in lines and "remora_agent_taps_opened_total 1.0" in lines

    await eventually(closed, "no tap is open")
