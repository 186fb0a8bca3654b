"""The node agent's decisions: which pods are due, what came of it, and when they are looked at again.

What is where is asked of /proc each time; nothing is kept on disk. An agent that is started anew finds every pod again,
and the rules in place.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from control.kubernetes.backoff import Backoff
from control.kubernetes.reflector import Name
from mesh.clock import Clock
from mesh.lifecycle import TaskScope
from remora.node import processes
from remora.node.capture import CaptureFailed, Capturer
from remora.node.events import Warned
from remora.node.metrics import Metrics, State
from remora.node.pods import NodePod
from remora.node.processes import Network, NetworkId, Process, Unreadable

_log = logging.getLogger("remora.node")

Found = tuple[NetworkId, Process]


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds."""

    scan_s: float = 0.1
    """Between two looks through /proc at least."""
    most_wait_s: float = 1.0
    """A pod without a process is looked for this often at last; its image may be on its way."""
    first_retry_s: float = 0.5
    most_retry_s: float = 30.0
    again_s: float = 60.0
    """A captured pod's network is looked at this often: the runtime may have had to make it anew."""
    repeat_s: float = 600.0
    """The same trouble of the same pod is told again after this long."""


@dataclass(slots=True)
class _Entry:
    """A pod that is there."""

    name: Name
    pod: NodePod
    due_at: float
    waits: Backoff
    retries: Backoff
    state: State = State.WAITING
    captured: Found | None = None
    """Where the rules are."""
    busy: bool = False
    """It is looked at now."""
    told: dict[str, float] = field(default_factory=dict)
    """Trouble, and when it was told last."""


