"""The collectors' store as the pages ask it: off the event loop, found again when it appears or was broken."""

import asyncio
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from collectors.store import QueryTooSlow, Reader, StoreError, StoreMissing

T = TypeVar("T")

ANSWER_WITHIN_S = 12.0
"""A page gives up on a question after this, a little longer than the reader's own limit."""

MAX_WAITING = 32
"""Questions of all pages together; a store that slow is reported, not piled upon."""


class TelemetryUnavailable(Exception):
    """There is no answer; the text tells the user why."""


class TelemetryMissing(TelemetryUnavailable):
    """Nothing was ever collected."""


class Telemetry:
    """Asks the store's reader from one thread of its own, opening it when it is first needed."""

    def __init__(self, path: Path, open_reader: Callable[[Path], Reader] = Reader.open) -> None:
        self._path = path
        self._open_reader = open_reader
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._reader: Reader | None = None
        self._waiting = 0
        self._shared: dict[Hashable, asyncio.Future[Any]] = {}

    async def ask(self, question: Callable[[Reader], T]) -> T:
        """Answer a question to the store. Raises TelemetryUnavailable."""
        return await self._answer(self._submit(question))

    async def share(self, key: Hashable, question: Callable[[Reader], T]) -> T:
        """Like `ask`, but pages that put the question `key` at the same time get one answer."""
        running = self._shared.get(key)
        if running is None:
            running = self._shared[key] = self._submit(question)
            running.add_done_callback(lambda _: self._shared.pop(key, None))
        return await self._answer(running)

    def _submit(self, question: Callable[[Reader], T]) -> "asyncio.Future[T]":
        if self._waiting >= MAX_WAITING:
            raise TelemetryUnavailable("The telemetry store answers too slowly.")
        future = asyncio.get_running_loop().run_in_executor(self._thread, self._run, question)
        self._waiting += 1
        future.add_done_callback(self._done)
        return future

    def _done(self, future: "asyncio.Future[Any]") -> None:
        self._waiting -= 1
        if not future.cancelled():
            future.exception()  # marks it retrieved: the page may have given up waiting

    @staticmethod
    async def _answer(future: "asyncio.Future[T]") -> T:
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                # Shielded: other pages may wait for the same answer.
                return await asyncio.shield(future)
        except TimeoutError:
            raise TelemetryUnavailable("The telemetry store answers too slowly.") from None

    def _run(self, question: Callable[[Reader], T]) -> T:
        """Runs in the thread."""
        try:
            if self._reader is None:
                self._reader = self._open_reader(self._path)
            return question(self._reader)
        except StoreMissing:
            self._drop_reader()
            raise TelemetryMissing("No telemetry yet: the collector has not written its store.") from None
        except QueryTooSlow as error:
            raise TelemetryUnavailable(f"The question takes too long: {error}.") from error
        except (StoreError, OSError) as error:
            # The file may be damaged, replaced or locked: start over with the next question.
            self._drop_reader()
            raise TelemetryUnavailable(f"The telemetry store cannot be read: {error}.") from error

    def _drop_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    async def close(self) -> None:
        """Close the reader, after the questions that wait."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._drop_reader)
        self._thread.shutdown(wait=True)
