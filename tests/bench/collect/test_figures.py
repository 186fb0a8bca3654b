import random
from pathlib import Path

import pytest

from collectors.receivers.forward_parser import ForwardParser
from tests.bench.collect.figures import BEGIN, END, Figures, Search, markdown, update
from tests.bench.collect.records import CHUNK
from tests.bench.collect.sender import Template


def test_the_table_has_rates_of_time_and_of_one_core() -> None:
    figures = [Figures("Elasticsearch", "remora collect", 100_000, 20.0, 2.5, 101.6)]
    text = markdown(figures, [Search("newest 100", 1.25, 9.0)], 100_000, ["rsyslog is not installed"], "Measured")
    assert "| Elasticsearch | remora collect | 5,000 | 25.0 | 40,000 | 102 |" in text
    assert "| search over 100,000 records | median ms | worst ms |" in text
    assert "| newest 100 | 1.2 | 9.0 |" in text
    assert "Left out: rsyslog is not installed." in text


def test_only_what_is_between_the_markers_is_written(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    update(path, "new")
    assert path.read_text() == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    path.write_text("nothing")
    with pytest.raises(ValueError, match="lacks the markers"):
        update(path, "new")


def test_numbered_messages_are_records_that_differ_in_their_ids() -> None:
    template = Template(random.Random(1), 1_770_000_000.0)
    parser = ForwardParser()
    found = [delivery for first in (0, CHUNK) for delivery in parser.feed(template.numbered(first))]
    ids = [event.record["id"] for delivery in found for event in delivery.events]
    assert len(set(ids)) == len(ids) == 2 * CHUNK
    assert len({delivery.chunk for delivery in found}) == 2
