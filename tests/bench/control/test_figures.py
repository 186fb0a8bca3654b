"""The table of figures, and where it goes."""

from pathlib import Path

import pytest

from tests.bench.control.figures import BEGIN, END, Row, at, markdown, milliseconds, update


def test_of_many_latencies_the_middle_and_the_worst_but_one_in_a_hundred_are_told() -> None:
    assert milliseconds([number / 1000 for number in range(1, 201)]) == "101 / 199 ms"
    assert milliseconds([0.004]) == "4 / 4 ms"
    assert at([1.0, 2.0, 3.0], 0.5) == 2.0


def test_the_table_replaces_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "scale.md"
    path.write_text(f"words\n{BEGIN}\nold\n{END}\nmore words\n")
    update(path, markdown([Row("memory", "1 MiB")], "today"))
    text = path.read_text()
    assert "old" not in text
    assert text.startswith("words\n")
    assert text.endswith("more words\n")
    assert "| memory | 1 MiB |" in text


def test_a_document_without_its_markers_is_said(tmp_path: Path) -> None:
    path = tmp_path / "scale.md"
    path.write_text("nothing")
    with pytest.raises(ValueError, match="lacks the markers"):
        update(path, "table")
