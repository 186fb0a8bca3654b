"""Buffers that settings do not name any more are found, counted, and told of until they are empty."""

import json
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from collectors.delivery.abandoned import KNOWN, AbandonedMetrics, find
from collectors.delivery.log import Log
from collectors.delivery.writer import LogLimits
from tests.collectors.delivery.test_log import made

SMALL = LogLimits(max_bytes=8_000, segment_bytes=2_000)


def filled(directory: Path, frames: int = 4, limits: LogLimits = SMALL) -> Path:
    """A buffer of so many frames, five log records in each."""
    log = Log.open(directory, limits)
    log.append(made(0, frames), sync=True)
    log.close()
    return directory


def test_one_that_nobody_names_is_told_with_what_is_in_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory = filled(tmp_path / "buffers" / "old")
    (one,) = find(tmp_path, {})
    assert (one.name, one.directory, one.counts.total) == ("old", directory, 20)
    assert one.bytes > 0
    (line,) = caplog.messages
    assert line.startswith(
        f"exporters.old is not used any more, and its buffer {directory} has 20 records ({one.bytes} bytes)"
    )
    assert f"with buffer: {{directory: {directory}}}" in line
    assert f"to give them up, remove {directory}" in line
    assert one.describe() == {
        "exporter": "old",
        "directory": str(directory),
        "records": {"logs": 20, "spans": 0, "samples": 0},
        "bytes": one.bytes,
        "remedy": one.remedy,
    }
    registry = CollectorRegistry()
    registry.register(AbandonedMetrics([one]))
    text = generate_latest(registry).decode()
    assert 'remora_collector_abandoned_buffer_records{exporter="old",signal="logs"} 20.0' in text
    assert (
        f'remora_collector_abandoned_buffer_bytes{{directory="{directory}",exporter="old"}} {float(one.bytes)}' in text
    )


def test_nothing_is_said_of_one_that_is_used_or_empty(tmp_path: Path) -> None:
    used = filled(tmp_path / "buffers" / "used")
    log = Log.open(filled(tmp_path / "buffers" / "locked"), SMALL)
    delivered = Log.open(filled(tmp_path / "buffers" / "delivered"), SMALL)
    while (found := delivered.read()) is not None:
        delivered.delivered(found[1])
    delivered.close()
    (tmp_path / "buffers" / "empty").mkdir()
    assert find(tmp_path, {"used": used}) == []
    log.close()
    assert [one.name for one in find(tmp_path, {"used": used})] == ["locked"]


def test_what_was_delivered_of_it_is_not_counted(tmp_path: Path) -> None:
    log = Log.open(filled(tmp_path / "buffers" / "half"), SMALL)
    found = log.read()
    assert found is not None
    log.delivered(found[1])
    log.close()
    (one,) = find(tmp_path, {})
    assert one.counts.total == 15


def test_a_directory_of_the_user_s_is_remembered_until_it_is_empty(tmp_path: Path) -> None:
    state, elsewhere = tmp_path / "state", tmp_path / "elsewhere"
    state.mkdir()
    assert find(state, {"out": elsewhere}) == []
    filled(elsewhere)
    now = state / "buffers" / "out"
    for _ in range(2):
        (one,) = find(state, {"out": now})
        assert (one.name, one.directory) == ("out", elsewhere), "the same exporter has another one now"
    for segment in elsewhere.glob("*.segment"):
        segment.unlink()
    assert find(state, {"out": now}) == []
    said = json.loads((state / KNOWN).read_bytes())
    assert said == {"buffers": [{"exporter": "out", "directory": str(now)}]}


def test_where_there_never_was_a_buffer_nothing_is_written(tmp_path: Path) -> None:
    assert find(tmp_path, {}) == []
    assert list(tmp_path.iterdir()) == []


def test_one_whose_second_directory_is_away_is_told_all_the_same(tmp_path: Path) -> None:
    spill = tmp_path / "slow"
    directory = filled(tmp_path / "buffers" / "old", 60, LogLimits(8_000, 2_000, 0.0, spill, 8_000))
    (one,) = find(tmp_path, {})
    assert one.counts.total > 20, "both directories' records"
    spill.rename(tmp_path / "unmounted")
    (one,) = find(tmp_path, {})
    assert one.directory == directory
    assert "may have records in" in one.problem
    assert "records" not in one.describe()


def test_a_sampler_s_spans_are_told_of_with_its_own_remedy(tmp_path: Path) -> None:
    filled(tmp_path / "sampling" / "sampled")
    (one,) = find(tmp_path, {})
    assert str(one).startswith("processors.sampled is not used any more")
    assert "write the processor sampled (tail_sampling) into a route again" in one.remedy
    assert one.describe()["processor"] == "sampled"


def test_a_broken_memory_is_said_and_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / KNOWN).write_text("{")
    assert find(tmp_path, {"out": tmp_path / "buffers" / "out"}) == []
    assert "may be overlooked" in caplog.text
    assert json.loads((tmp_path / KNOWN).read_bytes())["buffers"][0]["exporter"] == "out"
