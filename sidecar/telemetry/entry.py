"""Access-log entries as the forward protocol carries them: `[EventTime, {mesh.records.ACCESS_KEYS}]`, packed as bytes.

An entry is put together from parts that were packed before and a few values of its own: packing 32 keys one by one
would cost as much as the rest of the request's telemetry.
https://github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1#eventtime-ext-format
"""

import struct
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgpack

from mesh.records import ACCESS_KEYS, FILTER_METADATA_KEY, GRPC_STATUS_KEY
from sidecar.telemetry.record import RequestRecord

MAX_TEXTS_BYTES: Final = 8192
"""Of an entry's path, authority, user agent, x-forwarded-for and request id together; what is longer is cut."""
_CUT_BYTES: Final = 1024
MAX_NOTES: Final = 32
"""Of filters, in one entry; the first are kept."""
_MAX_OUTCOMES: Final = 4096

_NIL: Final = b"\xc0"
_LENGTH: Final = [b"\xda" + length.to_bytes(2, "big") for length in range(MAX_TEXTS_BYTES + 1)]
"""msgpack's str 16 header, by length."""


def pack(value: object) -> bytes:
    return bytes(msgpack.packb(value))


def pack_pairs(pairs: Sequence[tuple[str, object]]) -> bytes:
    """Keys and values of a map, without the map's header."""
    return b"".join([pack(key) + pack(value) for key, value in pairs])


def _key(name: str) -> bytes:
    if name not in ACCESS_KEYS:
        raise ValueError(f"{name} is no key of an access record")
    return pack(name)


# [EventTime(seconds, nanoseconds), a map's header, duration, bytes_received, bytes_sent, ...
_HEAD: Final = b"\x92\xd7\x00"
_DURATIONS: Final = [
    b"\xde" + (len(ACCESS_KEYS) + more).to_bytes(2, "big") + _key("duration") + b"\xcb" for more in range(3)
]
"""By how many keys an entry has that most have not."""
_DURATION: Final = _DURATIONS[0]
_NOTES: Final = pack(FILTER_METADATA_KEY)
_GRPC_STATUS: Final = pack(GRPC_STATUS_KEY)
_RECEIVED: Final = _key("bytes_received") + b"\xcf"
_SENT: Final = _key("bytes_sent") + b"\xcf"
_SERVICE_TIME: Final = _key("upstream_service_time") + b"\xcb"
_NUMBERS: Final = f">3sII{len(_DURATION)}sd{len(_RECEIVED)}sQ{len(_SENT)}sQ"
_pack_numbers: Final = struct.Struct(_NUMBERS).pack
_pack_all_numbers: Final = struct.Struct(f"{_NUMBERS}{len(_SERVICE_TIME)}sd").pack

_START: Final = _key("start_time") + b"\xbb"
_THOUSAND: Final = [b"%03d" % number for number in range(1000)]
_PATH: Final = b"Z" + _key("path")
_NO_SERVICE_TIME_PATH: Final = b"Z" + _key("upstream_service_time") + _NIL + _key("path")
_AUTHORITY: Final = _key("authority")
_AGENT: Final = _key("user_agent")
_NO_AGENT: Final = _AGENT + _NIL
_FORWARDED: Final = _key("x_forwarded_for")
_NO_FORWARDED: Final = _FORWARDED + _NIL
_REQUEST_ID: Final = _key("request_id")
_TRACE: Final = _key("trace_id") + b"\xd9\x20"
_SPAN: Final = _key("span_id") + b"\xb0"
_NO_TRACE: Final = _key("trace_id") + _NIL + _key("span_id") + _NIL
_SEQUENCE_DIGITS: Final = 12
NO_UPSTREAM: Final = pack_pairs([("upstream_host", None)])


def downstream_part(node: str, epoch: str, pairs: Sequence[tuple[str, object]]) -> bytes:
    """A connection's pairs and the beginning of the id, whose sequence number follows."""
    prefix = f"{node}/{epoch}/".encode()
    length = len(prefix) + _SEQUENCE_DIGITS
    return pack_pairs(pairs) + _key("id") + b"\xda" + length.to_bytes(2, "big") + prefix


