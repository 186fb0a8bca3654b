"""The record survives crowds, full files and callers that go away."""

import asyncio
import json
from pathlib import Path

from control.ca.audit import KEEP_FILES, AuditLog


async def test_records_that_come_together_are_all_written(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl")
    await asyncio.gather(*(log.append({"n": n}) for n in range(200)))
    lines = (tmp_path / "audit.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["n"] for line in lines) == list(range(200))


async def test_a_caller_that_leaves_takes_nobody_along(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl")
    async with asyncio.TaskGroup() as group:
        leaving = group.create_task(log.append({"n": 0}))
        staying = [group.create_task(log.append({"n": n})) for n in range(1, 5)]
        await asyncio.sleep(0)
        leaving.cancel()
    assert all(task.exception() is None for task in staying)
    lines = (tmp_path / "audit.jsonl").read_text().splitlines()
    assert {json.loads(line)["n"] for line in lines} >= {1, 2, 3, 4}


async def test_full_files_are_put_aside_and_old_ones_removed(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl", max_file_bytes=20)
    for n in range(KEEP_FILES + 5):
        await log.append({"number": n})
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"audit.jsonl", *(f"audit.jsonl.{n}" for n in range(1, KEEP_FILES + 1))}
    assert json.loads((tmp_path / "audit.jsonl").read_text()) == {"number": KEEP_FILES + 4}
    assert json.loads((tmp_path / "audit.jsonl.1").read_text()) == {"number": KEEP_FILES + 3}


async def test_half_a_record_of_a_killed_process_spoils_none(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_text('{"n":0}\n{"n":')
    await AuditLog(path).append({"n": 1})
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"n": 0}, {"n": 1}]
