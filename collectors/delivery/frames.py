"""Batches as frames of a segment file, and back. No I/O.

A segment is a header and frames. Both begin with a marker and have a checksum of their own fields, so that a damaged
length is not believed, and what follows damaged bytes is found again:

    segment  "RMRS" | version u16 | reserved u16 | salt u32 | crc32 of these u32
    frame    "\\xc1RMF" | payload length u32 | crc32 of the payload u32 | logs u32 | spans u32 | samples u32 |
             when it was written f64, seconds since the Unix epoch | crc32 of these, begun with the salt, u32
    payload  msgpack: [logs, spans, samples], records as arrays in the order of their fields (collectors/records.py)

All integers are big-endian. 0xc1 begins no value of msgpack. The salt is random: neither what a sender wrote into a
record nor what the disk had in that place before is ever taken for a frame.
"""

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple
from zlib import crc32

import msgpack

from collectors.delivery.errors import Unencodable
from collectors.records import Batch, Exemplar, Histogram, Labels, LogRecord, Sample, SpanRecord

VERSION = 1
MAX_PAYLOAD_BYTES = 256 << 20
"""More than any receiver takes; a length beyond it is damage."""

_KEPT_BYTES = 4 << 20
"""An encoder that needed more gives its memory back."""

_SEGMENT = struct.Struct(">4sHHI")
_FRAME = struct.Struct(">4sIIIIId")
_CRC = struct.Struct(">I")
_SEGMENT_MARK = b"RMRS"
_FRAME_MARK = b"\xc1RMF"
SEGMENT_HEADER_BYTES = _SEGMENT.size + _CRC.size
FRAME_HEADER_BYTES = _FRAME.size + _CRC.size


class Counts(NamedTuple):
    """Records by signal."""

    logs: int = 0
    spans: int = 0
    samples: int = 0

    def plus(self, other: "Counts") -> "Counts":
        """The sum."""
        return Counts(self.logs + other.logs, self.spans + other.spans, self.samples + other.samples)

    def minus(self, other: "Counts") -> "Counts":
        """The difference."""
        return Counts(self.logs - other.logs, self.spans - other.spans, self.samples - other.samples)

    @property
    def total(self) -> int:
        """Of all signals."""
        return self.logs + self.spans + self.samples


def counts_of(batch: Batch) -> Counts:
    """What is in it."""
    return Counts(len(batch.logs), len(batch.spans), len(batch.samples))


class FrameHeader(NamedTuple):
    """What stands before a payload."""

    length: int
    crc: int
    counts: Counts
    time: float


class Frame(NamedTuple):
    """A batch, ready to be written."""

    header: FrameHeader
    payload: bytes
    batch: Batch

    @property
    def size(self) -> int:
        """Bytes in the segment."""
        return FRAME_HEADER_BYTES + self.header.length


class SegmentHeader(NamedTuple):
    """The beginning of a segment file."""

    version: int
    salt: int


def render_segment_header(salt: int, version: int = VERSION) -> bytes:
    """The first bytes of a segment file."""
    fields = _SEGMENT.pack(_SEGMENT_MARK, version, 0, salt)
    return fields + _CRC.pack(crc32(fields))


def read_segment_header(data: bytes) -> SegmentHeader | None:
    """None if it is damaged."""
    if len(data) < SEGMENT_HEADER_BYTES:
        return None
    fields = data[: _SEGMENT.size]
    mark, version, _, salt = _SEGMENT.unpack(fields)
    if mark != _SEGMENT_MARK or _CRC.unpack_from(data, _SEGMENT.size)[0] != crc32(fields):
        return None
    return SegmentHeader(version, salt)


def render_header(header: FrameHeader, salt: int) -> bytes:
    """What stands before the payload."""
    fields = _FRAME.pack(_FRAME_MARK, header.length, header.crc, *header.counts, header.time)
    return fields + _CRC.pack(crc32(fields, salt))


