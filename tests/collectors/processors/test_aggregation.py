"""Sums of counters, histograms and gauges over labels, whatever restarts, vanishes or comes back."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from collectors.processors.aggregation import Aggregate, Settings
from collectors.records import Batch, Exemplar, Histogram, Sample
from collectors.telemetry import Telemetry
from tests.collectors.build import NOW, FakeClock, log
from tests.collectors.fakes import Sink


class Summing:
    """An aggregating stage that speaks when it is told to."""

    def __init__(self, **settings: Any) -> None:
        self.clock, self.sink, self.telemetry = FakeClock(), Sink(), Telemetry()
        settings = {"drop": ["pod"], **settings}
        self.stage = Aggregate(Settings(**settings), "sums", self.clock, self.telemetry, self.sink)

    async def read(self, *samples: Sample) -> None:
        await self.stage.consume(Batch(samples=list(samples)))

    async def tell(self, after_s: float = 15) -> list[Sample]:
        self.clock.time += after_s
        before = len(self.sink.batches)
        await self.stage.tell()
        return [sample for batch in self.sink.batches[before:] for sample in batch.samples]

    async def value(self) -> float | None:
        return (await self.tell())[-1].value

    def refused(self, reason: str) -> float:
        return (
            self.telemetry.registry.get_sample_value(
                "remora_collector_aggregation_refused_samples_total", {"reason": reason}
            )
            or 0
        )

    def counter(self, pod: str, value: float | None, **labels: str) -> Sample:
        pairs = tuple(sorted({"pod": pod, "app": "web", **labels}.items()))
        return Sample("requests_total", pairs, self.clock.time, value, None, "counter")

    def histogram(self, pod: str, *counts: int, bounds: tuple[float, ...] = (1, 5, float("inf"))) -> Sample:
        histogram = Histogram(bounds, counts, float(sum(counts)))
        seen = (Exemplar((("trace_id", pod),), 1.0, NOW),)
        return Sample("seconds", (("pod", pod),), self.clock.time, float(counts[-1]), histogram, "histogram", seen)


async def test_a_sum_is_told_from_zero_and_has_the_labels_that_are_left() -> None:
    sums = Summing()
    await sums.read(sums.counter("a", 100), sums.counter("b", 0))
    assert [(each.value, each.labels) for each in await sums.tell()] == [(0, (("app", "web"),))] * 2
    await sums.read(sums.counter("a", 103), sums.counter("b", 4))
    assert await sums.value() == 7, "growth, not values of unknown age"


async def test_a_restart_a_vanished_series_and_one_that_comes_back_make_no_jump() -> None:
    sums = Summing()
    await sums.read(sums.counter("a", 0), sums.counter("b", 0))
    await sums.read(sums.counter("a", 10), sums.counter("b", 10))
    assert await sums.value() == 20
    await sums.read(sums.counter("a", 3))
    assert await sums.value() == 23, "restarted: 3 since zero"
    await sums.read(sums.counter("b", None))
    assert await sums.value() == 23, "what b counted stays counted"
    await sums.read(sums.counter("b", 12))
    assert await sums.value() == 25, "what it grew by while it could not be read counts"


async def test_a_silent_series_is_forgotten_and_the_last_one_ends_the_sum() -> None:
    sums = Summing(expiry="60s")
    await sums.read(sums.counter("a", 0))
    await sums.read(sums.counter("a", 5))
    assert await sums.value() == 5
    assert await sums.value() == 5
    assert [each.value for each in await sums.tell(61)] == [None]
    assert await sums.tell() == []
    await sums.read(sums.counter("a", 900))
    assert await sums.value() == 0, "of unknown age again"


async def test_histograms_are_summed_bucket_by_bucket_across_restarts() -> None:
    sums = Summing()
    await sums.read(sums.histogram("a", 0, 0, 0), sums.histogram("b", 5, 5, 5))
    await sums.read(sums.histogram("a", 1, 2, 3), sums.histogram("b", 5, 6, 7))
    (_, told) = await sums.tell()
    assert told.histogram == Histogram((1, 5, float("inf")), (1, 3, 5), 6 + 18 - 15)
    assert told.value == 5
    assert {each.labels[0][1] for each in told.exemplars} == {"a", "b"}
    await sums.read(sums.histogram("a", 1, 1, 1))
    (told,) = await sums.tell()
    assert told.histogram is not None
    assert told.histogram.counts == (2, 4, 6)


async def test_other_buckets_are_refused_and_counted() -> None:
    sums = Summing()
    await sums.read(sums.histogram("a", 0, 0, 0), sums.histogram("b", 1, 1, bounds=(2, float("inf"))))
    assert sums.refused("buckets") == 1


@pytest.mark.parametrize(("choice", "expected"), [("last", 4), ("sum", 7), ("min", 3), ("max", 4)])
async def test_gauges_become_what_was_chosen(choice: str, expected: float) -> None:
    sums = Summing(gauges=choice)

    def gauge(pod: str, value: float | None, at: float) -> Sample:
        return Sample("open", (("pod", pod),), at, value, None, "gauge")

    await sums.read(gauge("a", 3, NOW), gauge("b", 4, NOW + 1), gauge("c", 99, NOW))
    await sums.read(gauge("c", None, NOW + 1))
    assert await sums.value() == expected, "one that ended is no part of it"
    await sums.read(gauge("a", None, NOW + 2), gauge("b", None, NOW + 2))
    assert [each.value for each in await sums.tell()] == [None]


async def test_gauges_are_refused_where_nothing_was_chosen() -> None:
    sums = Summing()
    await sums.read(
        Sample("open", (("pod", "a"),), NOW, 3, None, "gauge"), Sample("odd", (("pod", "a"),), NOW, 3, None, "")
    )
    assert await sums.tell() == []
    assert (sums.refused("gauge"), sums.refused("unknown")) == (1, 1)


async def test_other_metrics_logs_and_spans_pass() -> None:
    sums = Summing(metrics="requests_.*")
    await sums.stage.consume(Batch(logs=[log("1", "x")], samples=[sums.histogram("a", 0, 0, 0), sums.counter("a", 1)]))
    (batch,) = sums.sink.batches
    assert (len(batch.logs), [each.name for each in batch.samples]) == (1, ["seconds"])


async def test_series_beyond_the_bound_are_dropped_and_counted() -> None:
    sums = Summing(max_series=2)
    await sums.read(*(sums.counter(pod, 0) for pod in "abc"))
    assert sums.refused("limit") == 1


async def test_what_is_to_be_kept_may_be_said_instead() -> None:
    sums = Summing(drop=[], keep=["app"])
    await sums.read(sums.counter("a", 0, path="/1"), sums.counter("a", 0, path="/2"))
    assert {each.labels for each in await sums.tell()} == {(("app", "web"),)}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"drop": ["a"], "keep": ["b"]}, "either drop or keep"),
        ({}, "either drop or keep"),
        ({"drop": ["le"]}, "no label that can be summed over"),
        ({"drop": ["a"], "gauges": "average"}, "refuse"),
        ({"drop": ["a"], "interval": 5}, "is no duration"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(said)):
        Settings(**settings)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 20), st.booleans()), max_size=40))
async def test_a_sum_grows_by_what_its_series_grew_by(steps: list[tuple[str, int, bool]]) -> None:
    """Against a model that counts every increment itself."""
    sums = Summing()
    values = dict.fromkeys("abc", 0)
    await sums.read(*(sums.counter(pod, 0) for pod in values))
    expected = 0
    for pod, growth, restart in steps:
        if restart and growth < values[pod]:
            values[pod] = 0
        values[pod] += growth
        expected += growth
        await sums.read(sums.counter(pod, values[pod]))
    assert await sums.value() == expected
