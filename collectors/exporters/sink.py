"""What a delivery hands its batches to: one back end behind one client. A sink keeps nothing and waits for nothing but
its back end: buffering, trying again and the dead-letter file are the delivery's.
"""

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from collectors.records import Batch, LogRecord, Sample, SpanRecord


class Unavailable(Exception):
    """The back end took nothing of the batch, and may take it later: no connection, a time-out, 429, 5xx, 401."""

    def __init__(self, why: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(why)
        self.retry_after_s = retry_after_s
        """What the back end asked for, seconds."""


class TooLarge(Exception):
    """The back end takes no batch of this size (413); half of it may pass."""


class Failed(Exception):
    """The back end failed at the batch, and does not say whether a record in it is to blame (500, INTERNAL): it is
    tried again as it is with back-off, then in halves, so that a record that it always fails at becomes a dead
    letter."""


class Refusal(NamedTuple):
    """A record that the back end will never take."""

    record: LogRecord | SpanRecord | Sample
    why: str
    """In the back end's words, shortened; without credentials."""


@dataclass(slots=True)
class Outcome:
    """What became of a batch that was not taken whole. What is named in neither list is stored for good."""

    again: Batch = field(default_factory=Batch)
    """To be sent again: the back end was too busy for these."""
    refused: list[Refusal] = field(default_factory=list)
    retry_after_s: float | None = None


class Sink(Protocol):
    """One back end. Sending the same record twice must store it once: sinks derive ids from the records' own."""

    async def send(self, batch: Batch) -> Outcome:
        """Return once the back end has answered for every record. Raises Unavailable, TooLarge, Failed."""

    async def close(self) -> None:
        """Give up connections."""
