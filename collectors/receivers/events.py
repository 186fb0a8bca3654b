"""Forward-protocol events as records: whose they are, how bad they are, and under which id they are stored once."""

import os
from typing import Any, NamedTuple

from collectors.receivers.claims import Judge
from collectors.receivers.forward_parser import Delivery, Event
from collectors.records import PRINCIPAL_KEY, Batch, LogRecord
from mesh.records import ACCESS_TAG

_SEVERITIES = {
    "fatal": "error", "critical": "error", "crit": "error", "alert": "error", "emerg": "error", "emergency": "error",
    "panic": "error", "error": "error", "err": "error", "severe": "error",
    "warning": "warning", "warn": "warning",
    "info": "info", "information": "info", "informational": "info", "notice": "info",
    "debug": "debug", "trace": "debug", "verbose": "debug",
}  # fmt: skip
_SEVERITY_KEYS = ("severity", "level", "log_level", "loglevel", "lvl")
_MAX_ID_CHARS = 256
_HEX = frozenset("0123456789abcdef")


class Judged(NamedTuple):
    """What of some messages may be stored."""

    batch: Batch
    refused: int
    """Records that said what their sender may not say."""
    why: str
    """Of the last one refused."""


class Events:
    """Makes records of deliveries. Ids:

    - an access record's own: the sidecar made it unique;
    - else the message's chunk id and the position in it: a message that is sent again has the same;
    - else (nobody sends again what nobody acknowledges) one of ours, unique by a random word per process.
    """

    def __init__(self) -> None:
        self._epoch = os.urandom(8).hex()
        self._sequence = 0

    def batch(self, deliveries: list[Delivery], judge: Judge | None, now: float) -> Judged:
        """`judge` knows the sender by its certificate; None for one without. `now`, in seconds, stands in for a missing
        time."""
        batch = Batch()
        refused, why = 0, ""
        for delivery in deliveries:
            batch.size_bytes += delivery.size_bytes
            access = delivery.tag == ACCESS_TAG
            for position, event in enumerate(delivery.events):
                if judge is not None:
                    problem = judge.access(event.record) if access else judge.log(event.record)
                    if problem:
                        refused, why = refused + 1, problem
                        continue
                    event.record[PRINCIPAL_KEY] = judge.principal
                else:
                    event.record.pop(PRINCIPAL_KEY, None)
                id_ = self._id(event, delivery.chunk, position, access)
                time = now if event.time is None else event.time
                batch.logs.append(_record(id_, time, delivery.tag, event.record, access, judge))
        return Judged(batch, refused, why)

    def _id(self, event: Event, chunk: str | None, position: int, access: bool) -> str:
        if access:
            own = event.record.get("id")
            if type(own) is str and 0 < len(own) <= _MAX_ID_CHARS:
                return own
        # The prefixes keep the three kinds apart.
        if chunk is not None:
            return f"chunk:{chunk}/{position}"
        self._sequence += 1
        return f"event:{self._epoch}/{self._sequence}"


def _record(id_: str, time: float, tag: str, body: dict[str, Any], access: bool, judge: Judge | None) -> LogRecord:
    workload = body.get("workload")
    if type(workload) is not str or not workload:
        workload = judge.peer.service_account if judge is not None else ""
    severity = access_severity(body) if access else severity_of(body)
    return LogRecord(id_, time, tag, workload, severity, _trace_id(body.get("trace_id")), body)


def access_severity(body: dict[str, Any]) -> str:
    """Of an access record, by its status, or a connection's flags."""
    code = body.get("response_code")
    if not isinstance(code, int) or code >= 500:
        return "error"
    if body.get("protocol") == "TCP":
        # A connection has no status: what went wrong is in its flags.
        return "warning" if body.get("response_flags") not in (None, "", "-") else "info"
    # 0: the client went away before there was an answer.
    return "info" if 100 <= code < 400 else "warning"


def severity_of(body: dict[str, Any]) -> str:
    """From the keys that loggers use; "info" where none says anything that we know."""
    for key in _SEVERITY_KEYS:
        value = body.get(key)
        if isinstance(value, str) and (known := _SEVERITIES.get(value.strip().lower())) is not None:
            return known
    return "info"


def _trace_id(value: Any) -> str | None:
    if not isinstance(value, str) or len(value) != 32:
        return None
    lower = value.lower()
    return lower if _HEX.issuperset(lower) else None
