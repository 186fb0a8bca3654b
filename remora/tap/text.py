"""Tapped requests for a terminal: a line each, and on request their fields and bodies. Nothing of it is obeyed."""

import time
from collections.abc import Iterator
from http import HTTPStatus

from remora.tap.records import Exchange, Field, Message

MAX_BODY_LINES = 40
"""Of a body in a terminal; files get all of it."""

_GRPC_STATUSES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
"""By number: https://grpc.github.io/grpc/core/md_doc_statuscodes.html"""


def summary(exchange: Exchange) -> str:
    """`12:00:01.123  200  GET  http://reviews:9080/reviews/0  4.2 ms  379 B  inbound  from productpage`."""
    began = exchange.request.began
    stamp = time.strftime("%H:%M:%S", time.localtime(began)) + f".{int(began % 1 * 1000):03d}"
    took_ms = max(0.0, exchange.ended - began) * 1000.0
    size = exchange.response.body_bytes if exchange.response is not None else 0
    parts = [
        stamp,
        f"{exchange.status or '-':>3}",
        f"{exchange.method:<4}",
        exchange.url,
        f"{took_ms:.1f} ms",
        _size(size),
        exchange.direction,
    ]
    if exchange.peer is not None:
        parts.append(f"from {exchange.peer.rpartition('/')[2]}")
    if grpc := _grpc_status(exchange):
        parts.append(grpc)
    if exchange.flags:
        parts.append(f"[{exchange.flags}: {exchange.details}]")
    return "  ".join(parts)


def details(exchange: Exchange) -> Iterator[str]:
    """Fields and bodies, as lines, the request's marked `>` and the answer's `<`, as curl does."""
    yield f"> {exchange.method} {exchange.target or exchange.authority} {exchange.version}"
    yield from _message(exchange.request, ">")
    answer = exchange.response
    if answer is None:
        yield f"< no answer: {exchange.details}"
    else:
        yield f"< {exchange.status} {reason(exchange.status)}".rstrip()
        yield from _message(answer, "<")
        if not answer.whole:
            yield f"< broke off: {exchange.details}"
    via = [("upstream", exchange.upstream), ("route", exchange.route), ("cluster", exchange.cluster)]
    known = [f"{name} {value}" for name, value in [*via, ("trace", exchange.trace_id)] if value]
    yield f"* {', '.join(known)}"
    yield ""


def reason(status: int) -> str:
    """The phrase that goes with a status; empty for one that has none."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _grpc_status(exchange: Exchange) -> str:
    """`grpc 5 NOT_FOUND` of a call that failed: its HTTP status is 200 all the same."""
    answer = exchange.response
    if answer is None:
        return ""
    # In the trailers; in the head of an answer that has nothing else.
    said = next((value for name, value in (*answer.trailers, *answer.headers) if name == "grpc-status"), "0")
    if said == "0":
        return ""
    number = int(said) if said.isascii() and said.isdigit() and len(said) < 3 else len(_GRPC_STATUSES)
    return f"grpc {said} {_GRPC_STATUSES[number]}" if number < len(_GRPC_STATUSES) else f"grpc {said}"


def _message(message: Message, mark: str) -> Iterator[str]:
    yield from _fields(message.headers, mark)
    if message.body_bytes:
        yield mark
        yield from _body(message, mark)
    yield from _fields(message.trailers, mark)


def _fields(fields: tuple[Field, ...], mark: str) -> Iterator[str]:
    for name, value in fields:
        yield f"{mark} {name}: {value}"


def _body(message: Message, mark: str) -> Iterator[str]:
    text = _as_text(message)
    if text is None:
        yield f"{mark} ({_size(message.body_bytes)}, {message.get('content-type') or 'no text'})"
        return
    lines = text.splitlines()
    for line in lines[:MAX_BODY_LINES]:
        yield f"{mark} {line}"
    if len(lines) > MAX_BODY_LINES:
        yield f"{mark} ({len(lines) - MAX_BODY_LINES} more lines)"
    if message.cut:
        yield f"{mark} (cut: {_size(message.cut)} more)"


def _as_text(message: Message) -> str | None:
    """None: it is none, or compressed."""
    if message.get("content-encoding") not in (None, "identity"):
        return None
    try:
        # A cut may have gone through the middle of a character.
        return message.body.decode("utf-8") if not message.cut else message.body.decode("utf-8", "ignore")
    except UnicodeDecodeError:
        return None


def _size(count: int) -> str:
    if count < 1000:
        return f"{count} B"
    return f"{count / 1000:.1f} kB" if count < 1_000_000 else f"{count / 1_000_000:.1f} MB"
