"""The column `detail` of a span: what OTLP says of it beyond the columns, as one msgpack map of what is set."""

from typing import Any

import msgpack

from collectors.records import SpanRecord

_EMPTY = SpanRecord("", "", None, "", "", "", "", 0.0, 0.0, False, {})
_FIELDS = (
    "resource",
    "scope",
    "ok",
    "status_message",
    "events",
    "links",
    "trace_state",
    "flags",
    "start_ns",
    "end_ns",
    "dropped",
)
_PAIRS = ("scope", "dropped")
"""Tuples, which msgpack gives back as lists."""


def pack_detail(record: SpanRecord) -> bytes | None:
    """None where there is nothing to say."""
    said: dict[str, Any] = {}
    for name in _FIELDS:
        value = getattr(record, name)
        if value and value != getattr(_EMPTY, name):
            said[name] = value
    if not said:
        return None
    packed: bytes = msgpack.packb(said)
    return packed


def unpack_detail(blob: bytes | None) -> dict[str, Any]:
    """Fields of a SpanRecord."""
    if blob is None:
        return {}
    value = msgpack.unpackb(blob, strict_map_key=False)
    if not isinstance(value, dict):
        return {}
    found = {name: value[name] for name in _FIELDS if name in value}
    for name in _PAIRS:
        if name in found:
            found[name] = tuple(found[name])
    return found
