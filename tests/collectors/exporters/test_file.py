import json
import os
from pathlib import Path
from typing import Any

import pytest

from collectors.exporters.file import FileSink, Settings
from collectors.exporters.sink import Unavailable
from collectors.records import Batch, Sample
from tests.collectors.build import NOW, log
from tests.collectors.delivery.batches import everything, numbered


def sink(path: Path, **settings: Any) -> FileSink:
    return FileSink(Settings.model_construct(**{"path": path} | settings))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]


async def test_every_kind_of_record_is_a_line(tmp_path: Path) -> None:
    await sink(tmp_path / "out").send(everything())
    found = lines(tmp_path / "out")
    assert [line["signal"] for line in found] == ["logs", "traces", "traces", "metrics", "metrics"]
    assert found[0]["body"]["list"] == [1, {"a": "b"}]
    assert found[1]["attributes"] == {"http.response.status_code": 500}
    assert found[3]["labels"] == {"a": "b", "le": "1"}
    assert found[3]["histogram"] == {"bounds": [0.5, "inf"], "counts": [1, 3], "sum": 4.5}
    assert found[3]["exemplars"] == [{"labels": {"trace_id": "0af7"}, "value": 0.4, "time": NOW}]
    assert found[4]["value"] is None
    assert (tmp_path / "out").stat().st_mode & 0o077 == 0


async def test_what_json_has_not_is_text(tmp_path: Path) -> None:
    batch = Batch(logs=[log("a", "\x1b\n\u2028\udcff")], samples=[Sample("m", (), NOW, float("nan"))])
    await sink(tmp_path / "out").send(batch)
    record, sample = lines(tmp_path / "out")
    assert record["body"]["message"] == "\x1b\n\u2028\udcff"
    assert sample["value"] == "nan"


async def test_files_are_rotated_and_the_oldest_removed(tmp_path: Path) -> None:
    out = sink(tmp_path / "out", max_bytes=2_000, keep=2)
    for first in range(0, 100, 5):
        await out.send(numbered(first, 5))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["out", "out.1", "out.2"]
    assert all(path.stat().st_size <= 2_000 for path in tmp_path.iterdir())
    kept = [line["id"] for name in reversed(names) for line in lines(tmp_path / name)]
    assert kept == [str(number) for number in range(100 - len(kept), 100)]


async def test_half_a_line_of_a_killed_process_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "out"
    await sink(path).send(numbered(0, 3))
    os.truncate(path, path.stat().st_size - 5)
    await sink(path).send(numbered(2, 2))
    assert [line["id"] for line in lines(path)] == ["0", "1", "2", "3"]


async def test_a_file_without_any_line_end_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"x" * 200_000)
    await sink(path).send(numbered(0, 1))
    assert [line["id"] for line in lines(path)] == ["0"]


async def test_a_directory_that_is_not_there_is_an_outage(tmp_path: Path) -> None:
    out = sink(tmp_path / "not" / "there")
    with pytest.raises(Unavailable, match=r"cannot write .*: No such file or directory"):
        await out.send(numbered(0, 1))
    (tmp_path / "not").mkdir()
    await out.send(numbered(0, 1))
    assert len(lines(tmp_path / "not" / "there")) == 1
