"""No task outlives its scope, and no failure is lost."""

import asyncio
import os
import signal

import pytest

from mesh.lifecycle import TaskScope, announce, follow_lifeline, on_stop_signals


async def test_closing_cancels_and_awaits_every_task() -> None:
    ended: list[str] = []

    async def work(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(name)

    async with TaskScope() as scope:
        scope.spawn(work("a"), name="a")
        scope.spawn(work("b"), name="b")
        await asyncio.sleep(0)
    assert sorted(ended) == ["a", "b"]


async def test_a_failed_task_fails_who_waits_for_the_scope() -> None:
    async def fail() -> None:
        raise LookupError("broken")

    async with TaskScope() as scope:
        scope.spawn(fail(), name="fail")
        with pytest.raises(LookupError, match="broken"):
            await scope.wait_failed()


async def test_a_failure_that_nobody_waits_for_does_not_warn() -> None:
    async def fail() -> None:
        raise LookupError

    async with TaskScope() as scope:
        task = scope.spawn(fail(), name="fail")
        await asyncio.wait([task])


async def test_a_closed_scope_starts_nothing() -> None:
    scope = TaskScope()
    await scope.close()
    with pytest.raises(RuntimeError, match="'late'"):
        scope.spawn(asyncio.sleep(0), name="late")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_stop_signals_call_stop_until_undone(number: signal.Signals) -> None:
    stopped = asyncio.Event()
    undo = on_stop_signals(stopped.set)
    try:
        os.kill(os.getpid(), number)
        async with asyncio.timeout(5):
            await stopped.wait()
    finally:
        undo()


async def test_the_lifeline_ends_when_its_other_end_closes() -> None:
    read_end, write_end = os.pipe()
    try:
        async with TaskScope() as scope:
            gone = asyncio.Event()
            waiting = scope.spawn(follow_lifeline(read_end, gone.set), name="lifeline")
            # The loop looks at descriptors once a turn: in the second turn it had looked, and found nothing.
            for _ in range(3):
                await asyncio.sleep(0)
            assert not waiting.done()
            os.close(write_end)
            async with asyncio.timeout(5):
                await gone.wait()
    finally:
        os.close(read_end)


def test_a_process_that_serves_says_so_in_one_line_and_closes() -> None:
    read_end, write_end = os.pipe()
    announce(write_end, {"url": "http://127.0.0.1:1"})
    with os.fdopen(read_end) as said:
        assert said.read() == '{"url": "http://127.0.0.1:1"}\n'
    announce(None, {})
