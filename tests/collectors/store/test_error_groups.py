"""Groups of errors as the writer keeps them and the reader tells of them."""

import logging
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from collectors.records import Batch, LogRecord, SpanRecord
from collectors.store import Limits, Reader, Store
from collectors.store.error_groups import OTHER_TITLE, ErrorGroups
from collectors.store.schema import _V1, _V2, open_writer
from tests.collectors.build import NOW, FakeClock, access, log

Submit = Callable[..., None]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store" / "telemetry.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = Store.open(path, clock=FakeClock())
    yield store
    store.close()


@pytest.fixture
def reader(store: Store, path: Path) -> Iterator[Reader]:
    reader = Reader.open(path, clock=FakeClock())
    yield reader
    reader.close()


def failed(number: int, **changes: Any) -> LogRecord:
    return access(number, response_code=503, response_flags="UH", **changes)


def error(id_: str, message: str, **fields: Any) -> LogRecord:
    return log(id_, message, **fields)._replace(severity="error")


def _submit(store: Store, *records: LogRecord | SpanRecord) -> None:
    logs = [record for record in records if isinstance(record, LogRecord)]
    spans = [record for record in records if isinstance(record, SpanRecord)]
    store.submit(Batch(logs=logs, spans=spans)).result(10)


def test_failures_are_counted_by_group_with_first_and_last(store: Store, reader: Reader) -> None:
    _submit(store, failed(1, time=NOW - 600), failed(2, time=NOW - 300), access(3), error("e", "user 1 is gone"))
    _submit(store, failed(4, time=NOW - 60, workload="productpage-v2"))
    first, second = reader.errors()
    assert (first.count, first.first_seen, first.last_seen) == (3, NOW - 600, NOW - 60)
    assert (first.first_release, first.last_release) == ("v1", "v2")
    assert (first.workload, first.trace_id) == ("productpage-v2", f"{5:032x}")
    assert (second.title, second.count) == ("user <n> is gone", 1)
    assert store.stats.failures == 4


def test_what_is_sent_again_is_counted_once(store: Store, reader: Reader) -> None:
    for _ in range(3):
        _submit(store, failed(1), failed(1), failed(2))
    (group,) = reader.errors()
    assert group.count == 2
    assert store.stats.failures == 2


def test_a_span_that_is_sent_again_is_counted_once(store: Store, reader: Reader) -> None:
    span = SpanRecord("a" * 32, "b" * 16, None, "shop", "shop-v2", "GET /", "server", NOW, 1.0, True, {})
    for _ in range(2):
        _submit(store, span, span._replace(span_id="c" * 16))
    (group,) = reader.errors()
    assert (group.kind, group.count, group.trace_id) == ("span", 2, "a" * 32)


def test_what_arrives_late_moves_the_beginning_and_not_the_end(store: Store, reader: Reader) -> None:
    _submit(store, failed(1, time=NOW - 10, workload="productpage-v2"))
    _submit(store, failed(2, time=NOW - 1000, workload="productpage-v1"))
    (group,) = reader.errors()
    assert (group.first_seen, group.last_seen) == (NOW - 1000, NOW - 10)
    assert (group.first_release, group.last_release) == ("v1", "v2")
    assert group.trace_id == f"{2:032x}"


def test_a_clock_that_is_far_off_counts_as_now(store: Store, reader: Reader) -> None:
    _submit(store, failed(1, time=1e300), failed(2, time=-1e300), failed(3, time=NOW + 86_400))
    (group,) = reader.errors()
    assert (group.count, group.first_seen, group.last_seen) == (3, NOW, NOW)


def test_questions_by_time_service_kind_and_words(store: Store, reader: Reader) -> None:
    _submit(store, failed(1, time=NOW - 7200), failed(2, time=NOW - 60))
    _submit(store, error("a", "disk is full", time=NOW - 30), error("b", "disk is full", time=NOW - 20))
    assert [(group.title[:4], group.recent) for group in reader.errors(since=NOW - 3600)] == [("disk", 2), ("503 ", 1)]
    assert [group.count for group in reader.errors(since=NOW - 3600)] == [2, 2]
    assert reader.errors(since=NOW - 10) == []
    assert [group.kind for group in reader.errors(kind="message")] == ["message"]
    assert [group.service for group in reader.errors(service="reviews")] == ["reviews"]
    assert [group.kind for group in reader.errors(text="FULL disk")] == ["message"]
    assert reader.errors(text="full of nothing") == []
    assert reader.errors(text="%") == []
    assert [group.kind for group in reader.errors(new_since=NOW - 100)] == ["message"]
    assert len(reader.errors(limit=1)) == 1


