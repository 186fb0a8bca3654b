"""What connections and large bodies cost a worker's memory, and how fast trouble travels through two hops."""

import asyncio
import contextlib
import resource
import socket
import ssl
import struct
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

import pytest

from sidecar.config.cluster import UpstreamTls
from sidecar.config.endpoint import Address
from sidecar.net.tls import client_context
from tests.integration.data_plane import SidecarWorkers, eventually_true, receiving, sending, sidecar_workers
from tests.sidecar.net.authority import Authority, Leaf
from tests.sidecar.worker.peers import Origin

MIB = 1024 * 1024
GIB = 1024 * MIB
REQUEST = b"GET / HTTP/1.1\r\nHost: a.example\r\nUser-Agent: test/1\r\n\r\n"
MAX_KIB_PER_CONNECTION = 12.0
MAX_GROWTH_KIB = 20 * 1024


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    server = Origin()
    await server.start()
    yield server
    await server.close()


@pytest.fixture
def many_descriptors() -> Iterator[int]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def idle_connections(address: Address, count: int, tls: ssl.SSLContext | None = None) -> list[socket.socket]:
    """Each has had one request answered."""
    found: list[socket.socket] = []
    for start in range(0, count, 100):
        group: list[socket.socket] = []
        for _ in range(min(100, count - start)):
            sock = socket.create_connection((address.host, address.port), timeout=10)
            group.append(sock if tls is None else tls.wrap_socket(sock))
        for sock in group:
            sock.sendall(REQUEST)
        for sock in group:
            assert sock.recv(4096).startswith(b"HTTP/1.1 200")
        found += group
    return found


async def per_connection_kib(
    workers: SidecarWorkers, address: Address, count: int, tls: ssl.SSLContext | None
) -> float:
    """Of resident memory, at rest."""
    warm = await asyncio.to_thread(idle_connections, address, 200, tls)
    for sock in warm:
        sock.close()
    counters = workers.counted.counters
    total = "envoy_listener_downstream_cx_total"
    await eventually_true(lambda: counters.get(total, 0) >= 200, "what was measured has been sent")
    before = workers.resident_kib
    crowd = await asyncio.to_thread(idle_connections, address, count, tls)
    try:
        await eventually_true(lambda: counters.get(total, 0) >= 200 + count, "all are open")
        active = workers.counted.gauges["envoy_listener_downstream_cx_active"]
        assert active >= count, "some were closed"
        return (workers.resident_kib - before) / count
    finally:
        for sock in crowd:
            sock.close()


async def test_ten_thousand_idle_connections(origin: Origin, many_descriptors: int) -> None:
    if many_descriptors < 15_000:
        pytest.skip("ulimit -Hn is below 15000")
    async with sidecar_workers("--max-connections=0") as workers:
        address = workers.bind()
        await workers.serve(receiving(address, Authority(), origin.address, tls=False))
        kib = await per_connection_kib(workers, address, 10_000, None)
    print(f"an idle connection: {kib:.1f} KiB")
    assert kib <= MAX_KIB_PER_CONNECTION


async def test_a_thousand_idle_connections_of_mutual_tls(origin: Origin, many_descriptors: int) -> None:
    authority = Authority()
    tls = client_context(UpstreamTls(), authority.issue(Leaf()), authority.anchors())
    async with sidecar_workers() as workers:
        address = workers.bind()
        await workers.serve(receiving(address, authority, origin.address))
        kib = await per_connection_kib(workers, address, 1000, tls)
    print(f"an idle connection of mutual TLS: {kib:.1f} KiB")
    assert kib <= 64


@dataclass
class BulkServer:
    """An application in a thread of its own: GET streams bytes without end or so many, POST counts what comes."""

    written: int = 0
    received: int = 0
    ended_at: float | None = None
    error: str = ""
    _listening: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    @property
    def address(self) -> Address:
        return Address("127.0.0.1", self._listening.getsockname()[1])

    def serve_one(self) -> threading.Thread:
        thread = threading.Thread(target=self._serve, daemon=True)
        thread.start()
        return thread

    def _serve(self) -> None:
        sock, _ = self._listening.accept()
        block = bytes(256 * 1024)
        with sock:
            try:
                data = b""
                while b"\r\n\r\n" not in data:
                    data += sock.recv(65536)
                head, _, body = data.partition(b"\r\n\r\n")
                if head.startswith(b"GET"):
                    size = int(head.split(b"/", 1)[1].split(b" ")[0])
                    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
                    while self.written < size:
                        self.written += sock.send(block)
                else:
                    size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                    self.received = len(body)
                    while self.received < size:
                        got = len(sock.recv(256 * 1024))
                        if not got:
                            return
                        self.received += got
                    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            except OSError as error:
                self.error = type(error).__name__
            finally:
                self.ended_at = time.monotonic()

    def close(self) -> None:
        self._listening.close()


