"""Tasks that belong to someone: a scope starts them, reports their failure and, closing, cancels and awaits them. And a
process's own life: when it is to stop, and how it tells its parent that it serves."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Callable, Coroutine, Mapping
from types import TracebackType
from typing import Any


class TaskScope:
    """Owns background tasks. `async with` it, or call `close`; either way no task outlives the scope.

    A task that fails ends the scope: `failed` is set with its exception, which `wait_failed` raises. A
    component decides for itself what it survives, by catching inside its own coroutine.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._failure: asyncio.Future[None] | None = None
        self._closed = False

    def spawn(self, coroutine: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
        """Start a task of this scope."""
        if self._closed:
            coroutine.close()
            raise RuntimeError(f"cannot start {name!r}: its scope is closed")
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            return
        failure = self._failure_future()
        if not failure.done():
            failure.set_exception(error)
            failure.exception()  # marks it retrieved: close() without wait_failed() must not warn

    def _failure_future(self) -> "asyncio.Future[None]":
        if self._failure is None:
            self._failure = asyncio.get_running_loop().create_future()
        return self._failure

    async def wait_failed(self) -> None:
        """Return never, raise what the first failed task raised."""
        await asyncio.shield(self._failure_future())

    async def close(self) -> None:
        """Cancel every task and await them."""
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._failure is not None and not self._failure.done():
            self._failure.cancel()

    async def __aenter__(self) -> "TaskScope":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def on_stop_signals(stop: Callable[[], None]) -> Callable[[], None]:
    """Call `stop` on SIGTERM and SIGINT of the running loop's process; returns what undoes it."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    for each in signals:
        loop.add_signal_handler(each, stop)

    def undo() -> None:
        for each in signals:
            with contextlib.suppress(RuntimeError):
                loop.remove_signal_handler(each)

    return undo


async def follow_lifeline(fd: int, stop: Callable[[], object]) -> None:
    """Call `stop` when the other end of the inherited pipe `fd` closes, that is, when the parent process is gone."""
    loop = asyncio.get_running_loop()
    gone = loop.create_future()

    def readable() -> None:
        if not gone.done():
            gone.set_result(None)

    loop.add_reader(fd, readable)
    try:
        await gone
    finally:
        loop.remove_reader(fd)
    stop()


def announce(ready_fd: int | None, ready: Mapping[str, str]) -> None:
    """Tell the parent process that we serve, and where: one line of JSON on the descriptor that it waits at, if it
    does. Raises OSError."""
    if ready_fd is not None:
        with os.fdopen(ready_fd, "w") as file:
            file.write(json.dumps(ready) + "\n")
