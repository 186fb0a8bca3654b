"""Keeps the workers running: a dead one is replaced at once, one that hangs is killed, any can be replaced by order.

What they serve is `rollout`'s to see to; a worker that starts gets it from there.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol, assert_never

from mesh.clock import Clock
from mesh.lifecycle import TaskScope
from sidecar.agent.backoff import Backoff
from sidecar.agent.rollout import Rollout
from sidecar.agent.slots import Slot
from sidecar.agent.sockets import CannotListen, Sockets
from sidecar.agent.worker_process import WorkerEvents, WorkerProcess
from sidecar.config.messages import (
    AccessLog,
    Applied,
    Drain,
    Drained,
    Inspect,
    Inspected,
    Metrics,
    Ping,
    Pong,
    Ready,
    Refused,
    Spans,
    Tap,
    TapCounts,
    Tapped,
    ToAgent,
    Untap,
    WindDown,
)
from sidecar.config.snapshot import Snapshot

APPLY_TIMEOUT_S = 20.0
"""A worker that has not answered by then hangs: it is killed and replaced."""

PING_EVERY_S = 2.0
MAX_SILENT_PINGS = 4
"""A worker that serves and says nothing for this many pings hangs: within 10 s it is killed and replaced. They are
counted in turns of our own loop, so that an agent that was held up itself does not blame its workers."""

STABLE_S = 30.0
"""A worker that ran this long was not broken from the start: its replacement starts without delay."""

INSPECT_TIMEOUT_S = 3.0
END_PATIENCE_S = 1.0

_log = logging.getLogger("remora.workers")


class CannotReplace(Exception):
    """The workers stay as they are; the text says why."""


class Telemetry(Protocol):
    """Where the workers' records go. Never blocks. `worker` tells the workers apart."""

    def measured(self, worker: int, metrics: Metrics) -> None: ...
    def access_log(self, records: AccessLog) -> None: ...
    def spans(self, spans: Spans) -> None: ...
    def tapped(self, tapped: Tapped) -> None: ...
    def tap_counts(self, worker: int, counts: TapCounts) -> None: ...
    def worker_gone(self, worker: int) -> None: ...


