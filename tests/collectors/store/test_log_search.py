"""Whatever is asked, and by whichever way it is found, the answer is that of looking at each record."""

import itertools
import random
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.records import Batch, LogRecord
from collectors.store import Limits, Reader, Store
from collectors.store import logs as log_queries
from collectors.store.answers import LogEntry
from collectors.store.log_filter import Filter
from collectors.store.schema import _V1, _V2, _V3, _V4, _V5, _V6, open_reader
from tests.collectors.build import NOW, FakeClock, fill, log


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store" / "telemetry.sqlite"


_WORDS = ("boom", "quiet", "else")
_TRACES = ("0af7651916cd43dd8448eb211c80319c", "0af7651900000000000000000000beef", "b1", "")
_TEXTS: dict[str, Callable[[set[str]], bool]] = {
    "": lambda words: True,
    "boom": lambda words: "boom" in words,
    "boom quiet": lambda words: {"boom", "quiet"} <= words,
    "boom OR else": lambda words: bool({"boom", "else"} & words),
    "boom NOT quiet": lambda words: "boom" in words and "quiet" not in words,
    "qui*": lambda words: "quiet" in words,
    "nonesuch": lambda words: False,
    '"': lambda words: False,
}
# Of the same words, and of none: the index alone does not tell them apart.
_WORKLOADS = ("a-v1", "a_V1", "a-v1-b", "-", "é", "\U0001e94b", "a\0b")
_TIMES = (*(NOW + second * 7 for second in range(-20, 20)), NOW + 0.5, 0.0, -0.5, -60.5, 1e300)


def _random_records(rng: random.Random) -> list[LogRecord]:
    """Some of them twice, under one id. Most are of one workload, as they are in a store."""
    return [
        LogRecord(
            id=str(rng.randrange(400)),
            time=rng.choice(_TIMES),
            tag=rng.choice(("app.log", "app.log", "other")),
            workload=rng.choice((_WORKLOADS[0], rng.choice(_WORKLOADS))),
            severity=rng.choice(("info", "info", "error", "in-fo")),
            trace_id=rng.choice((None, *_TRACES)),
            body={"message": " ".join(rng.choices(_WORDS, k=rng.randrange(4)))},
        )
        for _ in range(rng.choice((0, 1, 20, 200)))
    ]


def _random_question(rng: random.Random) -> dict[str, Any]:
    values: dict[str, Sequence[Any]] = {
        "text": sorted(_TEXTS),
        "workload": (*_WORKLOADS, _WORKLOADS[0], "c"),
        "tag": ("app.log", "none"),
        "severity": ("info", "error"),
        "trace_id": (*_TRACES[:3], "0af76519"),
        "since": _TIMES,
        "until": _TIMES,
        "after_rowid": range(300),
    }
    often = {"text": 0.7, "workload": 0.5, "trace_id": 0.1, "after_rowid": 0.2}
    return {name: rng.choice(of) for name, of in values.items() if rng.random() < often.get(name, 0.3)}


def _holds(record: LogRecord, rowid: int, asked: dict[str, Any]) -> bool:
    words = set(record.body["message"].split())
    trace = asked.get("trace_id")
    # Eight digits are the beginning of an id.
    found = record.trace_id == trace or (trace == "0af76519" and (record.trace_id or "").startswith(trace))
    return (
        _TEXTS[str(asked.get("text", ""))](words)
        and (trace is None or found)
        and all(
            asked.get(name, getattr(record, name)) == getattr(record, name) for name in ("workload", "tag", "severity")
        )
        and asked.get("since", record.time) <= record.time < asked.get("until", float("inf"))
        and rowid > asked.get("after_rowid", 0)
    )


def _ids(entries: Iterable[LogEntry]) -> list[str]:
    return [entry.id for entry in entries]


