"""Traces and logs are found by the beginning of a trace id, over an index."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from collectors.records import Batch
from collectors.store import Reader, trace_ids
from tests.collectors.build import NOW, access, fill, log, span

FIRST = "4bf92f3577b34da6a3ce929d0e0e4736"
SECOND = "4bf92f3677b34da6a3ce929d0e0e4736"
SHORT = "0000000000000000" + "abcdef0123456789"


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    ids = (FIRST, SECOND, SHORT)
    spans = [span(1, 1, None, "reviews")._replace(trace_id=one, start=NOW + n) for n, one in enumerate(ids)]
    logs = [access(n)._replace(id=f"a/{n}", trace_id=one) for n, one in enumerate(ids)]
    logs.append(log("word", "saw 4bf92f35 in a text")._replace(trace_id=None))
    path = tmp_path / "telemetry.sqlite"
    fill(path, Batch(logs=logs, spans=spans))
    with closing(Reader.open(path)) as reader:
        yield reader


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("4bf92f35", [FIRST]),
        ("4BF92F3577B3", [FIRST]),
        (FIRST, [FIRST]),
        (FIRST[:-1], [FIRST]),
        ("4bf92f357", [FIRST]),
        ("4bf92f358", []),
        ("4bf92f3", []),
        ("abcdef01", [SHORT]),
        ("abcdef0123456789", [SHORT]),
        ("00000000", [SHORT]),
        ("4bf92f3z", []),
        (FIRST + "0", []),
        ("", []),
        ("%_______", []),
    ],
)
def test_by_a_beginning_of_eight_digits(reader: Reader, text: str, found: list[str]) -> None:
    assert reader.trace_ids(text) == found
    assert sorted(entry.trace_id or "" for entry in reader.logs(trace_id=text)) == found
    assert reader.count_logs(trace_id=text) == len(found)
    if text:
        assert [summary.trace_id for summary in reader.traces(text=text)] == found


def test_as_many_as_are_asked_for(tmp_path: Path) -> None:
    spans = [span(1, 1, None, "x")._replace(trace_id=f"aaaaaaaa{number:024x}") for number in range(30)]
    path = tmp_path / "telemetry.sqlite"
    fill(path, Batch(spans=spans))
    with closing(Reader.open(path)) as reader:
        assert len(reader.trace_ids("aaaaaaaa", limit=6)) == 6
        assert len(reader.traces(text="aaaaaaaa", limit=10)) == 10


def test_a_search_for_words_finds_ids_too(reader: Reader) -> None:
    assert sorted(entry.id for entry in reader.logs(text="4bf92f35")) == ["a/0", "word"]
    assert reader.count_logs(text="4bf92f35") == 2
    assert [entry.id for entry in reader.logs(text="4bf92f35", trace_id="4bf92f35")] == ["a/0"]
    assert reader.logs(text="4bf92f35", trace_id="4bf92f36") == []


def test_it_is_a_range_of_the_primary_key(tmp_path: Path, reader: Reader) -> None:
    where, values = trace_ids.condition("trace_id", trace_ids.beginnings("4bf92f35"))
    with closing(sqlite3.connect(tmp_path / "telemetry.sqlite")) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN SELECT trace_id FROM traces WHERE {where}", values).fetchall()
    shown = " ".join(row[-1] for row in plan)
    assert "SEARCH traces USING PRIMARY KEY (trace_id>? AND trace_id<?)" in shown
    assert "SCAN" not in shown
