"""The stage: spans come into a buffer on disk, which is when they are acknowledged, and leave it when their trace was
dropped, or was kept and what comes after has it. So a crash at any moment loses no span of a trace that is kept
(docs/decisions/0014-tail-sampling-behind-a-buffer.md).

    consume ─▶ buffer ─▶ _take: pending, by trace ─▶ _decide: policies ─▶ _hand_on ─▶ the next stage
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from collectors.delivery.backoff import Backoff
from collectors.delivery.buffer import Buffer
from collectors.delivery.dead_letters import DeadLetters
from collectors.delivery.errors import BufferFault
from collectors.delivery.log import Log
from collectors.delivery.stats import DeliveryStats
from collectors.delivery.writer import LogLimits
from collectors.exporters.sink import Refusal
from collectors.pipeline import Consumer, Refused
from collectors.processors.tail_sampling.decisions import Decisions
from collectors.processors.tail_sampling.pending import Pending, Piece, Span, Trace
from collectors.processors.tail_sampling.policies import Policies
from collectors.processors.tail_sampling.settings import Settings
from collectors.records import Batch
from collectors.settings.buffers import BufferSettings
from collectors.settings.context import Context
from collectors.telemetry import Telemetry
from collectors.watching import wait_any_failed
from mesh.clock import Clock
from mesh.lifecycle import TaskScope

_log = logging.getLogger("remora.sampling")

MAX_ROUTES = 64
"""That name one processor: each has a buffer of its own."""
_PIECE_BYTES = 256 << 10
_DECIDE_AT_ONCE = 1_000
_BATCH_SPANS = 2_000
_MAX_SLEEP_S = 1.0
_LOG_EVERY_S = 60.0
_DEAD_LETTER_BYTES = 16 << 20


def build(settings: Settings, name: str, context: Context, then: Consumer) -> "TailSampling":
    """See settings.registry. Raises OSError, ValueError."""
    log, directory = _open(settings, name, context)
    stage = TailSampling(settings, name, directory, log, then, context.clock, context.rng, context.telemetry)
    stage.start()
    context.on_close(stage.close)
    context.watch(stage)
    return stage


def _open(settings: Settings, name: str, context: Context) -> tuple[Log, Path]:
    """The first place of this name that no other route of ours has."""
    limits = LogLimits(max_bytes=settings.disk_bytes, segment_bytes=min(16 << 20, settings.disk_bytes // 4))
    for number in range(MAX_ROUTES):
        directory = context.directory("sampling", name if not number else f"{name}.{number}")
        try:
            return Log.open(directory, limits), directory
        except BufferFault as error:
            fault = error
    raise ValueError(str(fault))


class TailSampling:
    """See pipeline.Consumer. Logs and samples pass."""

    def __init__(
        self,
        settings: Settings,
        name: str,
        directory: Path,
        log: Log,
        then: Consumer,
        clock: Clock,
        rng: random.Random,
        telemetry: Telemetry,
    ) -> None:
        self._settings = settings
        self._name = name
        self._then = then
        self._clock = clock
        self._telemetry = telemetry
        self.stats = DeliveryStats()
        policy = "always" if settings.fsync else "never"
        # Small pieces: one is not done with before the last of its spans is.
        buffer = BufferSettings.model_validate(
            {"max_bytes": settings.disk_bytes, "fsync": policy, "batch_bytes": _PIECE_BYTES, "batch_records": 1_000}
        )
        self._buffer = Buffer(log, buffer, clock, self.stats)
        self._backoff = Backoff(buffer.retry_min, buffer.retry_max, rng)
        self._letters = DeadLetters(directory, name, _DEAD_LETTER_BYTES)
        self._decisions = Decisions(directory, settings.max_decisions)
        self._decisions.load()
        self._policies = Policies(settings.policies)
        self._pending = Pending(settings.decision_wait, settings.max_traces)
        self._leaving: deque[Span] = deque()
        """Kept, and not yet handed on."""
        self._leaving_bytes = 0
        self._to_leave = asyncio.Event()
        self._room = asyncio.Event()
        self._news = asyncio.Event()
        self._scope = TaskScope()
        self._logged: dict[str, float] = {}

    def start(self) -> None:
        """Begin deciding."""
        self._buffer.start()
        self._telemetry.watch_sampling(self._name, self._reading)
        for what, coroutine in (("take", self._take()), ("decide", self._keep_time()), ("hand on", self._hand_on())):
            self._scope.spawn(coroutine, name=f"sampling {self._name} {what}")

    async def wait_failed(self) -> None:
        """Return never, raise what ended one of its tasks: a mistake of ours, or of the next stage's."""
        await wait_any_failed((self._scope, self._buffer))

    async def close(self) -> None:
        """Decide nothing more: what is undecided or on its way is in the buffer, for the next start."""
        await self._scope.close()
        await self._buffer.close()

    async def consume(self, batch: Batch) -> None:
        """See pipeline.Consumer."""
        if not batch.spans:
            if len(batch):
                await self._then.consume(batch)
            return
        spans = Batch(spans=batch.spans, size_bytes=batch.size_bytes, sender=batch.sender)
        if len(batch) == len(spans):
            await self._buffer.put(spans)
            return
        # Others first: if they are refused, the sender sends everything again and spans are told apart by their ids.
        await self._then.consume(replace(batch, spans=[]))
        await self._buffer.put(spans)

    def _reading(self) -> tuple[int, int, bool]:
        """Undecided traces, bytes in memory, and whether the buffer takes nothing at present."""
        return len(self._pending), self._pending.bytes + self._leaving_bytes, bool(self.stats.stalled)

    # From the buffer.

    async def _take(self) -> None:
        while True:
            ticket = await self._buffer.take()
            records = ticket.batch.spans
            piece = Piece(ticket, len(records))
            size = max(1, ticket.batch.size_bytes // max(1, len(records)))
            now = self._clock.monotonic()
            for record in records:
                span = Span(record, piece, size)
                kept = self._decisions.get(record.trace_id)
                if kept is None:
                    self._pending.add(span, now)
                else:
                    self._count(kept, "late", 1)
                    if kept:
                        self._leave((span,))
                    else:
                        self._settle((span,))
            if not records:
                self._buffer.finish(ticket)
            self._news.set()
            await self._keep_bounds()

    async def _keep_bounds(self) -> None:
        settings = self._settings
        early = list(self._pending.surplus(max(0, settings.max_bytes - self._leaving_bytes)))
        if early:
            await self._decide_early(
                early,
                f"more than {settings.max_traces} traces or {settings.max_bytes} bytes are undecided; raise max_traces "
                "and max_bytes, or lower decision_wait",
            )
        while self._pending.bytes + self._leaving_bytes > settings.max_bytes and self._leaving_bytes:
            # The next stage does not keep up. What is in the buffer stays there, and when that is full senders wait.
            self._room.clear()
            await self._room.wait()

    # The decision.

    async def _keep_time(self) -> None:
        while True:
            now = self._clock.monotonic()
            due = self._pending.due(now, _DECIDE_AT_ONCE)
            if due:
                await self._decide(due)
                continue
            if self.stats.stalled and (early := self._pending.oldest(0.25)):
                # What they hold on disk is what senders wait for.
                await self._decide_early(early, f"{self.stats.stalled}; raise disk_bytes, or lower decision_wait")
                continue
            next_due = self._pending.next_due
            if next_due is None:
                self._news.clear()
                await self._news.wait()
            else:
                # All wait equally long: nobody who comes meanwhile is due sooner.
                await asyncio.sleep(min(_MAX_SLEEP_S, max(0.0, next_due - now)))

    async def _decide_early(self, traces: list[Trace], why: str) -> None:
        self._telemetry.sampling_early.labels(self._name).inc(len(traces))
        self._say("early", f"{len(traces)} traces were decided before their time: {why}")
        await self._decide(traces)

    async def _decide(self, traces: Iterable[Trace]) -> None:
        now = self._clock.monotonic()
        decided: list[tuple[Trace, bool]] = []
        entries = []
        for trace in traces:
            keeper = self._policies.keeper(trace.trace_id, [span.record for span in trace.spans], now)
            self._count(keeper is not None, keeper or "none", len(trace.spans))
            self._telemetry.sampled_traces.labels(self._name, _word(keeper is not None)).inc()
            entries.append(self._decisions.decide(trace.trace_id, keeper is not None))
            decided.append((trace, keeper is not None))
        try:
            # On disk before any of it leaves: after a crash the rest of the trace goes the same way.
            await self._buffer.in_thread(lambda: self._decisions.save(entries))
        except OSError as error:
            self._say("save", f"decisions cannot be saved, late spans may go another way after a restart: {error}")
        for trace, kept in decided:
            if kept:
                self._leave(trace.spans)
            else:
                self._settle(trace.spans)

    # To the next stage.

    def _leave(self, spans: Iterable[Span]) -> None:
        for span in spans:
            self._leaving.append(span)
            self._leaving_bytes += span.size
        self._to_leave.set()

    async def _hand_on(self) -> None:
        while True:
            if not self._leaving:
                self._to_leave.clear()
                await self._to_leave.wait()
            spans = [self._leaving.popleft() for _ in range(min(_BATCH_SPANS, len(self._leaving)))]
            await self._see_through(spans)
            self._leaving_bytes -= sum(span.size for span in spans)
            self._settle(spans)
            self._room.set()

    async def _see_through(self, spans: list[Span]) -> None:
        """Return when the next stage has them, or the dead letters those that it will never take."""
        while True:
            batch = Batch(spans=[span.record for span in spans], size_bytes=sum(span.size for span in spans))
            try:
                await self._then.consume(batch)
            except Refused as error:
                if error.retry:
                    wait_s = self._backoff.failed()
                    self._say("again", f"the next stage takes nothing, trying on: {error}")
                    await asyncio.sleep(wait_s)
                    continue
                if len(spans) > 1:
                    # One of them is at fault, and the others need not suffer.
                    middle = len(spans) // 2
                    await self._see_through(spans[:middle])
                    await self._see_through(spans[middle:])
                    return
                await self._give_up(spans[0], str(error))
            self._backoff.succeeded()
            return

    async def _give_up(self, span: Span, why: str) -> None:
        self._count(False, "refused", 1)
        self._say("refused", f"a span was refused for good, it is among the dead letters: {why}")
        refusal = Refusal(span.record, why)
        while True:
            try:
                await self._buffer.in_thread(lambda: self._letters.write((refusal,), self._clock.now()))
                return
            except OSError as error:
                self._say("letters", f"cannot write dead letters, trying on: {error}")
                await asyncio.sleep(self._backoff.failed())

    def _settle(self, spans: Iterable[Span]) -> None:
        for span in spans:
            piece = span.piece
            piece.unsettled -= 1
            if not piece.unsettled:
                self._buffer.finish(piece.ticket)

    def _count(self, kept: bool, policy: str, spans: int) -> None:
        self._telemetry.sampled_spans.labels(self._name, _word(kept), policy).inc(spans)

    def _say(self, kind: str, message: str) -> None:
        """A log line, of each kind one a minute."""
        now = self._clock.monotonic()
        if now - self._logged.get(kind, -_LOG_EVERY_S) >= _LOG_EVERY_S:
            self._logged[kind] = now
            _log.warning("processors.%s: %s", self._name, message)


def _word(kept: bool) -> str:
    return "kept" if kept else "dropped"
