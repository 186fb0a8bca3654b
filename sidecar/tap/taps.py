"""The taps of a worker: which are open, what each has seen, and the room that they may take together.

Nothing of it is touched by a request while no tap is open. What can not be kept or sent is dropped and counted: a slow
reader of a tap never holds up a request.
"""

import random
from collections.abc import Callable

from mesh.clock import Clock
from sidecar.config.listener import Direction
from sidecar.config.messages import Tap, TapCount, TapCounts, Tapped
from sidecar.http.head import RequestHead
from sidecar.tap.matching import Matcher
from sidecar.tap.recording import OVERHEAD_BYTES, Budget, Recording
from sidecar.telemetry.record import RequestRecord

MAX_TAPS = 8
"""Open at once; the agent refuses more."""

MAX_HELD_BYTES = 32 * 1024 * 1024
"""Of all recordings under way. A request that finds no room is counted as dropped."""


class OpenTap:
    """One tap and what it has counted since the agent was last told."""

    __slots__ = ("closed", "direction", "dropped", "limit", "matched", "matcher", "number")

    def __init__(self, tap: Tap, rng: random.Random) -> None:
        self.number = tap.number
        self.direction = tap.filter.direction
        self.limit = tap.filter.max_body_bytes
        self.matcher = Matcher(tap.filter, rng)
        self.matched = 0
        self.dropped = 0
        self.closed = False


class Recorder:
    """One request and the taps that want it, as far as its head tells. `finish` once."""

    __slots__ = ("_send", "_taps", "_watch", "recording")

    def __init__(self, watch: "Watch", taps: list[OpenTap], recording: Recording | None) -> None:
        self._watch = watch
        self._taps = taps
        self.recording = recording
        """None: there is no room; the request is counted, no more."""

    def finish(self, record: RequestRecord, now: float, *, whole: bool) -> None:
        """The request is over: tell whoever wants to know."""
        recording = self.recording
        wanting = [tap for tap in self._taps if not tap.closed and tap.matcher.wants_status(record.status)]
        for tap in wanting:
            tap.matched += 1
        if recording is None or recording.lost:
            for tap in wanting:
                tap.dropped += 1
        elif wanting:
            recording.ended(now, whole=whole)
            message = recording.render(record, max(tap.limit for tap in wanting))
            if not self._watch.emit(Tapped(tuple(tap.number for tap in wanting), message)):
                for tap in wanting:
                    tap.dropped += 1
        if recording is not None:
            recording.release()


class Watch:
    """What the connections of a direction ask for each request, while a tap is open."""

    __slots__ = ("_budget", "_clock", "_direction", "_limit", "_taps", "emit")

    def __init__(
        self,
        taps: list[OpenTap],
        direction: Direction,
        budget: Budget,
        clock: Clock,
        emit: Callable[[Tapped], bool],
    ) -> None:
        self._taps = taps
        self._direction = direction
        self._budget = budget
        self._clock = clock
        self._limit = max(tap.limit for tap in taps)
        self.emit = emit

    def begin(self, head: RequestHead) -> Recorder | None:
        """None: no tap wants it."""
        wanting = [tap for tap in self._taps if tap.matcher.wants(head)]
        if not wanting:
            return None
        recording: Recording | None = None
        if self._budget.take(OVERHEAD_BYTES):
            offset = self._clock.now() - self._clock.monotonic()
            recording = Recording(head, self._direction, self._limit, self._budget, offset)
        return Recorder(self, wanting, recording)


class Taps:
    """Opened and closed by the agent. `emit` sends a record and says whether it was taken."""

    def __init__(self, clock: Clock, rng: random.Random, emit: Callable[[Tapped], bool]) -> None:
        self._clock = clock
        self._rng = rng
        self._emit = emit
        self._budget = Budget(MAX_HELD_BYTES)
        self._open: dict[int, OpenTap] = {}

    def open(self, tap: Tap) -> None:
        """From now on; `watch` is then another."""
        if len(self._open) < MAX_TAPS:
            self._open[tap.number] = OpenTap(tap, self._rng)

    def close(self, number: int) -> TapCounts:
        """Its last counts. Requests under way are no longer told of, unless another tap wants them."""
        tap = self._open.pop(number, None)
        if tap is None:
            return TapCounts((TapCount(number, 0, 0, closed=True),))
        tap.closed = True
        return TapCounts((TapCount(number, tap.matched, tap.dropped, closed=True),))

    def watch(self, direction: Direction) -> Watch | None:
        """For connections of a direction; None while nobody taps them."""
        taps = [tap for tap in self._open.values() if tap.direction in (None, direction)]
        return Watch(taps, direction, self._budget, self._clock, self._emit) if taps else None

    def counts(self) -> TapCounts | None:
        """What grew since the last call; None: nothing."""
        grown = tuple(
            TapCount(tap.number, tap.matched, tap.dropped) for tap in self._open.values() if tap.matched or tap.dropped
        )
        for tap in self._open.values():
            tap.matched = tap.dropped = 0
        return TapCounts(grown) if grown else None
