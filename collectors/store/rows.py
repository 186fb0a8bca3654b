"""Records as rows: what SQLite gets bound. Anything that it could not store is refused here, before a transaction."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack

from collectors.failures import Failure, of_log, of_span
from collectors.records import Batch, Histogram, Labels, LogRecord, Sample, SpanRecord
from collectors.store.bodies import BodyEncoder
from collectors.store.errors import RejectedBatch
from collectors.store.exemplars import ExemplarRow, rows_of
from collectors.store.message import render, text_of
from collectors.store.span_detail import pack_detail

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class SampleRow:
    """A sample whose series still needs its number."""

    name: str
    labels: Labels
    bounds: str
    time_ms: int
    value: float | None
    histogram: bytes | None
    exemplars: tuple[ExemplarRow, ...] = ()


@dataclass(frozen=True, slots=True)
class Rows:
    """A batch, ready to bind."""

    logs: Sequence[Row]
    spans: Sequence[Row]
    samples: Sequence[SampleRow]
    size_bytes: int
    """About what it takes in memory."""
    failures: Sequence[Failure] = ()
    """What of it tells of a failure."""

    def __len__(self) -> int:
        return len(self.logs) + len(self.spans) + len(self.samples)


def to_rows(batch: Batch) -> Rows:
    """Raises RejectedBatch for a time that is no number and for a body that is no plain data."""
    try:
        logs = _log_rows(batch.logs)
        spans = [_span_row(record) for record in batch.spans]
        samples = [_sample_row(sample) for sample in batch.samples]
    except (TypeError, ValueError, OverflowError) as error:
        raise RejectedBatch(f"not storable: {error}") from error
    size = sum(len(row[5]) + len(row[7]) for row in logs) + sum(len(row[11]) + len(row[12] or b"") for row in spans)
    failures = [found for record in batch.logs if (found := of_log(record)) is not None]
    failures += [found for span in batch.spans if (found := of_span(span)) is not None]
    return Rows(logs, spans, samples, size + 200 * len(batch), failures)


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"time {value}")
    return value


def _log_rows(records: Sequence[LogRecord]) -> list[Row]:
    encode = BodyEncoder().encode
    return [
        (id_, _finite(time), tag, workload, severity, render(tag, body), trace_id, encode(tag, body))
        for id_, time, tag, workload, severity, trace_id, body in records
    ]


def _span_row(record: SpanRecord) -> Row:
    return (
        record.trace_id,
        record.span_id,
        record.parent_id,
        record.service,
        record.workload,
        record.name,
        record.kind,
        _finite(record.start),
        _finite(record.duration_ms),
        int(record.error),
        _searched(record),
        msgpack.packb(record.attributes),
        pack_detail(record),
    )


def _searched(record: SpanRecord) -> str:
    """What a text search of spans finds besides name and service."""
    texts = [text_of(value) for value in record.attributes.values()]
    if record.status_message:
        texts.append(record.status_message)
    for event in record.events:
        texts.append(event["name"])
        texts.extend(text_of(value) for value in event["attributes"].values())
    return " ".join(texts)


def _sample_row(sample: Sample) -> SampleRow:
    histogram = sample.histogram
    return SampleRow(
        sample.name,
        sample.labels,
        "" if histogram is None else json.dumps([bound for bound in histogram.bounds if math.isfinite(bound)]),
        int(_finite(sample.time) * 1000),
        sample.value,
        None if histogram is None else msgpack.packb([histogram.sum, list(histogram.counts)]),
        rows_of(sample),
    )


def decode_map(blob: bytes) -> dict[str, Any]:
    """A span's attributes column."""
    value = msgpack.unpackb(blob, strict_map_key=False)
    return value if isinstance(value, dict) else {}


def decode_histogram(bounds: Iterable[float], blob: bytes) -> Histogram:
    """A histogram column, with its series' bounds."""
    total, counts = msgpack.unpackb(blob)
    return Histogram((*bounds, math.inf), tuple(counts), total)
