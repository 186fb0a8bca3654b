"""Accepting: batches, passing errors, and no spinning when descriptors run out."""

import asyncio
import errno
import os
import resource
import socket
from collections.abc import Awaitable, Callable, Iterator

import pytest

from sidecar.net.accept import PAUSE_S, Acceptor

Eventually = Callable[..., Awaitable[None]]


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(128)
        yield sock


async def test_connections_are_handed_over_non_blocking(listening: socket.socket, eventually: Eventually) -> None:
    accepted: list[socket.socket] = []
    acceptor = Acceptor(asyncio.get_running_loop(), listening, accepted.append)
    acceptor.start()
    clients = [socket.create_connection(listening.getsockname()) for _ in range(5)]

    await eventually(lambda: len(accepted) == 5, "all are accepted")

    assert all(not connection.getblocking() for connection in accepted)
    acceptor.stop()
    for each in (*clients, *accepted):
        each.close()


async def test_after_stop_the_backlog_is_left_alone(listening: socket.socket) -> None:
    accepted: list[socket.socket] = []
    acceptor = Acceptor(asyncio.get_running_loop(), listening, accepted.append)
    acceptor.start()
    acceptor.stop()
    with socket.create_connection(listening.getsockname()):
        await asyncio.sleep(0.05)
        assert accepted == []
        connection, _ = listening.accept()
        connection.close()


class Scripted:
    """A listening socket whose accept fails as told."""

    def __init__(self, real: socket.socket, *failures: int) -> None:
        self._real = real
        self._failures = list(failures)
        self.calls = 0

    def setblocking(self, flag: bool) -> None:
        self._real.setblocking(flag)

    def fileno(self) -> int:
        return self._real.fileno()

    def accept(self) -> tuple[socket.socket, object]:
        self.calls += 1
        if self._failures:
            code = self._failures.pop(0)
            raise OSError(code, os.strerror(code))
        return self._real.accept()


@pytest.mark.parametrize("code", [errno.ECONNABORTED, errno.EPERM, errno.EPROTO])
async def test_an_error_of_one_connection_does_not_stop_the_others(
    listening: socket.socket, eventually: Eventually, code: int
) -> None:
    accepted: list[socket.socket] = []
    scripted = Scripted(listening, code)
    acceptor = Acceptor(asyncio.get_running_loop(), scripted, accepted.append)  # type: ignore[arg-type]
    acceptor.start()
    with socket.create_connection(listening.getsockname()):
        await eventually(lambda: accepted, "the connection is accepted")
    acceptor.stop()
    accepted[0].close()


async def test_without_descriptors_it_sheds_rests_and_recovers(
    listening: socket.socket, eventually: Eventually
) -> None:
    accepted: list[socket.socket] = []
    acceptor = Acceptor(asyncio.get_running_loop(), listening, accepted.append)
    clients = [socket.create_connection(listening.getsockname()) for _ in range(3)]
    acceptor.start()
    await eventually(lambda: len(accepted) == 3, "the first are accepted")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    late = [socket.create_connection(listening.getsockname()) for _ in range(3)]
    # From now on no descriptor is left but those that are open.
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(int(name) for name in os.listdir("/proc/self/fd")) + 1, hard))
    fillers: list[int] = []
    try:
        while True:
            try:
                fillers.append(os.dup(0))
            except OSError:
                break
        await eventually(lambda: acceptor.shed >= 3, "those that can not be served are closed")
        for each in late:
            each.settimeout(1.0)
            assert each.recv(1) == b"", "a client was left hanging"
    finally:
        for fd in fillers:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    again = socket.create_connection(listening.getsockname())
    await eventually(lambda: len(accepted) == 4, "it accepts again")
    acceptor.stop()
    for each in (*clients, *late, *accepted, again):
        each.close()


async def test_while_it_rests_it_does_not_ask_again(listening: socket.socket, eventually: Eventually) -> None:
    scripted = Scripted(listening, *([errno.EMFILE] * 1000))
    acceptor = Acceptor(asyncio.get_running_loop(), scripted, lambda connection: None)  # type: ignore[arg-type]
    acceptor.start()
    with socket.create_connection(listening.getsockname()):
        await eventually(lambda: scripted.calls, "it has met the error")
        calls = scripted.calls
        for _ in range(100):  # rounds of the loop, far quicker than the rest takes
            await asyncio.sleep(0)
        assert scripted.calls == calls
        assert calls < 70
    acceptor.stop()


async def test_while_it_is_held_what_comes_stays_in_the_backlog(
    listening: socket.socket, eventually: Eventually
) -> None:
    accepted: list[socket.socket] = []
    acceptor = Acceptor(asyncio.get_running_loop(), listening, accepted.append)
    acceptor.hold(True)
    acceptor.start()
    with socket.create_connection(listening.getsockname()):
        for _ in range(100):
            await asyncio.sleep(0)
        assert accepted == []
        acceptor.hold(False)
        await eventually(lambda: accepted, "what waited is accepted")
    acceptor.stop()
    accepted[0].close()


async def test_a_rest_that_ends_while_it_is_held_does_not_accept(
    listening: socket.socket, eventually: Eventually
) -> None:
    scripted = Scripted(listening, errno.EMFILE, errno.EMFILE)
    accepted: list[socket.socket] = []
    acceptor = Acceptor(asyncio.get_running_loop(), scripted, accepted.append)  # type: ignore[arg-type]
    acceptor.start()
    with socket.create_connection(listening.getsockname()):
        await eventually(lambda: scripted.calls, "it rests")
        acceptor.hold(True)
        await asyncio.sleep(2 * PAUSE_S)
        assert accepted == []
        acceptor.hold(False)
        await eventually(lambda: accepted, "it accepts again")
    acceptor.stop()
    accepted[0].close()
