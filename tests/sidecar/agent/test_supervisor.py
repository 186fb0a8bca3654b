"""The workers' supervisor with real processes that speak the channel."""

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mesh.clock import SystemClock
from mesh.lifecycle import TaskScope
from sidecar.agent.backoff import Backoff
from sidecar.agent.rollout import MAX_DEATHS_PER_SNAPSHOT
from sidecar.agent.sockets import Sockets
from sidecar.agent.supervisor import MAX_SILENT_PINGS, Supervisor
from sidecar.agent.worker_process import start_worker
from sidecar.config.endpoint import Address
from sidecar.config.listener import Direction, FilterChain, Http, Listener, TransportMatch
from sidecar.config.messages import AccessLog, Metrics, Spans, TapCounts, Tapped
from sidecar.config.snapshot import Node, Snapshot

Eventually = Callable[..., Awaitable[None]]
FAKE = (sys.executable, str(Path(__file__).with_name("fake_worker.py")))


class Telemetry:
    """Remembers what the workers say."""

    def __init__(self) -> None:
        self.metrics: list[tuple[int, Metrics]] = []
        self.records: list[AccessLog] = []
        self.gone: list[int] = []
        self.tap_counts_of: list[tuple[int, TapCounts]] = []

    def measured(self, worker: int, metrics: Metrics) -> None:
        self.metrics.append((worker, metrics))

    def access_log(self, records: AccessLog) -> None:
        self.records.append(records)

    def spans(self, spans: Spans) -> None:
        raise AssertionError("the fake sends none")

    def tapped(self, tapped: Tapped) -> None:
        raise AssertionError("the fake sends none")

    def tap_counts(self, worker: int, counts: TapCounts) -> None:
        self.tap_counts_of.append((worker, counts))

    def worker_gone(self, worker: int) -> None:
        self.gone.append(worker)


class Workers:
    """A supervisor at work."""

    def __init__(self, concurrency: int, command: tuple[str, ...], **options: float) -> None:
        self.sockets = Sockets()
        self.telemetry = Telemetry()
        rng = random.Random(1)
        self.supervisor = Supervisor(
            concurrency,
            self.sockets,
            self.telemetry,
            partial(start_worker, command),
            SystemClock(),
            lambda: Backoff(rng, base_s=0.02, max_s=0.1),
            **options,
        )

    def pids(self) -> list[int]:
        return self.supervisor.pids


Start = Callable[..., Workers]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    running: list[Workers] = []
    async with TaskScope() as scope:

        def begin(concurrency: int = 1, command: tuple[str, ...] = FAKE, **options: float) -> Workers:
            workers = Workers(concurrency, command, **options)
            running.append(workers)
            scope.spawn(workers.supervisor.run(), name="supervisor")
            return workers

        yield begin
        left = [slot.worker for workers in running for slot in workers.supervisor._slots if slot.worker is not None]
    for workers in running:
        workers.sockets.close()
    for worker in left:  # one in an endless loop does not see that its channel has closed
        worker.kill()
        await worker.end(0.0)


def snapshot(version: str, *addresses: Address) -> Snapshot:
    chains = (FilterChain(TransportMatch.ANY, Http(route_name="r")),)
    listeners = [Listener(f"l{n}", address, Direction.OUTBOUND, chains) for n, address in enumerate(addresses)]
    return Snapshot(version, Node(), tuple(listeners))


