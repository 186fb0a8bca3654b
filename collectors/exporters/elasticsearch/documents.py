"""Records as documents with the names of the Elastic Common Schema (ECS 8, elastic.co/guide/en/ecs). Pure.

What has a place in the mapping goes there if it is of the place's type. Everything else, whatever it is, goes to the
one field `remora.attributes` of type `flattened`: no record can conflict with another or make the mapping grow.
"""

from typing import Any, NamedTuple

import orjson

from collectors.exporters.elasticsearch.access import access_fields
from collectors.exporters.elasticsearch.identifiers import document_id, position, sample_id
from collectors.exporters.elasticsearch.lines import MAX_MESSAGE_CHARS, line_fields, message_of
from collectors.exporters.elasticsearch.plain import plain
from collectors.exporters.elasticsearch.times import Timestamps
from collectors.records import LogRecord, Sample
from mesh.records import ACCESS_TAG

ECS_VERSION = "8.17.0"

ACCESS_DATASET = "remora.access"
APP_DATASET = "remora.app"
METRICS_DATASET = "remora.mesh"

CLOCK_OFF_TAG = "remora-clock-off"
REDUCED_TAG = "remora-reduced"

_OPTIONS = orjson.OPT_NON_STR_KEYS


class Document(NamedTuple):
    """One document, and what was done to the record for it."""

    id: str
    source: bytes
    """JSON, without a newline."""
    clock_off: bool = False
    """Its time could not be; `@timestamp` is that of its arrival."""


class Encoder:
    """Makes documents of one namespace."""

    def __init__(self, namespace: str, timestamps: Timestamps) -> None:
        self._timestamps = timestamps
        self._namespace = namespace
        self.access_stream = f"logs-{ACCESS_DATASET}-{namespace}"
        self.app_stream = f"logs-{APP_DATASET}-{namespace}"
        self.metrics_stream = f"metrics-{METRICS_DATASET}-{namespace}"

    @property
    def streams(self) -> tuple[str, ...]:
        """The data streams that are written."""
        return self.access_stream, self.app_stream, self.metrics_stream

    def stream_of(self, record: LogRecord | Sample) -> str:
        """The data stream that the record belongs to, the same for ever."""
        if isinstance(record, Sample):
            return self.metrics_stream
        return self.access_stream if record.tag == ACCESS_TAG else self.app_stream

    def log(self, record: LogRecord, now: float) -> Document:
        """`now`, seconds: the time of arrival, for a record whose own cannot be."""
        return self._log(record, now, access_fields if record.tag == ACCESS_TAG else line_fields)

    def reduced(self, record: LogRecord, now: float, why: str) -> Document:
        """What of the record no mapping can refuse: its body is one text, stored and not searched. For a record that
        was refused as it is, because of `why`."""

        def fields(record: LogRecord) -> dict[str, Any]:
            return {
                "message": message_of(record)[:MAX_MESSAGE_CHARS],
                "event": {"original": encode(record.body).decode("utf-8")},
                "remora": {"workload": record.workload, "reduced": why},
                "tags": [REDUCED_TAG],
            }

        return self._log(record, now, fields)

    def _log(self, record: LogRecord, now: float, fields: Any) -> Document:
        document: dict[str, Any] = fields(record)
        dataset = ACCESS_DATASET if record.tag == ACCESS_TAG else APP_DATASET
        event = document.setdefault("event", {})
        event["id"] = record.id
        event["dataset"] = dataset
        stream, number = position(record.id)
        if number is not None:
            event["sequence"] = number
        remora = document.setdefault("remora", {})
        remora["stream"] = stream
        remora["tag"] = record.tag
        document.setdefault("log", {})["level"] = record.severity
        if record.trace_id is not None:
            document["trace"] = {"id": record.trace_id}
        clock_off = self._frame(document, dataset, "logs", record.time, now)
        return Document(document_id(record.id), encode(document), clock_off)

    def sample(self, sample: Sample, now: float) -> Document:
        """A reading of a series. The counts of a histogram are kept, not searched; its last bound is infinity."""
        metric: dict[str, Any] = {"name": sample.name}
        if sample.kind:
            metric["kind"] = sample.kind
        if sample.exemplars:
            metric["exemplars"] = [
                {"labels": dict(each.labels), "value": each.value, "time": each.time} for each in sample.exemplars
            ]
        if sample.value is None:
            metric["ended"] = True
        elif sample.histogram is None:
            metric["value"] = sample.value
        else:
            metric["count"] = sample.value
            metric["sum"] = sample.histogram.sum
            metric["bounds"] = sample.histogram.bounds[:-1]
            metric["counts"] = sample.histogram.counts
        document = {"labels": dict(sample.labels), "remora": {"metric": metric}}
        clock_off = self._frame(document, METRICS_DATASET, "metrics", sample.time, now)
        return Document(sample_id(sample), encode(document), clock_off)

    def _frame(self, document: dict[str, Any], dataset: str, kind: str, time: float, now: float) -> bool:
        """What every document has. Whether the clock was off."""
        document["ecs"] = {"version": ECS_VERSION}
        document["data_stream"] = {"type": kind, "dataset": dataset, "namespace": self._namespace}
        if self._timestamps.is_plausible(time, now):
            document["@timestamp"] = self._timestamps.text(time)
            return False
        document["@timestamp"] = self._timestamps.text(now)
        document.setdefault("tags", []).append(CLOCK_OFF_TAG)
        document.setdefault("remora", {})["original_time"] = repr(time)
        return True


def encode(document: dict[str, Any]) -> bytes:
    """JSON of whatever a record may hold: what JSON or a signed 64-bit number cannot hold is turned into text."""
    try:
        return orjson.dumps(document, default=_text, option=_OPTIONS)
    except TypeError:
        # Lone surrogates, huge integers, or deeper than orjson goes: seldom, so the slow way costs nobody else.
        return orjson.dumps(plain(document), option=_OPTIONS)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
