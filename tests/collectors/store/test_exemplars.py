"""Of each bucket the last few requests with a trace are kept, and no more."""

import math
from contextlib import closing
from pathlib import Path

import pytest

from collectors.records import Batch, Exemplar, Histogram, Sample
from collectors.store import Reader, retention
from collectors.store.exemplars import KEPT
from collectors.store.schema import open_writer
from tests.collectors.build import NOW, fill

BOUNDS = (10.0, 100.0, math.inf)
LABELS = (("destination_workload", "reviews-v1"),)


def trace(number: int) -> str:
    return f"{number:032x}"


def reading(at: float, *values: float, labels: tuple[tuple[str, str], ...] = LABELS, first: int = 1) -> Sample:
    exemplars = tuple(
        Exemplar((("trace_id", trace(first + number)),), value, at) for number, value in enumerate(values)
    )
    count = int(at - NOW) + 1_000
    histogram = Histogram(BOUNDS, (count, count, count), 1.0)
    return Sample("latency", labels, at, float(count), histogram, "histogram", exemplars)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "telemetry.sqlite"


def traces(path: Path, name: str = "latency", **labels: str) -> list[int]:
    with closing(Reader.open(path)) as reader:
        found = reader.exemplars(name, labels, since=NOW - 3_600, until=NOW + 3_600)
        return [int(one.trace_id, 16) for one in found]


def test_the_largest_come_first_by_any_of_the_histogram_s_names(path: Path) -> None:
    other = (("destination_workload", "ratings-v1"),)
    fill(path, Batch(samples=[reading(NOW, 5.0, 50.0, 500.0), reading(NOW, 70.0, labels=other, first=9)]))
    for name in ("latency", "latency_bucket", "latency_count"):
        assert traces(path, name) == [3, 9, 2, 1]
    assert traces(path, destination_workload="reviews-v1", le="100") == [3, 2, 1]
    assert traces(path, "nothing") == []
    with closing(Reader.open(path)) as reader:
        (slowest,) = reader.exemplars("latency", since=NOW, until=NOW + 1, limit=1)
        assert (slowest.value, slowest.time, slowest.labels) == (500.0, NOW, dict(LABELS))
        assert reader.exemplars("latency", since=NOW + 1, until=NOW + 2) == []


def test_of_each_bucket_the_latest_of_three_half_minutes_are_kept(path: Path) -> None:
    samples = [reading(NOW + 10 * step, 50.0, first=step) for step in range(30)]
    fill(path, Batch(samples=[*samples, reading(NOW, 5.0, first=99)]))
    kept = traces(path)
    assert kept[-1] == 99, "another bucket's is not driven out"
    assert len(kept) == KEPT + 1
    assert max(kept[:-1]) == 29
    # The same again, and what comes late, changes nothing.
    fill(path, Batch(samples=samples[:20]))
    assert traces(path) == kept


@pytest.mark.parametrize(
    "exemplar",
    [
        Exemplar((("user", "x"),), 1.0, NOW),
        Exemplar((("trace_id", "abc"),), 1.0, NOW),
        Exemplar((("trace_id", trace(1)),), math.nan, NOW),
        Exemplar((("trace_id", trace(1)),), 1.0, math.inf),
    ],
    ids=["no trace", "no whole id", "no number", "no time"],
)
def test_what_cannot_be_stored_is_left_out_and_its_reading_is_not(path: Path, exemplar: Exemplar) -> None:
    fill(path, Batch(samples=[reading(NOW)._replace(exemplars=(exemplar,))]))
    assert traces(path) == []
    with closing(Reader.open(path)) as reader:
        assert len(reader.series("latency")) == 1


def test_they_leave_with_what_is_as_old_and_with_their_series(path: Path) -> None:
    gone = (("destination_workload", "gone-v1"),)
    late = reading(NOW + 90, 5.0, first=2)
    # One whose exemplar claims to be younger than any of its readings.
    odd = reading(NOW, labels=gone)._replace(exemplars=late.exemplars)
    fill(path, Batch(samples=[reading(NOW, 50.0), late, odd]))
    with closing(open_writer(path)) as connection:
        while retention.delete_older(connection, NOW + 60):
            pass
        assert connection.execute("SELECT trace_id FROM exemplars").fetchall() == [(trace(2),)]
        assert connection.execute("SELECT count(*) FROM series").fetchone() == (1,)