async def ask(address: Address) -> int:
    """The process id of the worker that answers there. Raises ConnectionRefusedError."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        return int(await asyncio.wait_for(reader.read(), 5))
    finally:
        writer.close()


async def test_a_snapshot_is_applied_when_every_worker_serves_it(start: Start) -> None:
    workers = start(2)
    assert await workers.supervisor.apply(snapshot("one")) is None
    assert workers.supervisor.serving == snapshot("one")
    while workers.supervisor.running < 2:
        await asyncio.sleep(0.01)
    assert await workers.supervisor.apply(snapshot("two")) is None
    told = {(worker, metrics.counters[0].labels[0][1]) for worker, metrics in workers.telemetry.metrics}
    assert {(0, "two"), (1, "two")} <= told


async def test_a_refused_snapshot_leaves_the_old_one_serving(start: Start) -> None:
    workers = start(1)
    assert await workers.supervisor.apply(snapshot("good")) is None
    refused = await workers.supervisor.apply(snapshot("refuse"))
    assert refused is not None
    assert (refused.resource, refused.path, refused.reason) == ("l", "address", "told to")
    assert workers.supervisor.serving == snapshot("good")
    assert await workers.supervisor.apply(snapshot("better")) is None


async def test_a_killed_worker_is_replaced_within_a_second_and_no_connection_is_refused(
    start: Start, eventually: Eventually
) -> None:
    workers = start(1)
    address = workers.sockets.pin(Address("127.0.0.1", 0))
    await workers.supervisor.apply(snapshot("good", address))
    victim = await ask(address)
    killed_at = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    # Asked at once and again: the kernel keeps the connections for the next worker.
    answers = await asyncio.gather(*(ask(address) for _ in range(50)))
    took_s = time.monotonic() - killed_at
    (successor,) = set(answers) - {victim}
    assert successor != victim
    await eventually(lambda: workers.supervisor.running == 1, "the new worker serves the last good snapshot")
    assert workers.supervisor.restarts == 1
    assert workers.telemetry.gone == [0]
    assert took_s < 3, "the machine is shared; unloaded it takes a fifth of a second"


async def test_the_other_worker_goes_on_while_one_is_replaced(start: Start, eventually: Eventually) -> None:
    workers = start(2)
    address = workers.sockets.pin(Address("127.0.0.1", 0))
    await workers.supervisor.apply(snapshot("good", address))
    await eventually(lambda: workers.supervisor.running == 2, "both serve")
    first, second = workers.pids()
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: first not in workers.pids() and len(workers.pids()) == 2, "it is replaced")
    assert second in workers.pids()
    await eventually(lambda: workers.supervisor.running == 2, "the new one serves the last good snapshot")


@pytest.mark.parametrize(
    "how", ["stopped by a signal", "in an endless loop", "stopped before it had any configuration"]
)
async def test_a_worker_that_hangs_between_configurations_is_replaced(
    start: Start, eventually: Eventually, how: str
) -> None:
    workers = start(ping_every_s=0.1)
    await eventually(lambda: bool(workers.pids()), "a worker runs")
    if how == "stopped before it had any configuration":
        await eventually(lambda: workers.supervisor._slots[0].ready, "it reads its channel")
    else:
        assert await workers.supervisor.apply(snapshot("spin" if how == "in an endless loop" else "v1")) is None
    [hung] = workers.pids()
    if how != "in an endless loop":
        os.kill(hung, signal.SIGSTOP)
    began = time.monotonic()
    await eventually(lambda: workers.pids() not in ([], [hung]), "another worker runs")
    assert time.monotonic() - began < (MAX_SILENT_PINGS + 2) * 0.1 + 2
    assert workers.supervisor.hangs == 1
    with pytest.raises(ProcessLookupError):
        os.kill(hung, 0)


async def test_a_worker_that_is_slow_to_take_over_a_configuration_is_not_taken_for_dead(start: Start) -> None:
    workers = start(ping_every_s=0.02, apply_timeout_s=1.0)
    began = time.monotonic()
    refused = asyncio.ensure_future(workers.supervisor.apply(snapshot("hang")))
    await asyncio.wait([refused], timeout=0.5)
    assert workers.supervisor.hangs == 0, f"killed after {time.monotonic() - began:.2f} s"
    assert (await refused) is not None
    assert workers.supervisor.hangs == MAX_DEATHS_PER_SNAPSHOT


async def test_a_snapshot_that_kills_every_worker_is_refused_and_the_old_one_comes_back(
    start: Start, eventually: Eventually
) -> None:
    workers = start(1)
    await workers.supervisor.apply(snapshot("good"))
    refused = await workers.supervisor.apply(snapshot("die"))
    assert refused is not None
    assert refused.reason == f"{MAX_DEATHS_PER_SNAPSHOT} workers ended while applying it, the last with status 3"
    await eventually(lambda: workers.supervisor.running == 1, "the old snapshot serves again")
    assert await workers.supervisor.apply(snapshot("better")) is None


async def test_a_worker_that_does_not_answer_is_killed(start: Start) -> None:
    workers = start(1, apply_timeout_s=0.5)
    await workers.supervisor.apply(snapshot("good"))
    refused = await workers.supervisor.apply(snapshot("hang"))
    assert refused is not None
    assert "workers ended while applying it" in refused.reason


async def test_workers_that_never_start_are_tried_with_growing_delays(start: Start, eventually: Eventually) -> None:
    workers = start(1, ("/nonexistent/worker",))
    await eventually(lambda: workers.supervisor.restarts >= 3, "it is tried again and again")
    assert workers.supervisor.running == 0


async def test_a_listener_whose_address_is_taken_is_refused_by_name(start: Start) -> None:
    workers = start(1)
    taken = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    address = Address(*taken.sockets[0].getsockname())
    refused = await workers.supervisor.apply(snapshot("good", Address("127.0.0.1", 0), address))
    taken.close()
    assert refused is not None
    assert (refused.resource, refused.path) == ("l1", "address")
    assert "in use" in refused.reason
    assert workers.sockets.descriptors() == {}, "what was opened beside it is closed again"


async def test_a_listener_that_goes_away_is_closed_and_one_from_the_command_line_is_not(start: Start) -> None:
    workers = start(1)
    pinned = workers.sockets.pin(Address("127.0.0.1", 0))
    with_port = await free_port()
    await workers.supervisor.apply(snapshot("one", pinned, with_port))
    assert set(workers.sockets.descriptors()) == {pinned, with_port}
    await workers.supervisor.apply(snapshot("two"))
    assert set(workers.sockets.descriptors()) == {pinned}


async def free_port() -> Address:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    address = Address(*server.sockets[0].getsockname())
    server.close()
    await server.wait_closed()
    return address


async def test_workers_answer_questions(start: Start, eventually: Eventually) -> None:
    workers = start(2)
    await workers.supervisor.apply(snapshot("good"))
    await eventually(lambda: workers.supervisor.running == 2, "both serve")
    texts = await workers.supervisor.inspect("clusters")
    assert len(texts) == 2
    assert all('"what": "clusters"' in text for text in texts)


async def test_draining_closes_the_sockets_and_keeps_the_last_words(start: Start) -> None:
    workers = start(2)
    address = workers.sockets.pin(Address("127.0.0.1", 0))
    await workers.supervisor.apply(snapshot("good", address))
    while workers.supervisor.running < 2:
        await asyncio.sleep(0.01)
    assert await workers.supervisor.drain(5.0) == 4
    assert workers.telemetry.records == [AccessLog(1, b"last words")] * 2
    assert workers.supervisor.restarts == 0
    with pytest.raises(ConnectionRefusedError):
        await ask(address)


async def test_a_worker_ends_when_the_agents_end_of_the_channel_closes(start: Start, eventually: Eventually) -> None:
    events: Any = type("Events", (), {"on_message": lambda *_: None, "on_gone": lambda *_: None})()
    worker = await start_worker(FAKE, events)
    assert await worker.end(10) == 0
