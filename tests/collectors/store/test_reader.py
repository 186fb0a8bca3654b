from pathlib import Path

import pytest

from collectors.records import Batch
from collectors.store import QueryTooSlow, Reader, Store, StoreError, StoreMissing
from tests.collectors.build import NOW, FakeClock, access, bookinfo, fill, log, span


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store" / "telemetry.sqlite"


def test_a_missing_store_is_said_to_be_missing(path: Path) -> None:
    with pytest.raises(StoreMissing, match="nothing was collected"):
        Reader.open(path)


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match="cannot read"):
        Reader.open(path)


def test_records_come_newest_first_with_everything_that_was_stored(path: Path) -> None:
    fill(path, Batch(logs=[access(1, time=NOW), access(2, time=NOW + 2), access(3, time=NOW + 1)]))
    reader = Reader.open(path)
    found = reader.logs()
    assert [entry.body["id"][-1] for entry in found] == ["2", "3", "1"]
    assert found[0].body == access(2).body
    assert found[0].message.startswith('[2026-01-31T12:00:00.123456Z] "GET /reviews/0 HTTP/1.1" 200 - via_upstream')
    assert found[0].trace_id == f"{3:032x}"
    reader.close()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("boom", {"a"}, id="one word"),
        pytest.param("BOOM", {"a"}, id="in any case"),
        pytest.param("big boom", {"a"}, id="two words must both occur"),
        pytest.param("boom OR quiet", {"a", "b"}, id="FTS5's operators work"),
        pytest.param("qui*", {"b"}, id="prefixes work"),
        pytest.param('"the big"', {"a"}, id="phrases work"),
        pytest.param("GET /reviews/0?x=1", {"c"}, id="slashes are words when no query"),
        pytest.param("reviews:9080", {"d"}, id="a colon is no column"),
        pytest.param('unbalanced "quote', {"e"}, id="an unbalanced quote is a literal"),
        pytest.param("-", set(), id="nothing but punctuation finds nothing"),
        pytest.param("(((", set(), id="brackets find nothing"),
        pytest.param("user42", {"f"}, id="values of other fields are found"),
        pytest.param("boom\0", {"a"}, id="NUL is white space"),
    ],
)
def test_text_is_a_query_or_else_words(path: Path, text: str, expected: set[str]) -> None:
    records = [
        log("a", "the big boom"),
        log("b", "quiet"),
        log("c", "GET /reviews/0?x=1 200"),
        log("d", "to reviews:9080 now"),
        log("e", 'an unbalanced "quote here'),
        log("f", "hello", user="user42"),
    ]
    fill(path, Batch(logs=records))
    reader = Reader.open(path)
    assert {entry.id for entry in reader.logs(text=text)} == expected
    assert reader.count_logs(text=text) == len(expected)
    reader.close()


def test_filters_are_exact_and_combine(path: Path) -> None:
    fill(
        path,
        Batch(
            logs=[
                access(1, workload="reviews-v1", response_code=503),
                access(2, workload="reviews-v10", response_code=503),
                access(3, workload="reviews-v1"),
                access(4, workload="reviews-v1", response_code=503, time=NOW + 10),
                log("x", "hello"),
            ]
        ),
    )
    reader = Reader.open(path)

    def numbers(**query: object) -> list[str]:
        assert reader.count_logs(**query) == len(reader.logs(**query))
        return sorted(entry.id.rpartition("/")[2] for entry in reader.logs(**query))

    assert numbers(workload="reviews-v1") == ["1", "3", "4", "x"]
    assert numbers(workload="reviews-v1", severity="error") == ["1", "4"]
    assert numbers(workload="reviews-v1", severity="error", text="503") == ["1", "4"]
    assert numbers(workload="reviews-v1", severity="error", text="503", until=NOW + 10) == ["1"]
    assert numbers(since=NOW + 10) == ["4"]
    assert numbers(trace_id=f"{3:032x}") == ["2"]
    assert numbers(tag="app.log") == ["x"]
    assert numbers(severity="' OR 1=1 --") == []
    reader.close()


