"""Forward-protocol events as records: whose they are, how bad they are, and under which id they are stored once."""

import os
import re
from functools import partial
from typing import Any, NamedTuple

from collectors.receivers.claims import Judge
from collectors.receivers.forward_parser import Delivery
from collectors.records import PRINCIPAL_KEY, Batch, LogRecord
from mesh.records import ACCESS_TAG

_SEVERITIES = {
    "fatal": "error", "critical": "error", "crit": "error", "alert": "error", "emerg": "error", "emergency": "error",
    "panic": "error", "error": "error", "err": "error", "severe": "error",
    "warning": "warning", "warn": "warning",
    "info": "info", "information": "info", "informational": "info", "notice": "info",
    "debug": "debug", "trace": "debug", "verbose": "debug",
}  # fmt: skip
_SEVERITY_KEYS = ("severity", "level", "log_level", "loglevel", "lvl", "levelname", "log.level")
_MAX_ID_CHARS = 256
_TRACE_ID = re.compile("[0-9a-f]{32}")
_NO_TRACE = "0" * 32
_RECORD = partial(tuple.__new__, LogRecord)
"""A record of a tuple: a named tuple's own constructor is a Python call."""


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
        append = batch.logs.append
        for delivery in deliveries:
            batch.size_bytes += delivery.size_bytes
            tag, chunk = delivery.tag, delivery.chunk
            access = tag == ACCESS_TAG
            severity = access_severity if access else severity_of
            for position, (time, body) in enumerate(delivery.events):
                workload = body.get("workload")
                if judge is not None:
                    problem = judge.access(body) if access else judge.log(body)
                    if problem:
                        refused, why = refused + 1, problem
                        continue
                    body[PRINCIPAL_KEY] = judge.principal
                else:
                    body.pop(PRINCIPAL_KEY, None)
                if type(workload) is not str or not workload:
                    workload = judge.peer.service_account if judge is not None else ""
                id_ = body.get("id") if access else None
                if type(id_) is not str or not 0 < len(id_) <= _MAX_ID_CHARS:
                    id_ = self._id(chunk, position)
                trace_id = body.get("trace_id")
                if trace_id is not None:
                    trace_id = trace_id_of(trace_id)
                when = now if time is None else time
                append(_RECORD((id_, when, tag, workload, severity(body), trace_id, body)))
        return Judged(batch, refused, why)

    def _id(self, chunk: str | None, position: int) -> str:
        # The prefixes keep them apart from each other and from access records' own.
        if chunk is not None:
            return f"chunk:{chunk}/{position}"
        self._sequence += 1
        return f"event:{self._epoch}/{self._sequence}"


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
        if isinstance(value, str) and (known := severity_named(value)) is not None:
            return known
    return "info"


def severity_named(name: str) -> str | None:
    """By a name that loggers use; None for one that we do not know."""
    return _SEVERITIES.get(name.strip().lower())


def trace_id_of(value: Any) -> str | None:
    """32 hex digits in lower case, or None for what is no trace id (all zero is none: W3C trace context)."""
    if type(value) is not str:
        return None
    if _TRACE_ID.fullmatch(value) is None:
        value = value.lower()
        if _TRACE_ID.fullmatch(value) is None:
            return None
    return value if value != _NO_TRACE else None
