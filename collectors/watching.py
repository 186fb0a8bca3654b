"""Parts with tasks of their own: whoever runs them learns that one failed by a mistake of ours."""

from collections.abc import Iterable
from typing import Protocol

from mesh.lifecycle import TaskScope


class Watched(Protocol):
    """A `TaskScope` is one."""

    async def wait_failed(self) -> None:
        """Return never, raise what ended one of its tasks."""


async def wait_any_failed(parts: Iterable[Watched]) -> None:
    """Return never, raise what ended a task of the first part that failed."""
    async with TaskScope() as scope:
        for part in parts:
            scope.spawn(part.wait_failed(), name="watch")
        await scope.wait_failed()
