"""Real worker processes that run out of descriptors, of memory, of patience; and changes of everything under load."""

import asyncio
import contextlib
import json
import random
import shutil
import socket
import sys
import time
from collections import Counter

import psutil
import pytest

from remora.up.sockets import free_ports
from sidecar.config.cluster import Thresholds
from sidecar.config.endpoint import Address
from sidecar.config.route import RetryOn, RetryPolicy
from tests.integration.data_plane import SidecarWorkers, eventually_true, receiving, sending, sidecar_workers
from tests.sidecar.net.authority import Authority
from tests.sidecar.worker.peers import Client, Connection, Origin

DESCRIPTORS = 90
"""Of a worker at rest about 15 are open."""


GRACE_S = 0.3
"""A server that is no endpoint any more stays this long after its last connection, as Kubernetes' preStop hooks do."""


async def serve_plain(workers: SidecarWorkers, origin: Origin, **http: object) -> Address:
    address = workers.bind()
    await workers.serve(receiving(address, Authority(), origin.address, tls=False, **http))
    return address


@pytest.fixture
async def origin() -> object:
    server = Origin()
    await server.start()
    yield server
    await server.close()


def opened(address: Address, count: int) -> list[socket.socket]:
    found = []
    for _ in range(count):
        sock = socket.create_connection((address.host, address.port), timeout=5)
        sock.setblocking(False)
        found.append(sock)
    return found


