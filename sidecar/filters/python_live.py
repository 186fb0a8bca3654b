"""Calls of one filter's hooks, each bounded, guarded and counted. What becomes of a failure is the caller's to decide.

A hook that waits runs as a task of its own and has the rule's time-out; one that blocks is ended by the alarm, sooner.
"""

import asyncio
import logging
import traceback
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Final

from mesh.clock import Clock
from mesh.lifecycle import TaskScope
from mesh.logs import escape
from sidecar.config.python_filter import PythonFilter
from sidecar.filters import chain
from sidecar.filters.python_alarm import Alarm, Overrun, bounded, said
from sidecar.filters.python_load import Loaded
from sidecar.filters.python_messages import BodyTooLarge, LocalReply, render_reply

MAX_BLOCK_S: Final = 0.1
"""A hook may hold the whole proxy up for the rule's time-out, and for no longer than this."""

MAX_PENDING: Final = 1024
"""Calls of a filter that wait at once; the next fails at once."""

OFFENCES: Final = 5
OFFENCES_WITHIN_S: Final = 60.0
"""So many blocking calls within this time switch the filter off ..."""

SUSPENDED_S: Final = 30.0
"""... for so long: its requests meet the failure policy without being shown to it."""

LOG_EVERY_S: Final = 10.0
"""A filter's failures are logged at most this often, with the number of those that were not."""

CLOSE_S: Final = 1.0

log = logging.getLogger("remora.filters")

Outcome = chain.LocalReply | None


class FilterFailed(Exception):
    """The call came to nothing. `reason` is a label of `remora_filter_failures_total`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class FilterCounts:
    """Of one rule's filter, over changes of its configuration."""

    __slots__ = ("calls", "failures", "micros", "replies", "reported")

    def __init__(self) -> None:
        self.calls: dict[str, int] = {}
        """By hook."""
        self.failures: dict[str, int] = {}
        """By reason: exception, blocked, timeout, suspended, overflow, body_too_large."""
        self.replies = 0
        self.micros = 0
        """Microseconds of the proxy's own time that it has used, waiting not counted."""
        self.reported: dict[tuple[str, str], int] = {}

    def failed(self, reason: str) -> None:
        self.failures[reason] = self.failures.get(reason, 0) + 1


class Instance:
    """A user's object. Its `close` is called once nothing refers to this any more: no route, no request."""

    def __init__(self, name: str, loaded: Loaded, loop: asyncio.AbstractEventLoop, alarm: Alarm) -> None:
        self.loaded = loaded
        self.offences: deque[float] = deque(maxlen=OFFENCES)
        self.suspended_until = 0.0
        self.pending = 0
        self.logged_at = float("-inf")
        self.unlogged = 0
        self._end = weakref.finalize(self, _close_later, name, loaded, loop, alarm)
        self._end.atexit = False

    def close(self) -> None:
        """Now, because the process ends."""
        self._end()


def _close_later(name: str, loaded: Loaded, loop: asyncio.AbstractEventLoop, alarm: Alarm) -> None:
    # Not at whatever moment the last reference goes.
    if loop.is_closed():
        return
    loop.call_soon(_close, name, loaded, alarm)


def _close(name: str, loaded: Loaded, alarm: Alarm) -> None:
    try:
        bounded(alarm, CLOSE_S, loaded.instance.close)
    except BaseException as error:
        log.warning("filter %s: close failed: %s", name, _describe(error, said(error, alarm, CLOSE_S)))
    loaded.unload()