@contextlib.asynccontextmanager
async def two_hops() -> AsyncIterator[tuple[SidecarWorkers, SidecarWorkers, Address, BulkServer]]:
    """Plain client, sidecar, mutual TLS, sidecar, application."""
    authority, server = Authority(), BulkServer()
    async with sidecar_workers() as near, sidecar_workers() as far:
        inbound, outbound = far.bind(), near.bind()
        await near.serve(sending(outbound, authority, inbound))
        await far.serve(receiving(inbound, authority, server.address))
        yield near, far, outbound, server
    server.close()


class Peak:
    """The most that workers had resident, in KiB beyond what they began with."""

    def __init__(self, *workers: SidecarWorkers) -> None:
        self._workers = workers
        self._began = [each.resident_kib for each in workers]
        self.growth = 0

    async def watch(self, thread: asyncio.Future[None]) -> None:
        while not thread.done():
            for workers, began in zip(self._workers, self._began, strict=True):
                self.growth = max(self.growth, workers.resident_kib - began)
            await asyncio.wait([thread], timeout=0.05)
        thread.result()


def download(address: Address, size: int) -> None:
    with socket.create_connection((address.host, address.port), timeout=20) as sock:
        sock.sendall(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % size)
        left = size
        buffer = bytearray(1024 * 1024)
        got = 0
        while got < left:
            count = sock.recv_into(buffer)
            assert count, f"ended after {got} of {left}"
            got += count


def upload(address: Address, size: int) -> None:
    block = bytes(1024 * 1024)
    with socket.create_connection((address.host, address.port), timeout=20) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // len(block)):
            sock.sendall(block)
        assert sock.recv(4096).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("transfer", [download, upload], ids=["down", "up"])
async def test_a_gibibyte_through_two_hops_needs_little_memory(transfer: object) -> None:
    async with two_hops() as (near, far, address, server):
        server.serve_one()
        peak = Peak(near, far)
        began = time.monotonic()
        await peak.watch(asyncio.ensure_future(asyncio.to_thread(transfer, address, GIB)))  # type: ignore[arg-type]
        print(f"{1024 / (time.monotonic() - began):.0f} MiB/s, memory grew by at most {peak.growth} KiB")
        assert peak.growth < MAX_GROWTH_KIB


async def test_a_slow_reader_slows_the_writer() -> None:
    async with two_hops() as (near, far, address, server):
        server.serve_one()
        peak = Peak(near, far)
        with socket.create_connection((address.host, address.port), timeout=5) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
            sock.sendall(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % GIB)
            read = 0
            began = time.monotonic()
            while (spent := time.monotonic() - began) < 3.0:
                while read < spent * MIB:
                    read += len(await asyncio.to_thread(sock.recv, 65536))
                await asyncio.sleep(0.01)
            ahead = server.written - read
            await peak.watch(asyncio.ensure_future(asyncio.sleep(0)))
        print(f"read {read // 1024} KiB in {spent:.1f} s; the writer is {ahead // 1024} KiB ahead")
        # What kernels hold for the three connections between, and our own marks.
        assert ahead < 24 * MIB
        assert peak.growth < MAX_GROWTH_KIB
        await eventually_true(lambda: server.ended_at is not None, "the writer hears of the end")


@contextlib.asynccontextmanager
async def half_an_answer() -> AsyncIterator[tuple[socket.socket, socket.socket]]:
    """A client's connection and the application's, two hops apart, in the middle of an answer."""
    authority = Authority()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        async with sidecar_workers() as near, sidecar_workers() as far:
            inbound, outbound = far.bind(), near.bind()
            await near.serve(sending(outbound, authority, inbound))
            await far.serve(receiving(inbound, authority, Address("127.0.0.1", listening.getsockname()[1])))
            with socket.create_connection((outbound.host, outbound.port), timeout=5) as client:
                client.sendall(REQUEST)
                app, _ = await asyncio.to_thread(listening.accept)
                with app:
                    app.settimeout(5)
                    await asyncio.to_thread(app.recv, 4096)
                    app.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome")
                    await asyncio.to_thread(client.recv, 4096)
                    yield client, app


def reset(sock: socket.socket) -> float:
    """End with a reset; when, monotonic."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    return time.monotonic()


@pytest.mark.parametrize("who", ["client", "application"])
async def test_a_reset_is_felt_at_the_other_end_within_100_ms(who: str) -> None:
    took: list[float] = []
    for _ in range(3):  # the quickest counts: a machine that does other things may be slow for once
        async with half_an_answer() as (client, app):
            ends, feels = (client, app) if who == "client" else (app, client)
            began = reset(ends)
            with contextlib.suppress(ConnectionResetError):
                await asyncio.to_thread(feels.recv, 4096)
            took.append(time.monotonic() - began)
    print(f"after {min(took) * 1000:.1f} ms")
    assert min(took) < 0.1
