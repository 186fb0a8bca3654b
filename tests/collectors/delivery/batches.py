"""Batches for tests of delivery."""

from collectors.records import Batch, Exemplar, Histogram, LogRecord, Sample, SpanRecord
from tests.collectors.build import NOW, log, span


def logs(*names: str, pad: int = 0) -> Batch:
    """A batch of small log records with these ids; `pad` bytes more of text each."""
    records = [log(name, f"message {name}" + "x" * pad) for name in names]
    return Batch(logs=records, size_bytes=200 * len(records))


def numbered(first: int, count: int, pad: int = 0) -> Batch:
    """Ids are numbers, so that order and completeness are easily seen."""
    return logs(*map(str, range(first, first + count)), pad=pad)


FULL_LOG = LogRecord(
    "id/1", NOW, "app.log", "reviews-v1", "warning", "0af7651916cd43dd8448eb211c80319c",
    {"message": "x\u2028\udcff", "n": 1, "f": 0.5, "none": None, "yes": True, "list": [1, {"a": "b"}], "map": {}},
)  # fmt: skip

FULL_SPAN = SpanRecord(
    "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "b7ad6b7169203332", "reviews", "reviews-v1", "GET /",
    "server", NOW, 1.5, True, {"http.response.status_code": 500}, {"service.name": "reviews"}, ("lib", "1.0"), True,
    "broken", ({"name": "exception", "time_ns": 1, "attributes": {}},),
    ({"trace_id": "a", "span_id": "b", "trace_state": "", "attributes": {}},), "k=v", 769, 1, 2, (1, 2, 3),
)  # fmt: skip

FULL_SAMPLE = Sample(
    "istio_request_duration_milliseconds", (("a", "b"), ("le", "1")), NOW, 3.0,
    Histogram((0.5, float("inf")), (1, 3), 4.5), "histogram",
    (Exemplar((("trace_id", "0af7"),), 0.4, NOW),),
)  # fmt: skip


def everything() -> Batch:
    """A record of each kind with every field set."""
    short = span(1, 2, None, "ratings")
    ended = Sample("up", (("instance", "a"),), NOW, None)
    return Batch(logs=[FULL_LOG], spans=[FULL_SPAN, short], samples=[FULL_SAMPLE, ended], size_bytes=1_000)
