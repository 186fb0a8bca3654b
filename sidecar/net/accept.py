"""Accept connections on one listening socket, in batches, without spinning when descriptors run out."""

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable

log = logging.getLogger(__name__)

BATCH = 64
"""Connections accepted at one go before other work gets its turn."""

PAUSE_S = 0.1
"""How long accepting rests after descriptors or memory ran out."""

LOG_EVERY_S = 10.0
"""While nothing can be accepted it is said so often."""

_EXHAUSTED = frozenset([errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
_PASSING = frozenset(
    [
        errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ENETDOWN, errno.ENOPROTOOPT, errno.EHOSTDOWN,
        errno.ENONET, errno.EHOSTUNREACH, errno.EOPNOTSUPP, errno.ENETUNREACH, errno.EINTR, errno.ECONNRESET,
    ]
)  # fmt: skip
"""Errors of the connection that was waiting, not of the listener (accept(2), "Error handling")."""


class Acceptor:
    """Hands each connection, non-blocking, to `on_connection`. The listening socket stays the caller's.

    One descriptor is kept in reserve: when there is no other it is given up for a moment to accept and close what
    waits, so that clients are told at once instead of hanging in the backlog.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listening: socket.socket,
        on_connection: Callable[[socket.socket], None],
    ) -> None:
        self._loop = loop
        self._listening = listening
        self._on_connection = on_connection
        self._reserve = _reserve()
        self._resume: asyncio.TimerHandle | None = None
        self._running = False
        self._held = False
        self._said_at = -LOG_EVERY_S
        self._said_shed = 0
        self.shed = 0
        """Connections closed unserved for want of descriptors."""

    def start(self) -> None:
        if not self._running:
            self._running = True
            self._listening.setblocking(False)
            self._listen()

    def _listen(self) -> None:
        if self._running and not self._held and self._resume is None:
            self._loop.add_reader(self._listening.fileno(), self._readable)

    def hold(self, held: bool) -> None:
        """Leave what comes in the backlog for a while, or accept again."""
        if held == self._held:
            return
        self._held = held
        if held:
            self._loop.remove_reader(self._listening.fileno())
        else:
            self._listen()

    def stop(self) -> None:
        """Accept no more; what waits in the backlog is for whoever else has the socket."""
        if not self._running:
            return
        self._running = False
        self._loop.remove_reader(self._listening.fileno())
        if self._resume is not None:
            self._resume.cancel()
            self._resume = None
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None

    def _readable(self) -> None:
        for _ in range(BATCH):
            try:
                connection, _ = self._listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _PASSING:
                    continue
                if error.errno in _EXHAUSTED:
                    self._exhausted(error)
                    return
                raise
            connection.setblocking(False)
            self._on_connection(connection)
            if not self._running or self._held:
                return

    def _exhausted(self, error: OSError) -> None:
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None
            for _ in range(BATCH):
                try:
                    self._listening.accept()[0].close()
                except OSError:
                    break
                self.shed += 1
            self._reserve = _reserve()
        now = self._loop.time()
        if now >= self._said_at + LOG_EVERY_S:
            shed, self._said_shed, self._said_at = self.shed - self._said_shed, self.shed, now
            log.warning("accept: %s; %d connections closed unserved, resting", error.strerror, shed)
        self._loop.remove_reader(self._listening.fileno())
        self._resume = self._loop.call_later(PAUSE_S, self._rested)

    def _rested(self) -> None:
        self._resume = None
        if self._reserve is None:
            self._reserve = _reserve()
        self._listen()


def _reserve() -> int | None:
    try:
        return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