class Encoder:
    """Makes frames. Keeps its memory from one to the next: asking for a quarter of a megabyte each time costs as much
    as filling it."""

    def __init__(self) -> None:
        self._packer = self._fresh()

    @staticmethod
    def _fresh() -> Any:
        return msgpack.Packer(default=str, autoreset=False)

    def frames(self, batch: Batch, now: float, *, max_records: int, max_bytes: int) -> list[Frame]:
        """Frames of no more than `max_records` records and, unless one record alone is larger, `max_bytes` bytes.

        Raises Unencodable. Numbers beyond 64 bits and values of foreign types become text.
        """
        frames: list[Frame] = []
        waiting = [batch]
        while waiting:
            part = waiting.pop()
            if len(part) > max_records:
                waiting += reversed(halves(part))
                continue
            payload = self._pack(part)
            if len(payload) > max_bytes and len(part) > 1:
                waiting += reversed(halves(part))
                continue
            if len(payload) > MAX_PAYLOAD_BYTES:
                raise Unencodable(f"a record of {len(payload)} bytes")
            frames.append(Frame(FrameHeader(len(payload), crc32(payload), counts_of(part), now), payload, part))
        return frames

    def _pack(self, batch: Batch) -> bytes:
        records = [batch.logs, batch.spans, batch.samples]
        packer = self._packer
        try:
            packer.pack(records)
            payload = bytes(packer.bytes())
        except UnicodeEncodeError:
            # Lone surrogates are rare, and allowing for them makes every text dearer.
            payload = _pack_surrogates(records)
        except (ValueError, TypeError, OverflowError) as error:
            raise _unencodable(error) from error
        finally:
            packer.reset()
        if len(payload) > _KEPT_BYTES:
            self._packer = self._fresh()
        return payload


def _pack_surrogates(records: list[Any]) -> bytes:
    try:
        return bytes(msgpack.packb(records, default=str, unicode_errors="surrogatepass"))
    except (ValueError, TypeError, OverflowError) as error:
        raise _unencodable(error) from error


def _unencodable(error: Exception) -> Unencodable:
    return Unencodable(f"cannot be written to the buffer: {error}")


def halves(batch: Batch) -> tuple[Batch, Batch]:
    """Two batches in place of one of more than one record, in its order: logs, spans, samples."""
    middle = len(batch) // 2
    logs = min(middle, len(batch.logs))
    spans = min(middle - logs, len(batch.spans))
    samples = middle - logs - spans
    size, sender = batch.size_bytes // 2, batch.sender
    return (
        Batch(batch.logs[:logs], batch.spans[:spans], batch.samples[:samples], size, sender),
        Batch(batch.logs[logs:], batch.spans[spans:], batch.samples[samples:], size, sender),
    )


def read_header(data: bytes, salt: int, offset: int = 0) -> FrameHeader | None:
    """The frame header at `offset`; None if there is none that is whole."""
    end = offset + FRAME_HEADER_BYTES
    if end > len(data):
        return None
    fields = data[offset : offset + _FRAME.size]
    mark, length, crc, logs, spans, samples, time = _FRAME.unpack(fields)
    if mark != _FRAME_MARK or _CRC.unpack_from(data, offset + _FRAME.size)[0] != crc32(fields, salt):
        return None
    return FrameHeader(length, crc, Counts(logs, spans, samples), time) if length <= MAX_PAYLOAD_BYTES else None


def decode(header: FrameHeader, payload: bytes) -> Batch | None:
    """The batch of a payload; None if it is damaged."""
    if len(payload) != header.length or crc32(payload) != header.crc:
        return None
    try:
        logs, spans, samples = _unpack(payload)
        batch = Batch(
            [LogRecord(*fields) for fields in logs],
            [_span(fields) for fields in spans],
            [_sample(fields) for fields in samples],
            header.length,
        )
    except (ValueError, TypeError, msgpack.UnpackException):
        # Its checksum is right: written by something else than this module.
        return None
    return batch if counts_of(batch) == header.counts else None


def _unpack(payload: bytes) -> Any:
    try:
        return msgpack.unpackb(payload, strict_map_key=False)
    except UnicodeDecodeError:
        return msgpack.unpackb(payload, strict_map_key=False, unicode_errors="surrogatepass")


def _span(fields: list[Any]) -> SpanRecord:
    # Fewer fields than there are now: written by an older program; the others have defaults.
    record = SpanRecord(*fields)
    return record._replace(
        scope=(record.scope[0], record.scope[1]),
        events=tuple(record.events),
        links=tuple(record.links),
        dropped=_three(record.dropped),
    )


def _three(counts: Any) -> tuple[int, int, int]:
    first, second, third = counts
    return first, second, third


def _sample(fields: list[Any]) -> Sample:
    name, labels, time, value, *more = fields
    record = Sample(name, _labels(labels), time, value, *more)
    histogram, exemplars = record.histogram, record.exemplars
    if histogram is not None:
        bounds, counts, total = histogram
        histogram = Histogram(tuple(bounds), tuple(counts), total)
    return record._replace(
        histogram=histogram, exemplars=tuple(Exemplar(_labels(shown), one, when) for shown, one, when in exemplars)
    )


def _labels(pairs: Any) -> Labels:
    return tuple((key, text) for key, text in pairs)


def candidates(data: bytes, begin: int) -> Iterator[int]:
    """Where a frame may begin at or after `begin`: at every marker."""
    at = data.find(_FRAME_MARK, begin)
    while at >= 0:
        yield at
        at = data.find(_FRAME_MARK, at + 1)