def test_the_curve_has_a_point_for_each_minute_with_an_error(store: Store, reader: Reader) -> None:
    _submit(store, *(failed(number, time=NOW - 60 * minute) for number, minute in enumerate((1, 1, 3))))
    (group,) = reader.errors()
    assert reader.error_curve(group.fingerprint, NOW - 300, NOW) == [(NOW - 180, 1), (NOW - 60, 2)]
    assert reader.error_curve("none", NOW - 300, NOW) == []


def test_a_transaction_that_fails_counts_nothing(path: Path) -> None:
    class Full(sqlite3.Connection):
        attempts = 0

        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            if sql == "COMMIT" and Full.attempts < 2:
                Full.attempts += 1
                failure = sqlite3.OperationalError("database or disk is full")
                failure.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise failure
            return super().execute(sql, *args)

    def connect(path: Path) -> sqlite3.Connection:
        open_writer(path).close()
        return sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=Full)

    store = Store.open(path, clock=FakeClock(), limits=Limits(retry_s=0.01), connect=connect)
    _submit(store, failed(1), error("e", "user 1 is gone"))
    store.close()
    assert Full.attempts == 2
    reader = Reader.open(path)
    assert [group.count for group in reader.errors()] == [1, 1]
    assert store.stats.failures == 2
    reader.close()


def test_groups_outlive_the_records(path: Path) -> None:
    clock = FakeClock()
    store = Store.open(path, clock=clock, limits=Limits(retention_s=3600, retention_every_s=0.01))
    _submit(store, *(failed(number) for number in range(100)))
    clock.time += 3700
    sent = 0
    while store.stats.retained_out < 101:  # records, and the minute
        sent += 1
        _submit(store, error(f"e{sent}", "still here", time=clock.time))
        clock.time += 1
    store.close()
    reader = Reader.open(path)
    assert reader.count_logs() == sent
    old = next(group for group in reader.errors() if group.kind == "response")
    assert (old.count, old.recent) == (100, 0)
    assert reader.error_curve(old.fingerprint, NOW - 60, NOW + 60) == []
    reader.close()


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    path.parent.mkdir(parents=True)
    connection = open_writer(path)
    yield connection
    connection.close()


def _groups(connection: sqlite3.Connection) -> list[tuple[str, str, int]]:
    rows = connection.execute("SELECT service, title, count FROM error_groups ORDER BY last_seen, title").fetchall()
    return [(service, title, count) for service, title, count in rows]


def _failure(number: int, service: str = "shop", at: float = NOW) -> Any:
    from collectors.failures import of_log

    return of_log(error(str(number), f"kind {chr(97 + number % 26)}{chr(97 + number // 26)}", time=at, service=service))


def test_a_service_with_too_many_errors_has_others(
    connection: sqlite3.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    groups = ErrorGroups(max_of_service=3)
    with caplog.at_level(logging.WARNING, "remora.store"):
        for number in range(10):
            groups.add(connection, [_failure(number)], NOW)
        groups.add(connection, [_failure(1, service="cart")], NOW)
    found = _groups(connection)
    assert len(found) == 5
    assert ("shop", OTHER_TITLE, 7) in found
    assert ("cart", "kind ba", 1) in found
    assert [record.message for record in caplog.records] == ["shop has 3 groups of errors: more are counted as others"]
    assert (groups.take_counted(), groups.take_merged()) == (11, 7)
    # Those that were there keep counting by themselves.
    groups.add(connection, [_failure(0)], NOW)
    assert ("shop", "kind aa", 2) in _groups(connection)


def test_beyond_all_bounds_what_was_quiet_longest_leaves(connection: sqlite3.Connection) -> None:
    groups = ErrorGroups(max_groups=40)
    for number in range(60):
        groups.add(connection, [_failure(number, at=NOW - 1000 + number)], NOW)
    found = _groups(connection)
    assert len(found) <= 40
    assert found[-1][1] == "kind hc"
    assert "kind aa" not in {title for _, title, _ in found}
    (minutes,) = connection.execute(
        "SELECT count(*) FROM error_minutes WHERE fingerprint NOT IN (SELECT fingerprint FROM error_groups)"
    ).fetchone()
    assert minutes == 0


def test_a_flood_of_different_errors_in_one_batch_is_bounded(connection: sqlite3.Connection) -> None:
    groups = ErrorGroups(max_of_service=50)
    groups.add(connection, [_failure(number) for number in range(600)], NOW)
    assert len(_groups(connection)) == 51
    assert sum(count for *_, count in _groups(connection)) == 600


def test_a_store_of_the_version_before_is_taken_over(path: Path) -> None:
    path.parent.mkdir(parents=True)
    old = sqlite3.connect(path)
    old.executescript(f"{_V1}\n{_V2}\nPRAGMA user_version = 2;")
    old.close()
    store = Store.open(path, clock=FakeClock())
    _submit(store, failed(1))
    store.close()
    reader = Reader.open(path)
    assert [group.count for group in reader.errors()] == [1]
    reader.close()