class Supervisor(WorkerEvents):
    """`concurrency` workers. `apply` one snapshot at a time."""

    def __init__(
        self,
        concurrency: int,
        sockets: Sockets,
        telemetry: Telemetry,
        start: Callable[[WorkerEvents], Awaitable[WorkerProcess]],
        clock: Clock,
        backoff: Callable[[], Backoff],
        *,
        apply_timeout_s: float = APPLY_TIMEOUT_S,
        ping_every_s: float = PING_EVERY_S,
    ) -> None:
        self._sockets = sockets
        self._telemetry = telemetry
        self._start = start
        self._clock = clock
        self._apply_timeout_s = apply_timeout_s
        self._ping_every_s = ping_every_s
        self._backoff = backoff
        self._slots = [Slot(index, backoff()) for index in range(concurrency)]
        self._index = concurrency - 1
        """Of the last slot; none is used twice, for the old one is still heard while the new one speaks."""
        self._leaving: list[Slot] = []
        """Their workers drain."""
        self._keepers: set[asyncio.Task[None]] = set()
        self._replacing = False
        self._rollout = Rollout(self._slots, self._hung, apply_timeout_s)
        self._asked = 0
        self._inspections: dict[tuple[int, int], asyncio.Future[str]] = {}
        self._winding_down = False
        self._draining = False
        self._abandoned = 0
        self._taps: dict[int, Tap] = {}
        self.restarts = 0
        self.hangs = 0
        """Workers that were killed since they did not answer."""
        self._tasks = TaskScope()

    @property
    def serving(self) -> Snapshot | None:
        """The last snapshot that all workers took."""
        return self._rollout.good

    @property
    def running(self) -> int:
        """Workers that serve a snapshot."""
        return sum(1 for slot in self._slots if slot.worker is not None and slot.applied)

    @property
    def pids(self) -> list[int]:
        return [slot.worker.pid for slot in self._slots if slot.worker is not None]

    async def run(self) -> None:
        """Until cancelled, or until all workers have drained."""
        async with self._tasks:
            for slot in self._slots:
                self._tend(slot)
            while self._keepers:
                done, _ = await asyncio.wait(self._keepers, return_when=asyncio.FIRST_COMPLETED)
                self._keepers -= done
                for keeper in done:
                    keeper.result()

    def _tend(self, slot: Slot) -> None:
        self._keepers.add(self._tasks.spawn(self._keep(slot), name=f"worker {slot.index}"))

    async def replace(self, deadline_s: float) -> int:
        """Have another worker serve in each one's place; the old one then finishes what is in flight, at most
        `deadline_s`. Returns when all of the new ones serve; how many. Raises CannotReplace, and the old one stays."""
        if not self._rollout.has_target or self._draining or self._replacing:
            raise CannotReplace("workers are being replaced already" if self._replacing else "no worker serves")
        self._replacing = True
        try:
            former = list(self._slots)
            for old in former:
                await self._replace(old, deadline_s)
            return len(former)
        finally:
            self._replacing = False

    async def _replace(self, old: Slot, deadline_s: float) -> None:
        self._index += 1
        new = Slot(self._index, self._backoff())
        self._slots.append(new)
        self._tend(new)
        try:
            async with asyncio.timeout(self._apply_timeout_s):
                while not self._rollout.is_served_by(new):
                    new.progress.clear()
                    await new.progress.wait()
        except TimeoutError:
            self._retire(new, 0.0)
            raise CannotReplace(f"the new worker did not serve within {self._apply_timeout_s:g} s") from None
        _log.info("worker %d takes over", new.worker.pid if new.worker is not None else 0)
        self._retire(old, deadline_s)

    def _retire(self, slot: Slot, deadline_s: float) -> None:
        self._slots.remove(slot)
        self._leaving.append(slot)
        slot.retiring = True
        worker = slot.worker
        if worker is not None:
            worker.send(Drain(deadline_s))
            self._tasks.spawn(worker.wait_or_kill(deadline_s + END_PATIENCE_S), name=f"end of worker {slot.index}")

    async def apply(self, snapshot: Snapshot) -> Refused | None:
        """Have all workers serve it. None when they do; else why not, and they serve what they served before."""
        try:
            opened = self._sockets.ensure(listener.address for listener in snapshot.listeners if listener.bound)
        except CannotListen as error:
            return _refused_listener(snapshot, error)
        for slot in self._slots:
            if slot.worker is not None and opened:
                slot.worker.send_sockets(opened)
        refused = await self._rollout.apply(snapshot)
        good = self._rollout.good
        if good is not None:
            self._sockets.keep(listener.address for listener in good.listeners if listener.bound)
        return refused

    async def inspect(self, what: str) -> list[str]:
        """JSON texts, one per worker that answers in time."""
        waiting: list[asyncio.Future[str]] = []
        for slot in self._slots:
            if slot.worker is not None:
                self._asked += 1
                future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
                self._inspections[slot.index, self._asked] = future
                waiting.append(future)
                slot.worker.send(Inspect(self._asked, what))
        if waiting:
            await asyncio.wait(waiting, timeout=INSPECT_TIMEOUT_S)
        self._inspections = {key: each for key, each in self._inspections.items() if each not in waiting}
        return [future.result() for future in waiting if future.done() and not future.cancelled()]

    def tap(self, tap: Tap) -> set[int]:
        """Have the workers tell of requests that match, those that are yet to start included. Which of them will say
        that they do, by a TapCount."""
        self._taps[tap.number] = tap
        return {slot.index for slot in self._slots if slot.worker is not None and slot.worker.send(tap)}

    def untap(self, number: int) -> set[int]:
        """Which workers will say that they have stopped, by a TapCount that is `closed`."""
        self._taps.pop(number, None)
        return {slot.index for slot in self._slots if slot.worker is not None and slot.worker.send(Untap(number))}

    def wind_down(self) -> None:
        """Inbound connections end with their next answers; those that come are served still, and outbound goes on."""
        self._winding_down = True
        for slot in self._slots:
            if slot.worker is not None:
                slot.worker.send(WindDown())

    async def drain(self, deadline_s: float) -> int:
        """No new connections; what is in flight may finish within `deadline_s`. Returns the requests cut off."""
        self._draining = True
        slots = [*self._slots, *self._leaving]
        workers = [slot.worker for slot in slots if slot.worker is not None]
        for worker in workers:
            worker.send(Drain(deadline_s))
        # Closed after the workers were told, so that they take what is already queued.
        self._sockets.close()
        await asyncio.gather(*(worker.wait_or_kill(deadline_s + END_PATIENCE_S) for worker in workers))
        # What a worker sent last is read from its channel after its end.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_PATIENCE_S):
                for slot in slots:
                    await slot.gone.wait()
        return self._abandoned

    def on_message(self, worker: WorkerProcess, message: ToAgent) -> None:
        slot = self._slot_of(worker)
        if slot is None:
            return
        slot.heard = True
        match message:
            case Pong():
                pass
            case Metrics():
                self._telemetry.measured(slot.index, message)
            case AccessLog():
                self._telemetry.access_log(message)
            case Spans():
                self._telemetry.spans(message)
            case Tapped():
                self._telemetry.tapped(message)
            case TapCounts():
                self._telemetry.tap_counts(slot.index, message)
            case Ready():
                slot.ready = True
                _log.info("worker %d (epoch %s) runs", message.pid, message.epoch)
            case Applied():
                self._rollout.applied(slot, message)
            case Refused():
                self._rollout.refused(message)
            case Inspected():
                future = self._inspections.pop((slot.index, message.sequence), None)
                if future is not None and not future.done():
                    future.set_result(message.json)
            case Drained():
                self._abandoned += message.abandoned
            case _:
                assert_never(message)

    def on_gone(self, worker: WorkerProcess, why: str) -> None:
        slot = self._slot_of(worker)
        if slot is None:
            return
        if not self._draining and not slot.retiring:
            _log.error("worker %d is gone: %s", worker.pid, why)
        slot.gone.set()

    async def _keep(self, slot: Slot) -> None:
        while not self._draining and not slot.retiring:
            started = self._clock.monotonic()
            slot.gone.clear()
            try:
                worker = await self._start(self)
            except OSError as error:
                _log.error("cannot start a worker: %s", error)
            else:
                await self._attend(slot, worker)
            if self._is_over(slot):
                return
            self.restarts += 1
            await self._pause(slot, self._clock.monotonic() - started)

    async def _pause(self, slot: Slot, ran_s: float) -> None:
        """The first replacement starts at once; one that ends soon as well was not the cure."""
        if ran_s >= STABLE_S:
            slot.ends = 0
            slot.backoff.reset()
        slot.ends += 1
        if slot.ends > 1:
            delay_s = slot.backoff.next_s()
            _log.warning("worker %d ended %d times in a row; next start in %.1f s", slot.index, slot.ends, delay_s)
            await asyncio.sleep(delay_s)

    async def _attend(self, slot: Slot, worker: WorkerProcess) -> None:
        """From start to end of one worker."""
        slot.worker, slot.applied, slot.ready = worker, 0, False
        try:
            if self._draining:
                return
            worker.send_sockets(self._sockets.descriptors())
            for tap in self._taps.values():
                worker.send(tap)
            if self._winding_down:
                worker.send(WindDown())
            self._rollout.welcome(worker)
            await self._until_gone(slot, worker)
        finally:
            slot.worker = None
            slot.gone.set()
            self._telemetry.worker_gone(slot.index)
            status = await worker.end(END_PATIENCE_S)
            if not self._draining and not slot.retiring:
                _log.error("worker %d ended with status %d", worker.pid, status)
        if not slot.retiring:
            self._rollout.ended(slot, status)

    async def _until_gone(self, slot: Slot, worker: WorkerProcess) -> None:
        """Until the worker has ended, of its own or since it hung."""
        silent = 0
        while not slot.gone.is_set():
            if not silent:
                slot.heard = False
                worker.send(Ping())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._ping_every_s):
                    await slot.gone.wait()
            silent = 0 if slot.heard or slot.gone.is_set() else silent + 1
            if silent and silent >= self._patience(slot) and not self._draining:
                self._hung(worker, f"has said nothing for {silent * self._ping_every_s:g} s")
                await slot.gone.wait()

    def _patience(self, slot: Slot) -> int:
        """Silent pings that are borne. Starting and taking over a large configuration hold up a healthy one, too."""
        if slot.ready and (slot.retiring or not self._rollout.is_awaited_from(slot)):
            return MAX_SILENT_PINGS
        return MAX_SILENT_PINGS + round(self._apply_timeout_s / self._ping_every_s)

    def _hung(self, worker: WorkerProcess, how: str) -> None:
        _log.error("worker %d %s: killed", worker.pid, how)
        self.hangs += 1
        worker.kill()

    def _is_over(self, slot: Slot) -> bool:
        """No other worker follows the one that has ended."""
        if slot.retiring:
            self._leaving.remove(slot)
            _log.info("the worker that was replaced has left")
        return self._draining or slot.retiring

    def _slot_of(self, worker: WorkerProcess) -> Slot | None:
        return next((slot for slot in (*self._slots, *self._leaving) if slot.worker is worker), None)


def _refused_listener(snapshot: Snapshot, error: CannotListen) -> Refused:
    name = next((listener.name for listener in snapshot.listeners if listener.address == error.place), "")
    return Refused(0, name, "address", str(error))
