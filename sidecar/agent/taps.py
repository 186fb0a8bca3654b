"""`POST /tap`: opens taps in the workers for clients of the admin endpoints, and closes them whatever happens."""

import contextlib
import logging
import os
from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from mesh.clock import Clock
from sidecar.agent.http_server import Request, Response, Stream, text
from sidecar.agent.peer_user import Place, user_of
from sidecar.agent.tap_request import BadTap, parse_tap
from sidecar.agent.tap_session import TapSession
from sidecar.config.messages import Tap, TapCounts, Tapped

MAX_TAPS = 8
"""At once; as many as a worker takes."""

_log = logging.getLogger("remora.tap")


UserOf = Callable[[Place, Place], int | None]
"""peer_user.user_of."""


class Workers(Protocol):
    """The supervisor."""

    def tap(self, tap: Tap) -> set[int]: ...
    def untap(self, number: int) -> set[int]: ...


class Taps:
    """Who taps what."""

    def __init__(self, workers: Workers, workload: str, clock: Clock, user_of: UserOf = user_of) -> None:
        self._workers = workers
        self._workload = workload
        self._clock = clock
        self._user_of = user_of
        self._sessions: dict[int, TapSession] = {}
        self._number = 0
        self.opened = 0
        self.dropped = 0
        """Records that matched and reached nobody, of taps that are over."""

    @property
    def open(self) -> int:
        return len(self._sessions)

    async def page(self, request: Request) -> Response | Stream:
        """Lines of JSON until the client hangs up, `max` is reached or the time is over."""
        if not self._may_tap(request):
            return text("only the user that the sidecar runs as, or root, on this machine may tap\n", 403)
        try:
            wanted = parse_tap(request.body)
        except BadTap as error:
            return text(f"{error}\n", 400)
        if len(self._sessions) >= MAX_TAPS:
            return text(f"{MAX_TAPS} taps are open already; end one first\n", 429)
        self._number += 1
        session = TapSession(self._number, wanted, self._workload, self._clock)
        return Stream(self._serve(session), lambda: session.end("client"), "application/x-ndjson")

    def _may_tap(self, request: Request) -> bool:
        """Traffic shows what its users do, so a loopback port that everyone on the machine reaches is no door to it."""
        if request.peer is None or request.ours is None:
            return False
        return self._user_of(request.peer, request.ours) in (0, os.geteuid())

    async def _serve(self, session: TapSession) -> AsyncGenerator[bytes, None]:
        secrets = " with secrets" if session.request.show_secrets else ""
        _log.info("tap %d opened%s: %r", session.number, secrets, session.request.filter)
        self._sessions[session.number] = session
        self.opened += 1
        is_open = True

        def begin() -> set[int]:
            return self._workers.tap(Tap(session.number, session.request.filter))

        def close() -> set[int]:
            nonlocal is_open
            is_open = False
            return self._workers.untap(session.number)

        try:
            async with contextlib.aclosing(session.lines(begin, close)) as lines:
                async for line in lines:
                    yield line
        finally:
            if is_open:
                close()
            self._sessions.pop(session.number, None)
            self.dropped += session.dropped
            _log.info("tap %d is over: %d sent, %d dropped", session.number, session.sent, session.dropped)

    def end(self, why: str) -> None:
        """Of all taps: the sidecar stops."""
        for session in self._sessions.values():
            session.end(why)

    # what the workers say

    def tapped(self, message: Tapped) -> None:
        for number in message.taps:
            session = self._sessions.get(number)
            if session is not None:
                session.offer(message.record)

    def counted(self, worker: int, message: TapCounts) -> None:
        for count in message.counts:
            session = self._sessions.get(count.number)
            if session is not None:
                session.counted(worker, count)

    def worker_gone(self, worker: int) -> None:
        for session in self._sessions.values():
            session.worker_gone(worker)
