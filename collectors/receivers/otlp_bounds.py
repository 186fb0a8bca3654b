"""How much one OTLP request may become: a few kilobytes of gzip can stand for millions of records, and the size of a
body says little of what its records take in memory. No I/O; bytes are looked at before anything is built of them.
"""

from typing import Final

MAX_PARTS: Final = 131_072
"""Resources, scopes, records, spans, metrics and points of one request, and the fields beside them. Real ones take 64
bytes and more each; senders' batches have some thousands."""

MAX_JSON_CONTAINERS: Final = 524_288
"""Objects and lists in one request's JSON; an attribute has two."""

MAX_COPIED_BYTES: Final = 64 * 1024 * 1024
"""Of resources, as they are repeated in every record: what is stored of a record has all that its resource says."""

RECORD_BYTES: Final = 512
"""What a record takes in memory beside its bytes."""

_RESOURCES_AND_SCOPES = (frozenset({1}), frozenset({2}))
_LEVELS: Final[dict[str, tuple[frozenset[int], ...]]] = {
    "ExportLogsServiceRequest": _RESOURCES_AND_SCOPES,
    "ExportTraceServiceRequest": _RESOURCES_AND_SCOPES,
    # Metrics, and their data: gauge, sum, histogram, exponential histogram, summary.
    "ExportMetricsServiceRequest": (*_RESOURCES_AND_SCOPES, frozenset({2}), frozenset({5, 7, 9, 10, 11})),
}
"""The numbers of the fields that hold parts, level by level (opentelemetry-proto)."""

_MAX_VARINT_BYTES = 10


class TooMuch(Exception):
    """A request that would become more than we hold, or is no protobuf; the sender is to split it."""


def check_json(body: bytes) -> None:
    """Raises TooMuch."""
    if body.count(b"{") + body.count(b"[") > MAX_JSON_CONTAINERS:
        raise TooMuch(f"has more than {MAX_JSON_CONTAINERS} objects and lists; send smaller batches")


def check_parts(request: str, body: bytes) -> None:
    """Count what is in the protobuf message `request`, by name. Raises TooMuch."""
    _walk(body, 0, len(body), _LEVELS[request], MAX_PARTS)


def check_copies(copied: int, resource_bytes: int, records: int) -> int:
    """`copied` bytes, and those of a resource that `records` records repeat. Raises TooMuch."""
    copied += resource_bytes * records
    if copied > MAX_COPIED_BYTES:
        raise TooMuch(f"repeats more than {MAX_COPIED_BYTES} bytes of resources in its records; send smaller batches")
    return copied


def _walk(body: bytes, at: int, end: int, levels: tuple[frozenset[int], ...], left: int) -> int:
    """How many parts may still come."""
    wanted = levels[0] if levels else frozenset()
    while at < end:
        left -= 1
        if left < 0:
            raise TooMuch(f"has more than {MAX_PARTS} parts; send smaller batches")
        key, at = _varint(body, at, end)
        match key & 7:
            case 2:  # what has a length
                length, at = _varint(body, at, end)
                if key >> 3 in wanted and length <= end - at:
                    left = _walk(body, at, at + length, levels[1:], left)
                at += length
            case 0:  # a number
                _, at = _varint(body, at, end)
            case 1:  # eight bytes
                at += 8
            case 5:  # four bytes
                at += 4
            case _:
                raise TooMuch("has a group, which no field of OTLP is")
    if at > end:
        raise TooMuch("ends within a field")
    return left


def _varint(body: bytes, at: int, end: int) -> tuple[int, int]:
    """The number at `at`, and where it ends."""
    value = 0
    for index, octet in enumerate(body[at : min(end, at + _MAX_VARINT_BYTES)]):
        value |= (octet & 0x7F) << 7 * index
        if octet < 0x80:
            return value, at + index + 1
    raise TooMuch("ends within a number")
