import random
from datetime import datetime
from pathlib import Path

import pytest

from collectors.receivers.forward_parser import ForwardParser
from tests.bench.collect.figures import BEGIN, END, Figures, Search, markdown, update
from tests.bench.collect.records import CHUNK
from tests.bench.collect.sender import Template


def test_the_table_has_rates_of_time_and_of_one_core() -> None:
    figures = [Figures("Elasticsearch", "remora collect", 100_000, 20.0, 2.5, 101.6)]
    text = markdown(
        figures, [Search("newest 100", 1.25, 9.0, 12.34)], 100_000, ["rsyslog is not installed"], "Measured"
    )
    assert "| Elasticsearch | remora collect | 5,000 | 25.0 | 40,000 | 102 |" in text
    assert "| search over 100,000 records | median ms | worst ms | cold ms |" in text
    assert "| newest 100 | 1.2 | 9.0 | 12.3 |" in text
    assert "Left out: rsyslog is not installed." in text


def test_only_what_is_between_the_markers_is_written(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    update(path, "new")
    assert path.read_text() == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    path.write_text("nothing")
    with pytest.raises(ValueError, match="lacks the markers"):
        update(path, "new")


def test_numbered_messages_are_records_that_differ_in_what_is_their_own() -> None:
    template = Template(random.Random(1), 1_770_000_000.0)
    parser = ForwardParser()
    begins = 1_770_000_059.9999
    found = [one for first in (0, CHUNK) for one in parser.feed(template.numbered(first, begins + first))]
    records = [event.record for delivery in found for event in delivery.events]
    for key in ("id", "trace_id", "span_id", "request_id", "start_time"):
        assert len({record[key] for record in records}) == len(records) == 2 * CHUNK, key
    assert len({delivery.chunk for delivery in found}) == 2
    for delivery in found:
        for event in delivery.events:
            assert event.time is not None
            assert event.time == pytest.approx(datetime.fromisoformat(event.record["start_time"]).timestamp(), abs=1e-6)
    assert [delivery.events[0].time for delivery in found] == pytest.approx([begins, begins + CHUNK], abs=1e-5)