class Agent:
    """`run` it in a TaskScope; `changed` is a reflector's on_change."""

    def __init__(
        self,
        proc: Path,
        capture: Capturer,
        warn: Callable[[Warned], None],
        metrics: Metrics,
        clock: Clock,
        rng: random.Random,
        pace: Pace = Pace(),
    ) -> None:
        self._proc = proc
        self._capture = capture
        self._warn = warn
        self._metrics = metrics
        self._clock = clock
        self._rng = rng
        self._pace = pace
        self._entries: dict[Name, _Entry] = {}
        self._wake = asyncio.Event()

    def states(self) -> dict[Name, State]:
        """As they are."""
        return {name: entry.state for name, entry in self._entries.items()}

    def changed(self, name: Name, before: NodePod | None, after: NodePod | None) -> None:
        """A pod came, is another, or went."""
        if after is None:
            self._entries.pop(name, None)
            self._count()
            return
        entry = self._entries.get(name)
        if entry is None or before is None or before.uid != after.uid:
            pace = self._pace
            self._entries[name] = entry = _Entry(
                name,
                after,
                0.0,
                Backoff(self._rng, first_s=pace.scan_s, most_s=pace.most_wait_s),
                Backoff(self._rng, first_s=pace.first_retry_s, most_s=pace.most_retry_s),
            )
        entry.pod = after
        entry.due_at = self._clock.monotonic()
        entry.waits.reset()
        if after.problem:
            self._refuse(entry)
        elif entry.state is State.REFUSED:
            entry.state = State.WAITING
        self._count()
        self._wake.set()

    async def run(self, scope: TaskScope) -> None:
        """For ever; pods are looked at in tasks of `scope`. Raises Unreadable where this is not the place for it."""
        never = processes.nodes_own(self._proc)
        while True:
            self._wake.clear()
            now = self._clock.monotonic()
            wanted = [each for each in self._entries.values() if _is_wanted(each)]
            if any(each.due_at <= now for each in wanted):
                # One look is for all; that the captured ones are where they were costs nothing more.
                await self._turn([each for each in wanted if each.due_at <= now or each.captured], never, scope)
                await asyncio.sleep(self._pace.scan_s)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, min((each.due_at for each in wanted), default=now + 3600) - now)):
                    await self._wake.wait()

    async def _turn(self, entries: Sequence[_Entry], never: frozenset[NetworkId], scope: TaskScope) -> None:
        for entry in entries:
            entry.busy = True
        began = self._clock.monotonic()
        uids = {each.pod.uid for each in entries}
        found = await asyncio.to_thread(processes.find, self._proc, uids)
        self._metrics.scans.observe(self._clock.monotonic() - began)
        for entry in entries:
            # One that hangs holds up no other.
            scope.spawn(self._look(entry, found.get(entry.pod.uid, ()), never), name=f"pod {'/'.join(entry.name)}")

    async def _look(self, entry: _Entry, of: Sequence[Process], never: frozenset[NetworkId]) -> None:
        pod = entry.pod
        try:
            await self._look_into(entry, of, never)
        finally:
            entry.busy = False
            if entry.pod is not pod:
                entry.due_at = self._clock.monotonic()  # what was said of it meanwhile is not lost
            self._count()
            self._wake.set()

    async def _look_into(self, entry: _Entry, of: Sequence[Process], never: frozenset[NetworkId]) -> None:
        try:
            with processes.network(self._proc, entry.pod.uid, of, never) as network:
                if network is not None:
                    await self._have(entry, network)
                    return
        except Unreadable as error:
            self._failed(entry, str(error))
            return
        if entry.state is State.CAPTURED:
            # Its processes are gone: it ends, or the runtime makes its sandbox anew.
            entry.state, entry.captured = State.WAITING, None
        entry.due_at = self._clock.monotonic() + entry.waits.next_s()

    async def _have(self, entry: _Entry, network: Network) -> None:
        """Have the pod captured in that network."""
        at = (network.id, network.process)
        if entry.captured == at:
            entry.due_at = self._clock.monotonic() + entry.waits.about_s(self._pace.again_s)
            return
        uid, flags = entry.pod.uid, entry.pod.flags
        began = self._clock.monotonic()
        try:
            done = await self._capture(network.handle, flags)
        except CaptureFailed as error:
            if self._entries.get(entry.name) is entry:
                self._failed(entry, str(error))
            return
        if self._entries.get(entry.name) is not entry:
            return  # it went meanwhile, and its network with it
        took_s = self._clock.monotonic() - began
        self._metrics.seconds.observe(took_s)
        self._metrics.captures.labels("applied" if done.changed else "unchanged").inc()
        where = (*entry.name, uid, network.process.pid, took_s, done.said)
        _log.info("pod %s/%s (%s, process %d) is captured after %.2f s: %s", *where)
        entry.state, entry.captured = State.CAPTURED, at
        entry.told.clear()
        entry.retries.reset()
        entry.due_at = self._clock.monotonic() + entry.waits.about_s(self._pace.again_s)

    # What did not go well.

    def _failed(self, entry: _Entry, why: str) -> None:
        entry.state, entry.captured = State.FAILED, None
        self._metrics.captures.labels("failed").inc()
        retry_s = entry.retries.next_s()
        entry.due_at = self._clock.monotonic() + retry_s
        self._tell(entry, "CaptureFailed", f"the pod's connections are not captured: {why}", "; it is tried again")

    def _refuse(self, entry: _Entry) -> None:
        if entry.state is not State.REFUSED:
            self._metrics.captures.labels("refused").inc()
        entry.state, entry.captured = State.REFUSED, None
        self._tell(entry, "CaptureRefused", f"the pod's connections are not captured: {entry.pod.problem}", "")

    def _tell(self, entry: _Entry, reason: str, message: str, more: str) -> None:
        now = self._clock.monotonic()
        last = entry.told.get(message)
        if last is not None and now - last < self._pace.repeat_s:
            return
        entry.told = {message: now}
        _log.error("pod %s/%s: %s%s", *entry.name, message, more)
        self._warn(Warned(*entry.name, entry.pod.uid, reason, message + more))

    def _count(self) -> None:
        states = [each.state for each in self._entries.values()]
        for state in State:
            self._metrics.pods.labels(state.value).set(states.count(state))


def _is_wanted(entry: _Entry) -> bool:
    return entry.pod.started and not entry.busy and entry.state is not State.REFUSED
