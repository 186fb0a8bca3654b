"""Tapped requests as lines of JSON: what `POST /tap` streams. The reader's half is remora/tap/records.py. Pure.

Header names and values are ISO 8859-1, so that every byte comes through; bodies are base64. Times are seconds since the
Unix epoch.
"""

import base64
import json
from typing import Any

from sidecar.config.tap import TappedMessage, TapRecord


def exchange_line(record: TapRecord, workload: str) -> bytes:
    """One request."""
    answer = record.answer
    plain: dict[str, Any] = {
        "type": "exchange",
        "workload": workload,
        "direction": record.direction.value,
        "method": _text(record.method),
        "scheme": _text(record.scheme),
        "authority": _text(record.authority),
        "target": _text(record.target),
        "version": record.version,
        "request": _message(record.request),
        "status": record.status,
        "response": _message(answer) if answer is not None else None,
        "flags": record.flags,
        "details": record.details,
        "failure": record.failure,
        "client": record.client,
        "peer": record.peer,
        "upstream": record.upstream,
        "upstream_s": record.upstream_s,
        "cluster": record.cluster,
        "route": record.route,
        "attempts": record.attempts,
        "request_id": _text(record.request_id),
        "trace_id": _text(record.trace_id),
    }
    return line(plain)


def line(plain: dict[str, Any]) -> bytes:
    """ASCII, with its line feed."""
    return json.dumps(plain, separators=(",", ":")).encode("ascii") + b"\n"


def _message(message: TappedMessage) -> dict[str, Any]:
    return {
        "headers": [[_text(name), _text(value)] for name, value in message.headers],
        "trailers": [[_text(name), _text(value)] for name, value in message.trailers],
        "body": base64.b64encode(message.body).decode("ascii"),
        "body_bytes": message.body_bytes,
        "cut": message.body_bytes - len(message.body),
        "whole": message.whole,
        "began": message.began,
        "ended": message.ended,
    }


def _text(value: bytes) -> str:
    return value.decode("latin-1")
