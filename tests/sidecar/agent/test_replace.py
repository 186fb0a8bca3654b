"""Replacing workers on purpose: the new one serves before the old one drains, and failing leaves all as it was."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from sidecar.agent.supervisor import CannotReplace
from tests.sidecar.agent.test_supervisor import Start, snapshot
from tests.sidecar.agent.test_supervisor import start as start

Eventually = Callable[..., Awaitable[None]]


async def test_another_worker_serves_before_the_old_one_drains(start: Start, eventually: Eventually) -> None:
    workers = start(2)
    await workers.supervisor.apply(snapshot("one"))
    await eventually(lambda: workers.supervisor.running == 2, "both serve")
    former = set(workers.pids())

    assert await workers.supervisor.replace(1.0) == 2

    assert not former & set(workers.pids())
    assert workers.supervisor.running == 2
    await eventually(lambda: len(workers.telemetry.gone) == 2, "the old ones have left")
    assert workers.supervisor.restarts == 0
    assert workers.telemetry.records, "what the old ones said last was lost"


async def test_a_snapshot_that_comes_later_reaches_the_new_one(start: Start, eventually: Eventually) -> None:
    workers = start(1)
    await workers.supervisor.apply(snapshot("one"))
    await workers.supervisor.replace(1.0)

    assert await workers.supervisor.apply(snapshot("two")) is None

    assert workers.telemetry.metrics[-1][1].counters[0].labels == (("version", "two"),)


async def test_without_a_snapshot_nothing_is_replaced(start: Start) -> None:
    workers = start(1)
    with pytest.raises(CannotReplace, match="no worker serves"):
        await workers.supervisor.replace(1.0)


async def test_one_replacement_at_a_time(start: Start) -> None:
    workers = start(1)
    await workers.supervisor.apply(snapshot("one"))
    first = asyncio.create_task(workers.supervisor.replace(1.0))
    await asyncio.sleep(0)
    with pytest.raises(CannotReplace, match="already"):
        await workers.supervisor.replace(1.0)
    assert await first == 1
