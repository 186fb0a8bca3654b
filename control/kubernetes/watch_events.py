"""A watch's bytes to its events: lines of JSON, cut anywhere, bounded. No I/O.

https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

MAX_EVENT_BYTES = 4 * 1024 * 1024
"""Kubernetes' own limit for one object is 1.5 MiB in etcd's encoding; JSON with managed fields is larger."""

EventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
_TYPES = ("ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR")


class NoWatchEvent(Exception):
    """What came is no event: something in between answers in the API server's place, or garbles it."""


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """`object` is a Status for an ERROR."""

    type: EventType
    object: Mapping[str, Any]

    @property
    def version(self) -> str:
        """From where a watch goes on that has seen this; empty where it does not say."""
        metadata = self.object.get("metadata")
        version = metadata.get("resourceVersion") if isinstance(metadata, Mapping) else None
        return version if isinstance(version, str) else ""


class EventDecoder:
    """Fed with bytes as they come; keeps what is not a whole line yet."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[WatchEvent]:
        """The events that are whole now. Raises NoWatchEvent, after those before it."""
        *lines, rest = (self._rest + data).split(b"\n") if self._rest else data.split(b"\n")
        self._rest = b""
        for line in lines:
            if line.strip():
                yield _event(line)
        if len(rest) > MAX_EVENT_BYTES:
            raise NoWatchEvent(f"an event has more than {MAX_EVENT_BYTES:,} bytes")
        self._rest = rest


def _event(line: bytes) -> WatchEvent:
    if len(line) > MAX_EVENT_BYTES:
        raise NoWatchEvent(f"an event has {len(line):,} bytes, more than {MAX_EVENT_BYTES:,}")
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise NoWatchEvent(f"a line is not JSON: {error}") from error
    if not isinstance(found, dict) or found.get("type") not in _TYPES or not isinstance(found.get("object"), dict):
        raise NoWatchEvent(f"a line is JSON, but no event: {line[:80]!r}")
    return WatchEvent(found["type"], found["object"])
