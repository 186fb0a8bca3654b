"""What goes wrong on demand: requests held or refused, watches cut, silent or garbled."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from aiohttp import web

from tests.kubernetes.access import Asked
from tests.kubernetes.failures import ApiError

Which = Callable[[Asked], bool]


def _any(_asked: Asked) -> bool:
    return True


@dataclass(slots=True)
class _Refusal:
    which: Which
    error: ApiError
    left: int


@dataclass(slots=True)
class _Hold:
    which: Which
    released: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0


class Hold:
    """Requests that wait: `waiting` of them now."""

    def __init__(self, hold: _Hold) -> None:
        self._hold = hold

    @property
    def waiting(self) -> int:
        return self._hold.waiting

    def release(self) -> None:
        self._hold.released.set()


class Faults:
    """Nothing goes wrong until told."""

    def __init__(self) -> None:
        self._refusals: list[_Refusal] = []
        self._holds: list[_Hold] = []
        self._connections: list[web.Request] = []
        self._watching: list[web.Request] = []
        self.watches_are_silent = False
        """Watches that begin now are accepted and say nothing, as behind a proxy that lost the other side."""
        self.gone_by_status = False
        """A watch from a compacted version is answered HTTP 410 rather than by an ERROR event."""
        self.garbage: list[bytes] = []
        """Lines that the next watches begin with, one each, in place of events."""

    def refuse(
        self, code: int, times: int = 1, *, which: Which = _any, reason: str = "", retry_after_s: int | None = None
    ) -> None:
        """Answer the next `times` requests with that status."""
        reason = reason or {429: "TooManyRequests", 503: "ServiceUnavailable", 500: "InternalError"}.get(
            code, "Unknown"
        )
        error = ApiError(code, reason, f"the server said {code} because a test wants so", retry_after_s=retry_after_s)
        self._refusals.append(_Refusal(which, error, times))

    def hold(self, which: Which = _any) -> Hold:
        """Let requests wait until `release`: an API server that is slow."""
        hold = _Hold(which)
        self._holds.append(hold)
        return Hold(hold)

    async def before(self, asked: Asked) -> None:
        """Raises ApiError."""
        for hold in list(self._holds):
            if hold.which(asked) and not hold.released.is_set():
                hold.waiting += 1
                try:
                    await hold.released.wait()
                finally:
                    hold.waiting -= 1
        self._holds = [hold for hold in self._holds if not hold.released.is_set()]
        for refusal in self._refusals:
            if refusal.left > 0 and refusal.which(asked):
                refusal.left -= 1
                raise refusal.error

    def cut_watches(self) -> int:
        """Break every watch's connection in the middle; how many there were."""
        return _abort(self._watching)

    def cut_everything(self) -> int:
        """Break every connection with a request under way."""
        return _abort(self._connections)

    @property
    def watching(self) -> int:
        """Watches under way."""
        return len(self._watching)

    @contextlib.contextmanager
    def connection(self, request: web.Request) -> Iterator[None]:
        self._connections.append(request)
        try:
            yield
        finally:
            self._connections.remove(request)

    @contextlib.contextmanager
    def watch(self, request: web.Request) -> Iterator[None]:
        self._watching.append(request)
        try:
            yield
        finally:
            self._watching.remove(request)


def _abort(requests: list[web.Request]) -> int:
    for request in list(requests):
        if request.transport is not None:
            request.transport.abort()
    return len(requests)
