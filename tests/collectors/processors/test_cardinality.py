"""The bound on series, and the report of who is to blame."""

from typing import Any

import pytest

from collectors.processors.cardinality import Settings
from collectors.processors.cardinality_guard import CardinalityGuard
from collectors.records import Batch, Sample
from collectors.telemetry import Telemetry
from tests.collectors.build import NOW, FakeClock, log
from tests.collectors.fakes import Sink


class Guarded:
    def __init__(self, **settings: Any) -> None:
        self.clock, self.sink, self.telemetry = FakeClock(), Sink(), Telemetry()
        self.guard = CardinalityGuard(Settings(**settings).bounds(), self.telemetry, self.clock, self.sink)

    async def send(self, *samples: Sample) -> list[Sample]:
        """Those that pass."""
        before = len(self.sink.batches)
        await self.guard.consume(Batch(samples=list(samples)))
        return [sample for batch in self.sink.batches[before:] for sample in batch.samples]

    def dropped(self, limit: str) -> float:
        name = "remora_collector_cardinality_dropped_samples_total"
        return self.telemetry.registry.get_sample_value(name, {"limit": limit}) or 0

    @property
    def alive(self) -> float | None:
        return self.telemetry.registry.get_sample_value("remora_collector_cardinality_series")


def sample(user: int, name: str = "requests_total", instance: str = "a:1", value: float | None = 1) -> Sample:
    return Sample(name, (("instance", instance), ("path", "/x"), ("user", str(user))), NOW, value)


@pytest.mark.parametrize(
    ("settings", "limit"),
    [({"max_series_per_metric": 3}, "metric"), ({"max_series_per_target": 3}, "target"), ({"max_series": 3}, "total")],
)
async def test_new_series_beyond_a_bound_are_dropped_and_known_ones_go_on(
    settings: dict[str, int], limit: str, caplog: pytest.LogCaptureFixture
) -> None:
    guarded = Guarded(**settings)
    series = [sample(user) for user in range(5)]
    assert await guarded.send(*series) == series[:3]
    assert await guarded.send(*reversed(series)) == series[:3][::-1]
    assert guarded.dropped(limit) == 4
    assert guarded.alive == 3
    assert caplog.text.count("too many series") == 1, "one line a minute"


async def test_one_targets_flood_leaves_room_for_others() -> None:
    guarded = Guarded(max_series_per_target=3)
    await guarded.send(*(sample(user) for user in range(100)))
    assert len(await guarded.send(sample(1, instance="b:1"))) == 1


async def test_a_series_that_ends_makes_room() -> None:
    guarded = Guarded(max_series=1)
    await guarded.send(sample(1))
    assert await guarded.send(sample(2)) == []
    assert await guarded.send(sample(2, value=None)) == [], "an end of what was never let in"
    assert await guarded.send(sample(1, value=None)) == [sample(1, value=None)]
    assert guarded.alive == 0
    assert await guarded.send(sample(2)) == [sample(2)]


async def test_a_silent_series_makes_room_after_a_while() -> None:
    guarded = Guarded(max_series=1, expiry="60s")
    await guarded.send(sample(1))
    guarded.clock.time += 61
    assert await guarded.send(sample(2)) == [sample(2)]


async def test_logs_pass() -> None:
    guarded = Guarded()
    await guarded.guard.consume(Batch(logs=[log("1", "x")]))
    assert len(guarded.sink.batches[0].logs) == 1


async def test_the_report_names_the_worst_metric_and_its_worst_label_first() -> None:
    guarded = Guarded(max_series_per_metric=50)
    await guarded.send(sample(1, "small_total"), *(sample(user) for user in range(60)))
    report = await guarded.guard.report()
    assert report["series"] == 51
    assert report["bounds"]["metric"] == 50
    first, second = report["metrics"]
    assert (first["name"], first["series"], first["dropped"]) == ("requests_total", 50, 10)
    assert first["labels"][0] == {"label": "user", "values": 50, "examples": ["0", "1", "10", "11", "12"]}
    assert [label["values"] for label in first["labels"]] == [50, 1, 1]
    assert (second["name"], second["series"]) == ("small_total", 1)
    assert report["targets"] == [{"instance": "a:1", "series": 51}]
    assert report["dropped"] == {"requests_total": 10}