@given(st.integers(0, 2**32), st.integers(1, 12))
@settings(max_examples=60)
def test_questions_are_answered_as_by_looking_at_each_record(seed: int, limit: int) -> None:
    rng = random.Random(seed)
    batches = [_random_records(rng) for _ in range(rng.randrange(1, 4))]
    questions = [_random_question(rng) for _ in range(60)]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "telemetry.sqlite"
        store = Store.open(path, clock=FakeClock(), limits=Limits(retention_s=1e10))
        for records in batches:
            store.submit(Batch(logs=records)).result(10)
        store.close()
        first: dict[str, LogRecord] = {}
        for record in itertools.chain(*batches):
            first.setdefault(record.id, record)
        reader = Reader.open(path)
        rowids = {entry.id: entry.rowid for entry in reader.logs(limit=1000)}
        assert rowids.keys() == first.keys()
        for asked in questions:
            expected = [one for one in first.values() if _holds(one, rowids[one.id], asked)]
            newest = sorted(expected, key=lambda one: (one.time, rowids[one.id]), reverse=True)
            if "after_rowid" in asked:
                following = sorted(expected, key=lambda one: rowids[one.id])[:limit]
                chosen = [one for one in newest if one in following]
            else:
                chosen = newest[:limit]
            assert reader.count_logs(**asked) == len(expected), asked
            assert _ids(reader.logs(limit=limit, **asked)) == [one.id for one in chosen], asked
        reader.close()


def _keys_are_those_of_the_records(path: Path) -> None:
    connection = open_reader(path)
    records = connection.execute("SELECT rowid, time, tag, workload, severity FROM logs ORDER BY 1").fetchall()
    keys = connection.execute(
        "SELECT k.rowid, k.time, n.tag, n.workload, n.severity FROM log_keys AS k "
        "LEFT JOIN log_kinds AS n ON n.id = k.kind ORDER BY 1"
    ).fetchall()
    assert keys == records
    kinds = "SELECT tag, workload, severity, count FROM log_kinds"
    counts = "SELECT tag, workload, severity, count(*) FROM logs GROUP BY 1, 2, 3"
    assert sorted(connection.execute(kinds).fetchall()) == sorted(connection.execute(counts).fetchall())
    connection.close()


def _some(count: int, of: str) -> list[LogRecord]:
    rng = random.Random(count)
    return [
        log(f"{of}{number}", rng.choice(_WORDS), time=NOW + number)._replace(
            workload=rng.choice((of, "both")), severity=rng.choice(("info", "error"))
        )
        for number in range(count)
    ]


def test_keys_leave_with_their_records_and_kinds_with_the_last_of_them(path: Path) -> None:
    clock = FakeClock()
    store = Store.open(path, clock=clock, limits=Limits(retention_s=3600, retention_every_s=0.01))
    store.submit(Batch(logs=_some(300, "old"))).result(10)
    late = [record._replace(time=NOW + 7200) for record in _some(200, "new")]
    store.submit(Batch(logs=[*late, *late])).result(10)
    clock.time = NOW + 7200
    for number in range(100):
        store.submit(Batch(logs=[log(f"tick{number}", "x", time=clock.time)])).result(10)
        if store.stats.retained_out >= 300:
            break
        clock.time += 0.02
    store.close()
    _keys_are_those_of_the_records(path)
    reader = Reader.open(path)
    assert reader.count_logs(workload="old") == 0
    assert reader.count_logs(workload="new") > 0
    reader.close()


def test_records_of_a_store_of_the_version_before_have_keys(path: Path) -> None:
    path.parent.mkdir(parents=True)
    old = sqlite3.connect(path)
    old.executescript("".join((_V1, _V2, _V3, _V4, _V5, "PRAGMA user_version = 5;")))
    for record in _some(50, "old"):
        insert = "INSERT INTO logs (id, time, tag, workload, severity, message, body) VALUES (?, ?, ?, ?, ?, '', '')"
        old.execute(insert, (record.id, record.time, record.tag, record.workload, record.severity))
    old.commit()
    old.executescript(f"{_V6}PRAGMA user_version = 6;")
    old.close()
    fill(path, Batch(logs=_some(50, "new")))
    _keys_are_those_of_the_records(path)


def test_matches_are_counted_without_a_look_at_the_records(path: Path) -> None:
    fill(path, Batch(logs=_some(300, "a")))
    connection = open_reader(path)
    read: set[str] = set()

    def authorize(action: int, table: str | None, column: str | None, *_rest: str | None) -> int:
        if action == sqlite3.SQLITE_READ and table == "logs" and column:
            read.add(column.lower())
        return sqlite3.SQLITE_OK

    connection.set_authorizer(authorize)
    for query in (
        Filter(text="boom", workload="both"),
        Filter(text="boom", workload="both", severity="info", since=NOW + 10),
        Filter(text="boom OR quiet", tag="app.log", until=NOW + 200),
        Filter(text="boom", since=NOW + 295),
        Filter(after_rowid=100),
    ):
        assert log_queries.count(connection, query) > 0
        assert read <= {"time", "rowid"}, query  # which the index by time has
    connection.close()
