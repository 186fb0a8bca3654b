"""What every test gets: nothing leaks, and waiting is for a condition with a deadline."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from hypothesis import settings

# How long an example takes says more about what else the machine does; pytest-timeout ends what hangs.
settings.register_profile("usual", deadline=None)
settings.register_profile("deep", deadline=None, max_examples=5000)
settings.load_profile("usual")

LEAK_GRACE_S = 1.0
"""What a task that is ending may take to end, on a busy machine."""


@pytest.fixture(autouse=True)
async def no_leaked_tasks() -> AsyncIterator[None]:
    """A task that outlives its test fails it. What ends by itself in a moment (gRPC's own tasks do) is no leak."""
    yield
    deadline = time.monotonic() + LEAK_GRACE_S
    while leaked := _others():
        assert time.monotonic() < deadline, f"tasks outlive their test: {leaked}"
        await asyncio.sleep(0.01)


def _others() -> list[asyncio.Task[object]]:
    current = asyncio.current_task()
    found = [task for task in asyncio.all_tasks() if task is not current and not task.done()]
    return [task for task in found if "no_leaked_tasks" not in repr(task.get_coro()) and "pytest" not in repr(task)]


@pytest.fixture
def eventually() -> Callable[..., Awaitable[None]]:
    """`await eventually(condition, "what", within=5)`: poll until `condition()` (sync or async) is true."""

    async def wait(condition: Callable[[], object], what: str, *, within: float = 5.0) -> None:
        deadline = time.monotonic() + within
        while True:
            result = condition()
            if asyncio.iscoroutine(result):
                result = await result
            if result:
                return
            assert time.monotonic() < deadline, f"not within {within} s: {what}"
            await asyncio.sleep(0.01)

    return wait


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite golden files from what the code does now")
    parser.addoption("--soak", action="store_true", help="let tests under load run a minute instead of ten seconds")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are rewritten rather than compared."""
    return bool(request.config.getoption("--update-golden"))
