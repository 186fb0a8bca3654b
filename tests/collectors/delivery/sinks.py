"""Back ends for tests of delivery: they do as they are told, and keep what they are sent."""

import asyncio
from collections.abc import Callable

from collectors.exporters.sink import Outcome
from collectors.records import Batch, LogRecord

Answer = Callable[[Batch], Outcome]


class FakeBackEnd:
    """A sink. `answers` are used up one by one: an exception is raised, a function makes the outcome.

    While `open` is not set it does not answer."""

    def __init__(self, *answers: Exception | Answer) -> None:
        self.answers = list(answers)
        self.open = asyncio.Event()
        self.open.set()
        self.requests: list[Batch] = []
        self.under_way = 0
        self.most_under_way = 0
        self.stored: list[str] = []
        """Ids, in the order of answers; twice where it was sent twice."""
        self.closed = False

    async def send(self, batch: Batch) -> Outcome:
        self.requests.append(batch)
        self.under_way += 1
        self.most_under_way = max(self.under_way, self.most_under_way)
        try:
            await self.open.wait()
        finally:
            self.under_way -= 1
        outcome = Outcome()
        if self.answers:
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            outcome = answer(batch)
        missing = set(ids(outcome.again))
        missing |= {refusal.record.id for refusal in outcome.refused if isinstance(refusal.record, LogRecord)}
        self.stored += [record for record in ids(batch) if record not in missing]
        return outcome

    async def close(self) -> None:
        self.closed = True


def ids(batch: Batch) -> list[str]:
    """Of its log records."""
    return [record.id for record in batch.logs]
