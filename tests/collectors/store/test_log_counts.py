import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from collectors.records import Batch, LogRecord
from collectors.store import Limits, Reader, Store
from collectors.store import logs as log_queries
from collectors.store.log_filter import Filter
from collectors.store.schema import _V1, _V2, _V3, _V4, _V5, open_reader
from tests.collectors.build import NOW, FakeClock, access, fill, log


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store" / "telemetry.sqlite"


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    """To a store of some minutes, workloads and severities."""
    rng = random.Random(1)
    times = [NOW + rng.randrange(-300, 300) + rng.choice((0.0, rng.random())) for _ in range(600)]
    many = [_record(str(number), time, rng) for number, time in enumerate(times)]
    early = [_record(f"early{number}", time, rng) for number, time in enumerate((-90.5, -60.0, -0.5, 0.0, 59.9))]
    fill(path, Batch(logs=[*many, *early]))
    opened = open_reader(path)
    yield opened
    opened.close()


_WORDS = ("boom", "quiet", "else")


def _record(id_: str, time: float, rng: random.Random) -> LogRecord:
    tag, workload = rng.choice(("app.log", "other")), rng.choice(("a-v1", "b-v1"))
    return LogRecord(id_, time, tag, workload, rng.choice(("info", "error")), None, {"message": rng.choice(_WORDS)})


def _one_by_one(connection: sqlite3.Connection, query: Filter) -> int:
    where, values = query.conditions()
    found = connection.execute(f"SELECT message FROM logs AS l NOT INDEXED WHERE {where}", values)
    return sum(not query.text or message in query.text for (message,) in found)


def test_counts_are_those_of_the_records_whatever_the_bounds(connection: sqlite3.Connection) -> None:
    rng = random.Random(2)
    bounds = [None, NOW, NOW - 60, NOW + 120, NOW + 0.001, -60.0, -90.0, 0.0, 1e300, -1e300]
    bounds += [NOW + rng.uniform(-400, 400) for _ in range(20)]
    for _ in range(500):
        query = Filter(
            text=rng.choice(("", "boom", "boom OR quiet")),
            workload=rng.choice((None, "a-v1", "c-v1")),
            tag=rng.choice((None, "other")),
            severity=rng.choice((None, "error")),
            since=rng.choice(bounds),
            until=rng.choice(bounds),
        )
        assert log_queries.count(connection, query) == _one_by_one(connection, query), query


def test_whole_minutes_are_counted_without_a_look_at_the_records(connection: sqlite3.Connection) -> None:
    read: set[str] = set()

    def authorize(action: int, table: str | None, *_rest: str | None) -> int:
        if action == sqlite3.SQLITE_READ and table:
            read.add(table)
        return sqlite3.SQLITE_OK

    connection.set_authorizer(authorize)
    assert log_queries.count(connection, Filter()) == 605
    assert log_queries.count(connection, Filter(severity="error", workload="a-v1")) > 0
    assert read == {"log_counts", "log_kinds"}


def test_what_is_sent_again_is_counted_once(path: Path) -> None:
    store = Store.open(path, clock=FakeClock())
    store.submit(Batch(logs=[access(1), access(2)])).result(10)
    store.submit(Batch(logs=[access(2), access(3), access(3), access(4, response_code=503)])).result(10)
    store.close()
    reader = Reader.open(path)
    assert reader.count_logs() == 4
    assert reader.count_logs(severity="error") == 1
    reader.close()


def test_what_leaves_is_not_counted_any_more(path: Path) -> None:
    clock = FakeClock()
    store = Store.open(path, clock=clock, limits=Limits(retention_s=3600, retention_every_s=0.01))
    records = [log(str(number), "x", time=NOW + number * 0.1) for number in range(5_000)]
    far_off = [log("late", "x", time=1e300), log("early", "x", time=-1e300)]
    store.submit(Batch(logs=[*records, *far_off])).result(10)
    clock.time = NOW + 3600 + 250
    for number in range(100):
        store.submit(Batch(logs=[log(f"tick{number}", "x", time=clock.time)])).result(10)
        clock.time += 0.02
        if store.stats.retained_out >= 2_500:
            break
    store.close()
    reader = Reader.open(path)
    left = reader.logs(limit=10_000)
    assert {entry.id for entry in left} > {"late", "3000"}
    assert not {entry.id for entry in left} & {"early", "2000"}
    assert reader.count_logs() == len(left)
    reader.close()
    connection = open_reader(path)
    assert connection.execute("SELECT count(*) FROM log_counts WHERE count <= 0").fetchone() == (0,)
    connection.close()


def test_records_of_a_store_of_the_version_before_are_counted(path: Path) -> None:
    path.parent.mkdir(parents=True)
    old = sqlite3.connect(path)
    old.executescript("".join((_V1, _V2, _V3, _V4, _V5, "PRAGMA user_version = 5;")))
    times = (NOW, NOW + 59.9, NOW + 60, -0.5, -60.0, -60.5, 0.0, 1e300, -1e300)
    for number, time in enumerate(times):
        old.execute(
            "INSERT INTO logs (id, time, tag, workload, severity, message, body) "
            "VALUES (?, ?, 't', 'w', 'info', '', '')",
            (f"old{number}", time),
        )
    old.commit()
    old.close()
    fill(path, Batch(logs=[LogRecord(f"new{n}", time, "t", "w", "info", None, {}) for n, time in enumerate(times)]))
    connection = open_reader(path)
    # Each new record is of the minute of the old one.
    counts = connection.execute("SELECT minute, count FROM log_counts ORDER BY minute").fetchall()
    assert [count % 2 for _, count in counts] == [0] * len(counts)
    assert [minute for minute, _ in counts[1:-1]] == [-2, -1, 0, NOW // 60, NOW // 60 + 1]
    assert log_queries.count(connection, Filter()) == 2 * len(times)
    connection.close()