def test_one_who_follows_by_rowid_misses_nothing_though_many_arrive(path: Path) -> None:
    fill(path, Batch(logs=[access(number, time=NOW - number) for number in range(25)]))
    reader = Reader.open(path)
    seen: list[str] = []
    after = 0
    while page := reader.logs(after_rowid=after, limit=10):
        after = max(entry.rowid for entry in page)
        seen += [entry.id for entry in page]
    assert len(seen) == len(set(seen)) == 25
    reader.close()


def test_traces_are_summed_up_and_found(path: Path) -> None:
    bookinfo(path)
    reader = Reader.open(path)
    newest = reader.traces(limit=3)
    assert [summary.trace_id for summary in newest] == [f"{number:032x}" for number in (50, 49, 48)]
    assert newest[0].root_service == "productpage"
    assert newest[0].services == ("productpage", "reviews", "ratings")
    assert newest[0].spans == 3
    assert newest[0].duration_ms == pytest.approx(20, abs=0.01)
    assert {summary.error for summary in reader.traces(errors_only=True)} == {True}
    assert len(reader.traces(errors_only=True)) == 5
    assert len(reader.traces(service="ratings")) == 50
    assert reader.traces(service="nobody") == []
    assert reader.traces(min_duration_ms=21) == []
    assert [summary.trace_id for summary in reader.traces(text=f"{7:032X}")] == [f"{7:032x}"]
    assert len(reader.traces(text="/reviews/0", limit=100)) == 50
    assert reader.traces(text="nothing-like-it") == []
    assert len(reader.traces(since=NOW - 5, until=NOW - 3)) == 2
    spans = reader.trace(f"{7:032x}")
    assert [(one.service, one.parent_id) for one in spans] == [
        ("productpage", None),
        ("reviews", f"{1:016x}"),
        ("ratings", f"{2:016x}"),
    ]
    assert spans[0].attributes == {"http.request.method": "GET", "url.path": "/reviews/0"}
    assert reader.trace("no such trace") == []
    reader.close()


def test_a_trace_that_arrives_in_pieces_and_twice_is_one(path: Path) -> None:
    store = Store.open(path, clock=FakeClock())
    child, root = span(1, 2, 1, "reviews", start=NOW + 1, ms=500), span(1, 1, None, "productpage", ms=2000)
    store.submit(Batch(spans=[child])).result(10)
    reader = Reader.open(path)
    assert reader.traces()[0].root_service == "reviews"
    store.submit(Batch(spans=[root, child])).result(10)
    assert store.stats.duplicates == 1
    store.close()
    (summary,) = reader.traces()
    assert (summary.root_service, summary.spans, summary.start) == ("productpage", 2, NOW)
    assert summary.duration_ms == pytest.approx(2000)
    reader.close()


def test_a_question_that_takes_too_long_is_stopped(path: Path) -> None:
    fill(path, Batch(logs=[access(number) for number in range(5000)]))
    reader = Reader.open(path, time_limit_s=-1)
    with pytest.raises(QueryTooSlow):
        reader.count_logs(text="GET", until=NOW + 1)
    reader.close()


def test_a_reader_follows_when_the_writer_had_to_begin_anew(path: Path) -> None:
    fill(path, Batch(logs=[access(1)]))
    reader = Reader.open(path)
    path.rename(path.with_name("aside"))
    fill(path, Batch(logs=[access(2), access(3)]))
    assert reader.count_logs() == 2
    reader.close()


def test_a_trace_s_summary_says_what_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "telemetry.sqlite"
    root = span(1, 1, None, "ingress", name="GET shop.example", attributes={"url.path": "/cart"})
    told = span(2, 1, None, "ingress", name="GET /cart", attributes={"url.path": "/cart"})
    silent = span(3, 1, None, "batch", name="nightly", attributes={"url.path": 5})
    inner = span(1, 2, 1, "cart", attributes={"url.path": "/reviews/0"})
    fill(path, Batch(spans=[inner, root, told, silent]))
    reader = Reader.open(path)
    assert {trace.trace_id[-1]: trace.request for trace in reader.traces()} == {
        "1": "GET shop.example /cart",
        "2": "GET /cart",
        "3": "nightly",
    }
    reader.close()
