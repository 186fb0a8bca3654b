"""What a measured system is to the bench."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tests.bench.cases import Case
from tests.bench.ground import Ground
from tests.bench.load import Entry
from tests.bench.processes import Process


@dataclass(frozen=True, slots=True)
class Running:
    """A system, started for one case."""

    entry: Entry
    proxies: tuple[Process, ...]
    """Roots of the process trees whose CPU and memory count."""
    check: Callable[[], None] = lambda: None
    """Called at the end: raises Failed if the system did not do what it should have beside forwarding."""


class System(Protocol):
    """One of cases.SYSTEMS."""

    name: str

    def missing(self) -> str | None:
        """What to install; None: it is there."""

    def version(self) -> str:
        """For the report."""

    def can(self, case: Case) -> bool:
        """Whether it does such a thing at all."""

    def running(self, case: Case, ground: Ground) -> contextlib.AbstractContextManager[Running]:
        """Started within the block. Raises Failed."""
