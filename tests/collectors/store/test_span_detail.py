import sqlite3
from pathlib import Path

from collectors.records import Batch, SpanRecord
from collectors.store import Reader, Store
from collectors.store.schema import _V1
from tests.collectors.build import FakeClock, fill, span


def whole() -> SpanRecord:
    """A span that says everything a span can say."""
    return span(
        1,
        2,
        1,
        "reviews",
        resource={"service.name": "reviews", "service.version": "v3"},
        scope=("tracer", "1.2"),
        ok=True,
        status_message="a message",
        events=[{"name": "exception", "time_ns": 1_769_860_800_123_456_789, "attributes": {"type": "KeyError"}}],
        links=[{"trace_id": "ab" * 16, "span_id": "cd" * 8, "trace_state": "a=b", "attributes": {"n": 1}}],
        trace_state="vendor=1",
        flags=1,
        start_ns=1_769_860_800_000_000_001,
        end_ns=1_769_860_800_005_000_003,
        dropped=(1, 2, 3),
    )


def test_a_span_comes_back_with_all_that_it_said(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    fill(path, Batch(spans=[whole(), span(1, 1, None, "plain")]))
    reader = Reader.open(path)
    found = {record.span_id: record for record in reader.span_records(whole().trace_id)}
    assert found[whole().span_id] == whole()
    assert found[f"{1:016x}"] == span(1, 1, None, "plain")
    (entry,) = (entry for entry in reader.trace(whole().trace_id) if entry.span_id == whole().span_id)
    assert (entry.resource, entry.status_message) == (whole().resource, "a message")
    assert entry.events == whole().events
    assert [trace.trace_id for trace in reader.traces(text="KeyError")] == [whole().trace_id]
    reader.close()


def test_a_store_of_the_first_version_is_brought_to_the_present_one_with_its_spans(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(_V1 + "PRAGMA user_version = 1;")
    connection.execute(
        "INSERT INTO spans (trace_id, span_id, parent_id, service, workload, name, kind, start, duration_ms, error, "
        "values_text, attributes) VALUES (?, ?, NULL, 's', 'w', 'n', 'server', ?, 1, 0, '', ?)",
        ("0a" * 16, "0b" * 8, FakeClock().now(), b"\x81\xa1a\x01"),
    )
    connection.commit()
    connection.close()
    Store.open(path, clock=FakeClock()).close()
    reader = Reader.open(path)
    (record,) = reader.span_records("0a" * 16)
    assert (record.attributes, record.resource, record.start_ns) == ({"a": 1}, {}, 0)
    reader.close()
