"""Our bytes, read by protobuf's own library."""

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.exporters.remote_write.encoding import Encoder, bound_text
from collectors.records import Exemplar, Histogram, Sample
from tests.collectors.build import NOW
from tests.collectors.exporters.remote_write.messages import WriteRequest, series_of

MS = int(NOW * 1000)


def encoded(*samples: Sample, exemplars: bool = True, **external: str) -> bytes:
    return Encoder(external, exemplars=exemplars).encode(samples)[0]


def sample(value: float | None, at: float = NOW, **labels: str) -> Sample:
    return Sample("requests_total", tuple(sorted(labels.items())), at, value)


def test_samples_of_a_series_are_together_and_in_order() -> None:
    body, count = Encoder({}, exemplars=True).encode(
        [sample(2, NOW + 1, path="/"), sample(1, path="/"), sample(7, path="/x"), sample(3, NOW + 1, path="/")]
    )
    assert series_of(body) == {
        'requests_total{path="/"}': [(MS, 1), (MS + 1000, 3)],
        'requests_total{path="/x"}': [(MS, 7)],
    }
    assert count == 3, "of two at one millisecond the later one counts"


def test_a_histogram_is_its_buckets_its_sum_and_its_count() -> None:
    histogram = Histogram((0.5, 1.0, 2500.0, math.inf), (1, 2, 3, 4), 99.5)
    found = series_of(encoded(Sample("d", (("zone", "a"), ("app", "b")), NOW, 4.0, histogram)))
    assert found == {
        'd_bucket{app="b",le="0.5",zone="a"}': [(MS, 1)],
        'd_bucket{app="b",le="1",zone="a"}': [(MS, 2)],
        'd_bucket{app="b",le="2500",zone="a"}': [(MS, 3)],
        'd_bucket{app="b",le="+Inf",zone="a"}': [(MS, 4)],
        'd_sum{app="b",zone="a"}': [(MS, 99.5)],
        'd_count{app="b",zone="a"}': [(MS, 4)],
    }


def test_the_end_of_a_series_is_prometheus_stale_marker_in_all_its_parts() -> None:
    histogram = Histogram((1.0, math.inf), (1, 2), 3.0)
    request = WriteRequest.FromString(encoded(sample(None), Sample("d", (), NOW, None, histogram)))
    values = [each.value for series in request.timeseries for each in series.samples]
    assert [struct.pack("<d", value) for value in values] == [struct.pack("<Q", 0x7FF0000000000002)] * 5


def test_exemplars_stand_at_the_bucket_that_their_value_is_in() -> None:
    seen = (Exemplar((("trace_id", "abc"),), 700.0, NOW), Exemplar((("trace_id", "def"),), 1e9, NOW - 1))
    found = Sample("d", (), NOW, 2.0, Histogram((1.0, 1000.0, math.inf), (0, 1, 2), 5.0), "histogram", seen)
    request = WriteRequest.FromString(encoded(found))
    by_le = {
        label.value: [(each.labels[0].value, each.value, each.timestamp) for each in series.exemplars]
        for series in request.timeseries
        for label in series.labels
        if label.name == "le"
    }
    assert by_le == {"1": [], "1000": [("abc", 700, MS)], "+Inf": [("def", 1e9, MS - 1000)]}
    without = WriteRequest.FromString(encoded(found, exemplars=False))
    assert not any(series.exemplars for series in without.timeseries)


def test_external_labels_are_added_where_there_are_none_and_empty_ones_left_out() -> None:
    body = encoded(sample(1, cluster="own", empty=""), sample(2, Path="/"), cluster="east", Zone="z")
    assert set(series_of(body)) == {
        'requests_total{Zone="z",cluster="own"}',
        'requests_total{Path="/",Zone="z",cluster="east"}',
    }


@pytest.mark.parametrize(
    ("bound", "text"),
    [
        (1000.0, "1000"),
        (0.005, "0.005"),
        (math.inf, "+Inf"),
        (3_600_000.0, "3600000"),
        (-math.inf, "-Inf"),
        (2.5, "2.5"),
    ],
)
def test_bounds_are_written_as_on_the_sidecars_own_page(bound: float, text: str) -> None:
    assert bound_text(bound) == text


_labels = st.dictionaries(
    st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,8}", fullmatch=True), st.text(max_size=300), max_size=6
)


@given(_labels, st.floats(allow_nan=False), st.floats(-1e9, 1e10))
def test_any_series_is_read_back_as_it_was(labels: dict[str, str], value: float, at: float) -> None:
    labels.pop("__name__", None)
    body = encoded(Sample("x", tuple(sorted(labels.items())), at, value))
    (series,) = WriteRequest.FromString(body).timeseries
    expected = {"__name__": "x"} | {
        name: text.encode("utf-8", "replace").decode() for name, text in labels.items() if text
    }
    assert {label.name: label.value for label in series.labels} == expected
    assert [(each.value, each.timestamp) for each in series.samples] == [(value, round(at * 1000))]