class LiveFilter:
    """An instance under one rule's bounds."""

    def __init__(
        self,
        config: PythonFilter,
        instance: Instance,
        counts: FilterCounts,
        loop: asyncio.AbstractEventLoop,
        scope: TaskScope,
        clock: Clock,
        alarm: Alarm,
    ) -> None:
        self.config = config
        self.instance = instance
        self.counts = counts
        self.hooks = instance.loaded.hooks
        self.waits = instance.loaded.waits
        self._loop = loop
        self._scope = scope
        self._clock = clock
        self._alarm = alarm
        self._block_s = min(config.timeout_s, MAX_BLOCK_S)

    def call(self, hook: str, *arguments: Any) -> "Outcome | asyncio.Future[Outcome]":
        """The hook's answer, or a future of it that is done in time. Both raise FilterFailed, and nothing else."""
        counts = self.counts
        counts.calls[hook] = counts.calls.get(hook, 0) + 1
        instance = self.instance
        if instance.suspended_until > self._clock.monotonic():
            counts.failed("suspended")
            raise FilterFailed("suspended")
        try:
            result = self._step(self.hooks[hook], *arguments)
        except BaseException as error:
            # Whatever a hook raises is its failure: KeyboardInterrupt comes from nowhere else, since the worker's
            # signals are the loop's.
            raise self._failed(hook, error) from None
        if result is None:
            return None
        if isinstance(result, Awaitable):
            return self._begin(hook, result)
        return self._outcome(hook, result)

    def _outcome(self, hook: str, result: object) -> Outcome:
        if result is None:
            return None
        try:
            if not isinstance(result, LocalReply):
                raise TypeError(f"{hook} returned {type(result).__name__}; a hook returns None or a LocalReply")
            # The reply's headers may be a mapping of the user's.
            reply: chain.LocalReply = self._step(render_reply, result, self.config.name)
        except BaseException as error:
            raise self._failed(hook, error) from None
        self.counts.replies += 1
        return reply

    def _step(self, code: Callable[..., Any], *arguments: Any) -> Any:
        """Run user code until it returns or waits."""
        began = self._clock.monotonic()
        try:
            return bounded(self._alarm, self._block_s, code, *arguments)
        finally:
            took = self._clock.monotonic() - began
            self.counts.micros += int(took * 1e6)
            if took >= self._block_s:
                self._offended(took)

    def _offended(self, took: float) -> None:
        instance = self.instance
        now = self._clock.monotonic()
        instance.offences.append(now)
        if len(instance.offences) == OFFENCES and now - instance.offences[0] <= OFFENCES_WITHIN_S:
            instance.offences.clear()
            instance.suspended_until = now + SUSPENDED_S
            log.error(
                "filter %s blocked the proxy %d times, last for %.0f ms: it is switched off for %g s",
                self.config.name, OFFENCES, took * 1e3, SUSPENDED_S,
            )  # fmt: skip

    # hooks that wait

    def _begin(self, hook: str, waiting: Awaitable[Any]) -> "asyncio.Future[Outcome]":
        instance = self.instance
        if instance.pending >= MAX_PENDING:
            if isinstance(waiting, Coroutine):
                waiting.close()
            self.counts.failed("overflow")
            raise FilterFailed("overflow")
        outcome: asyncio.Future[Outcome] = self._loop.create_future()
        # Whoever asked may be gone by then; that it failed is counted.
        outcome.add_done_callback(lambda done: done.cancelled() or done.exception())
        instance.pending += 1
        task = self._scope.spawn(self._run(hook, waiting, outcome), name=f"filter {self.config.name}")
        timer = self._loop.call_later(self.config.timeout_s, self._too_slow, hook, task, outcome)
        task.add_done_callback(lambda _: self._ended(hook, timer, waiting, outcome))
        return outcome

    def _ended(
        self, hook: str, timer: asyncio.TimerHandle, waiting: Awaitable[Any], outcome: "asyncio.Future[Outcome]"
    ) -> None:
        timer.cancel()
        if isinstance(waiting, Coroutine):
            waiting.close()  # it may have been cancelled before it began
        self.instance.pending -= 1
        if not outcome.done():
            # Cancelled: the process ends, or the hook has cancelled itself. Whoever waits must hear of it.
            self.counts.failed("exception")
            self._log(f"{hook} was cancelled")
            self._fail(outcome, FilterFailed("exception"))

    async def _run(self, hook: str, waiting: Awaitable[Any], outcome: "asyncio.Future[Outcome]") -> None:
        try:
            reply = self._outcome(hook, await _Steps(waiting, self._step))
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            self._fail(outcome, self._failed(hook, error))
        except FilterFailed as failure:
            self._fail(outcome, failure)
        except BaseException as error:
            if not outcome.done():
                self._fail(outcome, self._failed(hook, error))
        else:
            if not outcome.done():
                outcome.set_result(reply)

    def _too_slow(self, hook: str, task: "asyncio.Task[None]", outcome: "asyncio.Future[Outcome]") -> None:
        if outcome.done():
            return
        self.counts.failed("timeout")
        self._log(f"{hook} did not end within {self.config.timeout_s:g} s")
        self._fail(outcome, FilterFailed("timeout"))
        # It may take its time over that, or refuse: nobody waits for it, but it counts as pending.
        task.cancel()

    def _fail(self, outcome: "asyncio.Future[Outcome]", failure: FilterFailed) -> None:
        if not outcome.done():
            outcome.set_exception(failure)

    # failures

    def _failed(self, hook: str, error: BaseException) -> FilterFailed:
        blocked = isinstance(error, Overrun)
        if blocked:
            reason = "blocked"
        else:
            reason = "body_too_large" if isinstance(error, BodyTooLarge) else "exception"
        self.counts.failed(reason)
        what = f"blocked for {self._block_s * 1e3:.0f} ms and was ended" if blocked else "raised"
        self._log(f"{hook} {what}: {_describe(error, said(error, self._alarm, self._block_s))}")
        return FilterFailed(reason)

    def _log(self, text: str) -> None:
        instance = self.instance
        now = self._clock.monotonic()
        if now - instance.logged_at < LOG_EVERY_S:
            instance.unlogged += 1
            return
        instance.logged_at = now
        more = f" ({instance.unlogged} further failures were not logged)" if instance.unlogged else ""
        instance.unlogged = 0
        log.warning("filter %s: %s%s", self.config.name, text, more)


class _Steps:
    """A coroutine each of whose steps is guarded."""

    __slots__ = ("_inner", "_step")

    def __init__(self, waiting: Awaitable[Any], step: Callable[..., Any]) -> None:
        self._inner: Generator[Any, Any, Any] = step(waiting.__await__)
        self._step = step

    def __await__(self) -> "_Steps":
        return self

    def __iter__(self) -> "_Steps":
        return self

    def __next__(self) -> Any:
        return self._step(next, self._inner)

    def send(self, value: Any) -> Any:
        if value is None:
            return self._step(next, self._inner)
        return self._step(self._inner.send, value)

    def throw(self, *error: Any) -> Any:
        if not hasattr(self._inner, "throw"):
            raise error[0]
        return self._step(self._inner.throw, *error)

    def close(self) -> None:
        if hasattr(self._inner, "close"):
            self._inner.close()


def _describe(error: BaseException, text: str) -> str:
    """The exception, which says `text`, with its last frames. One line: what it quotes of a request must not look like
    a record."""
    frames = traceback.extract_tb(error.__traceback__)
    shown = [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames if frame.filename.startswith("<")]
    last = shown or [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]
    text = escape(text[:300])
    where = " < ".join(reversed(last[-6:]))
    return f"{type(error).__name__}: {text}" + (f" at {where}" if where else "")