def ended(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


async def test_without_descriptors_it_sheds_does_not_spin_and_recovers(origin: Origin) -> None:
    client = Client()
    async with sidecar_workers("--max-connections=0") as workers:
        address = await serve_plain(workers, origin)
        first = await client.connect(address)
        assert (await first.get()).status == 200
        psutil.Process(workers.pid).rlimit(psutil.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))

        crowd = opened(address, DESCRIPTORS * 2)
        await eventually_true(lambda: sum(map(ended, crowd)) > DESCRIPTORS // 2, "those beyond are told so")

        assert (await first.get()).status == 200
        assert len(await workers.supervisor.inspect("listeners")) == 1, "the agent's questions are answered"
        began, cpu_s = time.monotonic(), workers.cpu_s
        await asyncio.sleep(1.0)
        spent = (workers.cpu_s - cpu_s) / (time.monotonic() - began)
        print(f"CPU while out of descriptors: {spent:.1%} of a core")
        assert spent < 0.2

        for sock in crowd:
            sock.close()

        async def served() -> bool:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                return (await (await client.connect(address)).get()).status == 200
            return False

        deadline = time.monotonic() + 5
        while not await served():
            assert time.monotonic() < deadline, "it does not recover"
        await eventually_true(lambda: workers.counted.counters.get("remora_listener_cx_shed_total"), "it is counted")
        await client.close()


async def test_near_the_memory_limit_requests_are_shed_until_it_falls(origin: Origin) -> None:
    client = Client()
    limit = 100 * 1024 * 1024
    async with sidecar_workers(f"--memory-limit={limit}") as workers:
        address = await serve_plain(workers, origin)
        assert (await (await client.connect(address)).get()).status == 200
        began = workers.resident_kib
        head = b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 50_000

        # Heads that never end: what a worker must keep for so many clients.
        crowd: list[socket.socket] = []
        while workers.resident_kib * 1024 < 0.92 * limit:
            assert len(crowd) < 4000
            crowd += opened(address, 20)
            for sock in crowd[-20:]:
                sock.sendall(head)
            await asyncio.sleep(0.005)
        gauges = workers.counted.gauges
        shed = "envoy_overload_envoy_overload_actions_stop_accepting_requests_active"
        await eventually_true(lambda: gauges.get(shed) == 1.0, "the agent is told")
        print(f"resident: {began} KiB at rest, {workers.resident_kib} KiB with {len(crowd)} unfinished heads")
        # Above the second mark new connections wait; one that was there is told.
        for sock in crowd:
            sock.close()
        await eventually_true(lambda: gauges.get(shed) == 0.0, "it recovers", within=15)
        assert (await (await client.connect(address)).get()).status == 200
        assert workers.counted.counters["remora_worker_overloads_total"] == 1
        await client.close()


@pytest.mark.parametrize("attack", ["-H", "-B", "-X"], ids=["slow heads", "slow bodies", "slow reading"])
async def test_slow_attackers_are_timed_out_and_others_are_served(origin: Origin, attack: str) -> None:
    if shutil.which("slowhttptest") is None:
        pytest.skip("slowhttptest is not installed: apt-get install slowhttptest")
    client = Client()
    async with sidecar_workers() as workers:
        patience = {"request_headers_timeout_s": 1.0, "request_timeout_s": 2.0, "stream_idle_timeout_s": 1.0}
        address = await serve_plain(workers, origin, **patience)
        url = f"http://{address.host}:{address.port}/"
        process = await asyncio.create_subprocess_exec(
            "slowhttptest", attack, "-c", "300", "-r", "150", "-i", "5", "-l", "8", "-u", url, "-p", "5",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        slowest = 0.0
        while process.returncode is None:
            began = time.monotonic()
            connection = await client.connect(address)
            assert (await connection.get()).status == 200
            await connection.close()
            slowest = max(slowest, time.monotonic() - began)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(process.wait()), 0.05)
        print(f"slowest answer to another client: {slowest * 1000:.0f} ms")
        assert slowest < 1.0
        (listeners,) = await workers.supervisor.inspect("listeners")
        assert '"in_flight": 0' in listeners, "attackers are still there"
        await client.close()


class Load:
    """Requests at a fixed rate over connections that are kept; a connection that said close is opened anew."""

    def __init__(self, address: Address, per_second: int, connections: int = 50) -> None:
        self._address = address
        self._interval_s = connections / per_second
        self._connections = connections
        self.outcomes: Counter[str] = Counter()
        self.stopped = False

    async def run(self) -> None:
        await asyncio.gather(*(self._sender(n) for n in range(self._connections)))

    async def _sender(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + self._interval_s * number / self._connections
        client, connection = Client(), None
        sent = 0
        try:
            while not self.stopped:
                await asyncio.sleep(max(0.0, due - loop.time()))
                due += self._interval_s
                sent += 1
                connection = await self._one(client, connection, posting=sent % 10 == 0)
        finally:
            await client.close()

    async def _one(self, client: Client, connection: Connection | None, *, posting: bool) -> Connection | None:
        body = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi" if posting else b""
        try:
            if connection is None:
                connection = await client.connect(self._address)
            answer = await connection.ask(body or b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            self.outcomes[f"{'POST' if posting else 'GET'} {type(error).__name__}"] += 1
            return None
        failed = f"{'POST' if posting else 'GET'} {answer.status} {answer.body[:80]!r}"
        self.outcomes["ok" if answer.status == 200 else failed] += 1
        if answer.get(b"connection") == b"close":
            await connection.close()
            return None
        return connection


@pytest.mark.mesh
@pytest.mark.timeout(180)
async def test_nothing_fails_while_everything_changes(request: pytest.FixtureRequest) -> None:
    seconds = 60.0 if request.config.getoption("--soak") else 10.0
    rate = 1000 if seconds > 10 else 500
    authority = Authority()
    apps = [Origin(), Origin()]
    for app in apps:
        await app.start()
    async with sidecar_workers() as near, sidecar_workers() as far:
        inbound, outbound = far.bind(), near.bind()
        snapshots = {near: sending(outbound, authority, inbound), far: receiving(inbound, authority, *_addresses(apps))}
        for workers, snapshot in snapshots.items():
            await workers.serve(snapshot)
        load = Load(outbound, rate)
        running = asyncio.create_task(load.run())
        began, rounds = time.monotonic(), 0
        while time.monotonic() - began < seconds:
            rounds += 1
            # A listener changes, on both sides.
            version = f"{rounds}"
            await near.serve(sending(outbound, authority, inbound, version=version, server_name=f"remora-{version}"))
            # Certificates rotate (each snapshot issues new ones) and a listener changes.
            await far.serve(receiving(inbound, authority, *_addresses(apps), server_name=f"remora-{version}"))
            # Workers are replaced.
            await near.supervisor.replace(5.0)
            await far.supervisor.replace(5.0)
            # The application is restarted, one instance after the other.
            for at, app in enumerate(apps):
                others = [each for each in apps if each is not app]
                await far.serve(receiving(inbound, authority, *_addresses(others), version=f"{version}-{at}"))
                await _finish(app)
                apps[at] = Origin()
                await apps[at].start()
                await far.serve(receiving(inbound, authority, *_addresses(apps), version=f"{version}-{at}-back"))
            await asyncio.sleep(0.2)
        load.stopped = True
        await running
        total = sum(load.outcomes.values())
        print(
            f"{total} requests in {time.monotonic() - began:.1f} s, {rounds} rounds of changes: {dict(load.outcomes)}"
        )
        assert set(load.outcomes) == {"ok"}
        assert total > seconds * rate * 0.5
    for app in apps:
        await app.close()


INSTANCE = """
import asyncio, sys, uvloop

ANSWER = b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok"

class Instance(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        self.data = b""

    def data_received(self, data):
        self.data += data
        head, mark, rest = self.data.partition(b"\\r\\n\\r\\n")
        if mark and (not head.startswith(b"POST") or rest):
            self.data = b""
            asyncio.get_running_loop().call_later(0.01, self.transport.write, ANSWER)

async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Instance, "127.0.0.1", int(sys.argv[1]), reuse_address=True)
    print("ready", flush=True)
    await server.serve_forever()

uvloop.run(main())
"""


async def _instance(port: int) -> asyncio.subprocess.Process:
    """An application of its own process that takes 10 ms for each request."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", INSTANCE, str(port), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    return process


async def _at_rest(workers: SidecarWorkers) -> None:
    """Until no request is counted as under way any more."""
    deadline = time.monotonic() + 5.0
    while True:
        (clusters,) = await workers.supervisor.inspect("clusters")
        active = [each["stats"]["rq_active"] for each in json.loads(clusters)["cluster_statuses"]]
        if not any(active):
            return
        assert time.monotonic() < deadline, clusters
        await asyncio.sleep(0.05)


@pytest.mark.mesh
@pytest.mark.timeout(180)
async def test_an_instance_that_is_killed_costs_nothing_that_may_be_repeated(request: pytest.FixtureRequest) -> None:
    """kill -9 of one of two endpoints, again and again: requests on their way to it break off without a word."""
    seconds = 60.0 if request.config.getoption("--soak") else 5.0
    rate = 500 if seconds > 10 else 250
    authority = Authority()
    ports = free_ports(2, random.Random())
    apps = [await _instance(port) for port in ports]
    policy = RetryPolicy(frozenset({RetryOn.CONNECT_FAILURE, RetryOn.REFUSED_STREAM, RetryOn.RESET}), attempts=2)
    async with sidecar_workers() as near, sidecar_workers() as far:
        inbound, outbound = far.bind(), near.bind()
        addresses = [Address("127.0.0.1", port) for port in ports]
        await near.serve(sending(outbound, authority, inbound))
        await far.serve(receiving(inbound, authority, *addresses, retry=policy, thresholds=Thresholds(max_retries=256)))
        load = Load(outbound, rate)
        running = asyncio.create_task(load.run())
        began, kills = time.monotonic(), 0
        while time.monotonic() - began < seconds:
            at = kills % 2
            apps[at].kill()
            await apps[at].wait()
            kills += 1
            await asyncio.sleep(0.3)
            apps[at] = await _instance(ports[at])
            await asyncio.sleep(0.3)
        load.stopped = True
        await running
        total = sum(load.outcomes.values())
        print(f"{total} requests in {time.monotonic() - began:.1f} s, {kills} kills: {dict(load.outcomes)}")
        await _at_rest(far)
    for app in apps:
        app.kill()
        await app.wait()
    failed = {outcome for outcome in load.outcomes if outcome != "ok"}
    assert not {outcome for outcome in failed if not outcome.startswith("POST 503")}, load.outcomes
    # A POST may have been carried out: whoever sent it must decide. Few are in flight for 10 ms at any moment.
    assert total - load.outcomes["ok"] <= 5 * kills
    assert total > seconds * rate * 0.5


def _addresses(apps: list[Origin]) -> list[Address]:
    return [app.address for app in apps]


async def _finish(app: Origin) -> None:
    """As a server that is told to stop: what is in flight is answered, and who has just begun to connect is served.
    It ends when nobody has been there for GRACE_S."""
    deadline = time.monotonic() + 5
    idle_since = time.monotonic()
    while time.monotonic() < min(deadline, idle_since + GRACE_S):
        await asyncio.sleep(0.02)
        if app.open:
            idle_since = time.monotonic()
    await app.close()