class EntryPacker:
    """Packs entries; remembers what outcomes look like, what second it is, and the number but for its last digits."""

    def __init__(self) -> None:
        self._outcomes: dict[tuple[bytes, str, int, str, str, int, str | None], bytes] = {}
        self._second = -1
        self._second_text = b""
        self._thousands = -1
        self._thousands_text = b""

    def pack(
        self,
        record: RequestRecord,
        target: bytes,
        upstream: bytes,
        labels: bytes,
        began: float,
        duration_ms: float,
        number: int,
    ) -> bytes:
        """One entry. `target`, `upstream` and `labels` are those bindings' parts; `began` is seconds since the Unix
        epoch, `number` the record's sequence number."""
        second = int(began)
        micros = int((began - second) * 1e6)
        if second != self._second:
            self._second = second
            self._second_text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.").encode()
        outcome_key = (
            record.method, record.protocol, record.status, record.flags, record.details, record.attempts,
            record.failure,
        )  # fmt: skip
        outcome = self._outcomes.get(outcome_key)
        if outcome is None:
            outcome = self._add_outcome(outcome_key)
        url = record.url
        authority = record.authority
        agent = record.user_agent
        forwarded = record.forwarded_for
        request_id = record.request_id
        texts = b"".join((url, authority, agent or b"", forwarded or b"", request_id))
        if len(texts) > MAX_TEXTS_BYTES or not texts.isascii():
            url, authority, request_id = _clean(url), _clean(authority), _clean(request_id)
            agent = None if agent is None else _clean(agent)
            forwarded = None if forwarded is None else _clean(forwarded)
        waited = record.upstream_s
        trace = record.trace
        more = b""
        extra = 0
        if record.metadata is not None or record.grpc_status is not None:
            more, extra = _more(record)
        if number // 1000 != self._thousands:
            self._thousands = number // 1000
            self._thousands_text = b"%09d" % self._thousands
        if waited is None:
            numbers = _pack_numbers(
                _HEAD, second, micros * 1000, _DURATIONS[extra], duration_ms, _RECEIVED, record.bytes_received, _SENT,
                record.bytes_sent,
            )  # fmt: skip
        else:
            numbers = _pack_all_numbers(
                _HEAD, second, micros * 1000, _DURATIONS[extra], duration_ms, _RECEIVED, record.bytes_received, _SENT,
                record.bytes_sent, _SERVICE_TIME, waited * 1e3,
            )  # fmt: skip
        # One list that is written as it grows: of a tuple, compiled code would make two more.
        parts = [
            numbers,
            target,
            upstream,
            outcome,
            labels,
            record.downstream.entry,  # ends with the id's beginning
            self._thousands_text,
            _THOUSAND[number % 1000],
            _START,
            self._second_text,
            _THOUSAND[micros // 1000],
            _THOUSAND[micros % 1000],
            _NO_SERVICE_TIME_PATH if waited is None else _PATH,
            _LENGTH[len(url)],
            url,
            _AUTHORITY,
            _LENGTH[len(authority)],
            authority,
            _REQUEST_ID,
            _LENGTH[len(request_id)],
            request_id,
            more,
        ]
        if agent is None:
            parts.append(_NO_AGENT)
        else:
            parts.append(_AGENT)
            parts.append(_LENGTH[len(agent)])
            parts.append(agent)
        if forwarded is None:
            parts.append(_NO_FORWARDED)
        else:
            parts.append(_FORWARDED)
            parts.append(_LENGTH[len(forwarded)])
            parts.append(forwarded)
        if trace is None:
            parts.append(_NO_TRACE)
        else:
            parts.append(_TRACE)
            parts.append(trace.trace_id)
            parts.append(_SPAN)
            parts.append(trace.span_id)
        return b"".join(parts)

    def _add_outcome(self, key: tuple[bytes, str, int, str, str, int, str | None]) -> bytes:
        method, protocol, status, flags, details, attempts, failure = key
        outcome = pack_pairs(
            [
                ("method", _clean(method).decode()),
                ("protocol", protocol),
                ("response_code", status),
                ("response_flags", flags or "-"),
                ("response_code_details", details),
                ("attempts", attempts),
                ("upstream_transport_failure_reason", failure),
            ]
        )
        if len(self._outcomes) >= _MAX_OUTCOMES:
            self._outcomes.clear()
        self._outcomes[key] = outcome
        return outcome


def _more(record: RequestRecord) -> tuple[bytes, int]:
    """What most requests have not: packed pairs, and how many."""
    packed = b""
    count = 0
    if record.metadata is not None:
        packed += _NOTES + pack(_bounded(record.metadata))
        count += 1
    if record.grpc_status is not None:
        packed += _GRPC_STATUS + pack(record.grpc_status)
        count += 1
    return packed, count


def _bounded(notes: dict[Any, Any]) -> dict[str, object]:
    """What of filters' notes can be told: values of other kinds are theirs alone."""
    told: dict[str, object] = {}
    for name, value in notes.items():
        if len(told) >= MAX_NOTES:
            break
        if not isinstance(name, str):
            continue
        if isinstance(value, str):
            told[_text(name)] = _text(value)
        elif isinstance(value, (bool, float)) or (isinstance(value, int) and -(2**63) <= value < 2**63):
            told[_text(name)] = value
    return told


def _text(text: str) -> str:
    return text[:_CUT_BYTES].encode("utf-8", "backslashreplace").decode()


def _clean(text: bytes) -> bytes:
    """Valid UTF-8 of bounded length: what is none is shown as \\xNN."""
    return text[:_CUT_BYTES].decode("utf-8", "backslashreplace").encode()
