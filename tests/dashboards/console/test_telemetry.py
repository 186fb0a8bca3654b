import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from collectors.store import QueryTooSlow, Reader, StoreError, StoreMissing
from dashboards.console import telemetry
from dashboards.console.telemetry import Telemetry, TelemetryMissing, TelemetryUnavailable


class FakeReader:
    """Answers with a number that grows; fails as it is told."""

    def __init__(self) -> None:
        self.asked = 0
        self.failure: Exception | None = None
        self.closed = False

    def ask(self) -> int:
        if self.failure is not None:
            raise self.failure
        self.asked += 1
        return self.asked

    def close(self) -> None:
        self.closed = True


class Opener:
    """Gives out readers; there is no store as long as `missing`."""

    def __init__(self) -> None:
        self.missing = False
        self.readers: list[FakeReader] = []

    def __call__(self, path: Path) -> Reader:
        if self.missing:
            raise StoreMissing(f"nothing at {path}")
        self.readers.append(FakeReader())
        return cast(Reader, self.readers[-1])


def question(reader: Any) -> int:
    return int(reader.ask())


async def test_the_reader_is_opened_once_and_closed_in_the_end() -> None:
    opener = Opener()
    source = Telemetry(Path("x"), opener)
    assert [await source.ask(question) for _ in range(3)] == [1, 2, 3]
    await source.close()
    assert [reader.closed for reader in opener.readers] == [True]


async def test_a_store_that_comes_later_is_found() -> None:
    opener = Opener()
    opener.missing = True
    source = Telemetry(Path("x"), opener)
    with pytest.raises(TelemetryMissing, match="No telemetry yet"):
        await source.ask(question)
    opener.missing = False
    assert await source.ask(question) == 1
    await source.close()


async def test_a_broken_store_is_opened_anew() -> None:
    opener = Opener()
    source = Telemetry(Path("x"), opener)
    await source.ask(question)
    opener.readers[0].failure = StoreError("disk image is malformed")
    with pytest.raises(TelemetryUnavailable, match="malformed"):
        await source.ask(question)
    assert await source.ask(question) == 1
    assert [reader.closed for reader in opener.readers] == [True, False]
    await source.close()


async def test_a_question_that_takes_too_long_says_so_and_keeps_the_reader() -> None:
    opener = Opener()
    source = Telemetry(Path("x"), opener)
    await source.ask(question)
    opener.readers[0].failure = QueryTooSlow("stopped after 10 s")
    with pytest.raises(TelemetryUnavailable, match="too long"):
        await source.ask(question)
    assert not opener.readers[0].closed
    await source.close()


async def test_pages_that_ask_the_same_at_the_same_time_share_the_answer() -> None:
    opener = Opener()
    source = Telemetry(Path("x"), opener)
    answers = await asyncio.gather(*(source.share("graph", question) for _ in range(5)))
    assert answers == [1] * 5
    assert await source.share("graph", question) == 2
    await source.close()


async def test_a_store_that_hangs_is_not_piled_upon(eventually: Callable[..., Awaitable[None]]) -> None:
    opener = Opener()
    source = Telemetry(Path("x"), opener)
    held = threading.Event()

    def hang(reader: Any) -> int:
        held.wait(20)
        return int(reader.ask())

    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(source.ask(hang)) for _ in range(telemetry.MAX_WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(TelemetryUnavailable, match="too slowly"):
            await source.ask(question)
        held.set()
    assert [task.result() for task in waiting] == list(range(1, telemetry.MAX_WAITING + 1))
    assert await source.ask(question) == telemetry.MAX_WAITING + 1
    await source.close()


async def test_a_page_that_leaves_takes_no_answer_from_the_others() -> None:
    opener = Opener()
    source = Telemetry(Path("x"), opener)
    held = threading.Event()

    def hang(reader: Any) -> int:
        held.wait(20)
        return int(reader.ask())

    async with asyncio.TaskGroup() as group:
        leaving = group.create_task(source.share("graph", hang))
        staying = group.create_task(source.share("graph", hang))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.sleep(0)
        held.set()
    assert staying.result() == 1
    await source.close()
