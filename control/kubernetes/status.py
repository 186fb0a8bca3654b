"""Status conditions written back: what the mesh makes of an object, where `kubectl describe` shows it.

Only the leader writes, by server-side apply of its own conditions; what others say of the object stays theirs.
https://kubernetes.io/docs/reference/using-api/api-concepts/ and metav1.Condition.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge

from control.kubernetes.apply import apply
from control.kubernetes.backoff import Backoff
from control.kubernetes.client import KubeClient
from control.kubernetes.errors import ApiError
from control.kubernetes.resources import ApiResource
from mesh.clock import Clock

_log = logging.getLogger("control.kubernetes")

MAX_MESSAGE_CHARACTERS = 4096
"""metav1.Condition allows 32768; a person reads a page."""
OURS = ("Accepted", "Analyzed", "Programmed", "ResolvedRefs")
"""Accepted: the mesh takes the object as it is. Analyzed: nothing is to be said of it beside the others. Of Gateways:
Programmed: a gateway serves it, at an address. ResolvedRefs: the Secrets that it names can be used."""
Addresses = tuple[tuple[str, str], ...]
"""(type, value) of a Gateway's."""
WRITES_AT_ONCE = 4
PAUSE_S = 0.02
"""After each write: at most 200 a second, so that ten thousand new objects do not fill the API server's queues."""
LEADER_POLL_S = 1.0
FORBIDDEN_RETRY_S = 30.0


@dataclass(frozen=True, slots=True)
class Condition:
    """One of an object's."""

    type: str
    status: str
    """`True` or `False`."""
    reason: str
    message: str
    generation: int = 0
    """Of the object that was looked at."""


@dataclass(frozen=True, slots=True)
class Reported:
    """An object's conditions that are ours, and since when each has its status (RFC 3339)."""

    conditions: tuple[Condition, ...] = ()
    since: tuple[str, ...] = ()
    addresses: Addresses = ()


UNREPORTED = Reported()
"""Nothing has been said of it yet."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose status it is."""

    resource: ApiResource
    kind: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class _Wanted:
    conditions: tuple[Condition, ...]
    addresses: Addresses
    reported: Reported


def reported(found: Mapping[str, Any]) -> Reported:
    """Ours among the conditions of an object. Never raises: a status is anybody's text."""
    status = found.get("status")
    listed = status.get("conditions") if isinstance(status, Mapping) else None
    mine: dict[str, tuple[Condition, str]] = {}
    for each in listed if isinstance(listed, list) else ():
        if isinstance(each, Mapping) and each.get("type") in OURS:
            generation = each.get("observedGeneration")
            condition = Condition(
                each["type"],
                str(each.get("status", "")),
                str(each.get("reason", "")),
                str(each.get("message", "")),
                generation if isinstance(generation, int) else 0,
            )
            mine[condition.type] = condition, str(each.get("lastTransitionTime", ""))
    pairs = [mine[name] for name in OURS if name in mine]
    return Reported(
        tuple(condition for condition, _ in pairs),
        tuple(since for _, since in pairs),
        _addresses(status.get("addresses") if isinstance(status, Mapping) else None),
    )


def _addresses(listed: object) -> Addresses:
    found = [each for each in listed if isinstance(each, Mapping)] if isinstance(listed, list) else []
    return tuple((str(each.get("type", "")), str(each.get("value", ""))) for each in found)


def message_of(lines: Iterable[str]) -> str:
    """One text of several findings, bounded."""
    found = list(lines)
    text, left = "", len(found)
    for line in found:
        longer = f"{text}; {line}" if text else line
        if len(longer) > MAX_MESSAGE_CHARACTERS - 20:
            return f"{text}; and {left} more" if text else line[: MAX_MESSAGE_CHARACTERS - 1] + "…"
        text, left = longer, left - 1
    return text


