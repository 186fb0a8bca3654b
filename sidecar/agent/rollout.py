"""Keeps the workers of one mind: all are told of a snapshot, and it is good when each of them serves it.

One that is refused is taken back from those that had it. It starts no worker: the supervisor does, and tells of ends.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sidecar.agent.slots import Slot
from sidecar.agent.worker_process import WorkerProcess
from sidecar.config.messages import Applied, Apply, Refused
from sidecar.config.snapshot import Snapshot

MAX_DEATHS_PER_SNAPSHOT = 3
"""So many workers that end while applying one snapshot mean that the snapshot is the cause: it is refused."""


@dataclass(slots=True)
class _Target:
    """What the workers are to serve."""

    sequence: int
    snapshot: Snapshot
    outcome: "asyncio.Future[Refused | None]"
    deaths: int = 0

    def settle(self, outcome: Refused | None) -> None:
        """The first word counts."""
        if not self.outcome.done():
            self.outcome.set_result(outcome)


class Rollout:
    """`apply` one snapshot at a time."""

    def __init__(
        self, slots: Sequence[Slot], hung: Callable[[WorkerProcess, str], None], apply_timeout_s: float
    ) -> None:
        """`slots` is the supervisor's own list: as it changes, so does who has to agree. `hung(worker, how)` kills."""
        self._slots = slots
        self._hung = hung
        self._apply_timeout_s = apply_timeout_s
        self._sequence = 0
        self._target: _Target | None = None
        self.good: Snapshot | None = None
        """The last snapshot that all workers took."""

    @property
    def has_target(self) -> bool:
        """There is something to serve."""
        return self._target is not None

    def is_served_by(self, slot: Slot) -> bool:
        """Its worker serves what it is to serve."""
        return self._target is not None and slot.applied == self._target.sequence

    def is_awaited_from(self, slot: Slot) -> bool:
        """Its worker is to serve something and does not yet."""
        return self._target is not None and slot.applied != self._target.sequence

    async def apply(self, snapshot: Snapshot) -> Refused | None:
        """Have all workers serve it. None when they do; else why not, and they serve what they served before."""
        refused = await self._outcome(self._aim(snapshot))
        if refused is None:
            self.good = snapshot
        elif self.good is None:
            self._target = None
        else:
            self._aim(self.good)
        return refused

    def welcome(self, worker: WorkerProcess) -> None:
        """It has been started: what it is to serve is the first that it hears of."""
        if self._target is not None:
            worker.send(Apply(self._target.sequence, self._target.snapshot))

    def applied(self, slot: Slot, message: Applied) -> None:
        """Its worker serves another snapshot."""
        slot.applied = message.sequence
        slot.progress.set()
        self._settle()

    def refused(self, message: Refused) -> None:
        """A worker can not serve it."""
        if self._target is not None and message.sequence == self._target.sequence:
            self._target.settle(message)

    def ended(self, slot: Slot, status: int) -> None:
        """Its worker has ended unasked, perhaps over the snapshot."""
        target = self._target
        if target is not None and slot.applied != target.sequence and not target.outcome.done():
            target.deaths += 1
            if target.deaths >= MAX_DEATHS_PER_SNAPSHOT:
                why = f"{target.deaths} workers ended while applying it, the last with status {status}"
                target.settle(Refused(target.sequence, "", "", why))
        self._settle()

    def _aim(self, snapshot: Snapshot) -> _Target:
        self._sequence += 1
        self._target = _Target(self._sequence, snapshot, asyncio.get_running_loop().create_future())
        for slot in self._slots:
            if slot.worker is not None:
                self.welcome(slot.worker)
        return self._target

    def _settle(self) -> None:
        """The target is reached when every running worker serves it. One that is being replaced gets it first thing."""
        target = self._target
        running = [slot for slot in self._slots if slot.worker is not None]
        if target is not None and running and all(slot.applied == target.sequence for slot in running):
            target.settle(None)

    async def _outcome(self, target: _Target) -> Refused | None:
        while True:
            done, _ = await asyncio.wait([target.outcome], timeout=self._apply_timeout_s)
            if done:
                return target.outcome.result()
            for slot in self._slots:
                if slot.worker is not None and slot.applied != target.sequence:
                    self._hung(slot.worker, "does not answer")