class StatusWriter:
    """`want` from anywhere in the loop; `run` in a task. An object's newest wish is the one that is written."""

    def __init__(
        self,
        client: KubeClient,
        clock: Clock,
        rng: random.Random,
        may_write: Callable[[], bool],
        registry: CollectorRegistry,
    ) -> None:
        self._client = client
        self._clock = clock
        self._may_write = may_write
        self._backoff = Backoff(rng)
        self._wanted: dict[Subject, _Wanted] = {}
        self._written: dict[Subject, tuple[tuple[Condition, ...], Addresses]] = {}
        """What was written is not written again: a control plane of another revision, which sees it otherwise, would
        answer for ever. What an object says and was wished counts as written."""
        self._writing: set[Subject] = set()
        self._woken = asyncio.Event()
        self._said_forbidden: set[str] = set()
        self._writes = Counter(
            "remora_status_writes", "Status conditions written back, by outcome", ("outcome",), registry=registry
        )
        waiting = Gauge("remora_status_writes_waiting", "Objects whose status is to be written", registry=registry)
        waiting.set_function(lambda: float(len(self._wanted)))

    def want(
        self, subject: Subject, conditions: tuple[Condition, ...], known: Reported, addresses: Addresses = ()
    ) -> None:
        """`known` is what the object says now; if that is it, there is nothing to write."""
        wish = (conditions, addresses)
        if subject not in self._writing:  # else nobody knows what it says: its watch and the answer race
            if wish == (known.conditions, known.addresses):
                self._written[subject] = wish
            if wish == self._written.get(subject):
                self._wanted.pop(subject, None)
                return
        self._wanted[subject] = _Wanted(conditions, addresses, known)
        self._woken.set()

    def forget(self, subject: Subject) -> None:
        """It is gone."""
        self._wanted.pop(subject, None)
        self._written.pop(subject, None)

    @property
    def waiting(self) -> int:
        """How many objects' status is to be written."""
        return len(self._wanted)

    async def run(self) -> None:
        """For ever."""
        while True:
            await self._woken.wait()
            if not self._wanted:
                self._woken.clear()
            elif not self._may_write():
                await asyncio.sleep(LEADER_POLL_S)  # the leader's writes come by the watch, and end our wish
            else:
                await asyncio.sleep(await self._round())

    async def _round(self) -> float:
        """Write a few; how long to wait before the next ones, in seconds."""
        some = list(self._wanted.items())[:WRITES_AT_ONCE]
        outcomes = await asyncio.gather(*(self._write(subject, wanted) for subject, wanted in some))
        failures = [outcome for outcome in outcomes if outcome is not None]
        if not failures:
            self._backoff.reset()
            return PAUSE_S
        # Behind the others: one that cannot be written does not keep them from theirs.
        for subject, wanted in some:
            if self._wanted.get(subject) is wanted:
                del self._wanted[subject]
                self._wanted[subject] = wanted
        return max(failures)

    async def _write(self, subject: Subject, wanted: _Wanted) -> float | None:
        """None where it is done with, else how long to wait before it is tried again."""
        status: dict[str, Any] = {"conditions": [self._condition(each, wanted.reported) for each in wanted.conditions]}
        if wanted.addresses:
            status["addresses"] = [{"type": kind, "value": value} for kind, value in wanted.addresses]
        document = {
            "apiVersion": subject.resource.api_version,
            "kind": subject.kind,
            "metadata": {"name": subject.name, "namespace": subject.namespace},
            "status": status,
        }
        self._writing.add(subject)
        try:
            await apply(self._client, subject.resource, document, subresource="status")
        except ApiError as error:
            return self._failed(subject, wanted, error)
        finally:
            self._writing.discard(subject)
        self._writes.labels("written").inc()
        self._done(subject, wanted)
        return None

    def _failed(self, subject: Subject, wanted: _Wanted, error: ApiError) -> float | None:
        if error.forbidden:
            self._writes.labels("forbidden").inc()
            if subject.kind not in self._said_forbidden:
                self._said_forbidden.add(subject.kind)
                _log.error("%s; what is wrong with a %s is said in the log alone", error, subject.kind)
            return FORBIDDEN_RETRY_S
        if error.passing or error.conflict:
            self._writes.labels("failed").inc()
            return self._backoff.next_s(error.retry_after_s)
        # Gone meanwhile, or a CRD without a status: trying again would come to the same.
        self._writes.labels("gone" if error.not_found else "refused").inc()
        if not error.not_found:
            _log.warning(
                "the status of %s %s/%s is not written: %s", subject.kind, subject.namespace, subject.name, error
            )
        self._done(subject, wanted)
        return None

    def _done(self, subject: Subject, wanted: _Wanted) -> None:
        newest = self._wanted.get(subject)
        if newest is None:
            return  # it is forgotten
        self._written[subject] = wanted.conditions, wanted.addresses
        if (newest.conditions, newest.addresses) == self._written[subject]:
            del self._wanted[subject]

    def _condition(self, wanted: Condition, known: Reported) -> dict[str, Any]:
        now = datetime.fromtimestamp(self._clock.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        since = now
        for before, at in zip(known.conditions, known.since, strict=True):
            if before.type == wanted.type and before.status == wanted.status and at:
                since = at
        return {
            "type": wanted.type,
            "status": wanted.status,
            "reason": wanted.reason,
            "message": wanted.message,
            "observedGeneration": wanted.generation,
            "lastTransitionTime": since,
        }
