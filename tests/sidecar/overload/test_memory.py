"""The watermark: marks, hysteresis, what it says; limits that the kernel states."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from sidecar.config.limits import ProcessLimits
from sidecar.overload.load import Load
from sidecar.overload.memory import RELEASE_EVERY, Watermark
from sidecar.overload.resident import cgroup_memory_bytes

LIMIT = 100 * 1024 * 1024


class Memory:
    """Says what the test says."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.percent = 50.0
        self.released = 0
        self.changes: list[tuple[bool, bool]] = []
        self.load = Load(ProcessLimits(memory_bytes=limit))
        self.watermark = Watermark(self.load, self.resident, self.release, self.changed)

    def resident(self) -> int:
        return int(LIMIT * self.percent / 100)

    def release(self) -> None:
        self.released += 1

    def changed(self) -> None:
        self.changes.append((self.load.shedding, self.load.accepting))

    def at(self, percent: float) -> tuple[bool, bool]:
        self.percent = percent
        self.watermark.look()
        return self.load.shedding, self.load.accepting


def test_each_mark_is_left_lower_than_it_was_met() -> None:
    memory = Memory()
    steps = [(89.0, False, True), (90.0, True, True), (86.0, True, True), (95.0, True, False), (91.0, True, False)]
    steps += [(89.9, True, True), (85.0, True, True), (84.9, False, True), (89.0, False, True)]
    for percent, shedding, accepting in steps:
        assert memory.at(percent) == (shedding, accepting), percent
    assert memory.changes == [(True, True), (True, False), (True, True), (False, True)]


def test_both_marks_may_be_met_at_once() -> None:
    memory = Memory()
    assert memory.at(99.0) == (True, False)
    assert memory.at(50.0) == (False, True)
    assert len(memory.changes) == 2


def test_free_memory_is_given_back_now_and_then_while_it_is_short() -> None:
    memory = Memory()
    memory.at(50.0)
    assert memory.released == 0
    for _ in range(RELEASE_EVERY * 2):
        memory.at(92.0)
    assert memory.released == 2


def test_one_line_is_logged_for_each_change(caplog: pytest.LogCaptureFixture) -> None:
    memory = Memory()
    with caplog.at_level(logging.INFO):
        for percent in (50.0, 91.0, 92.0, 91.0, 96.0, 97.0, 40.0, 41.0):
            memory.at(percent)
    assert [record.getMessage() for record in caplog.records] == [
        "memory at 91 % of 100 MiB: new requests get 503",
        "memory at 96 % of 100 MiB: new requests get 503, new connections wait",
        "memory at 40 % of 100 MiB: everything is served again",
    ]


def test_gauges_are_envoys_and_overloads_are_counted_once() -> None:
    memory = Memory()
    memory.at(96.0)
    told = {
        reading.name.removeprefix("envoy_overload_envoy_"): reading.value for reading in memory.watermark.readings()
    }
    assert told == {
        "resource_monitors_fixed_heap_pressure": 96.0,
        "overload_actions_stop_accepting_requests_active": 1.0,
        "overload_actions_disable_http_keepalive_active": 1.0,
        "overload_actions_stop_accepting_connections_active": 1.0,
        "remora_worker_memory_limit_bytes": float(LIMIT),
    }
    assert [growth.value for growth in memory.watermark.growth()] == [1]
    assert memory.watermark.growth() == []


def test_without_a_limit_nothing_is_measured() -> None:
    memory = Memory(limit=0)
    assert memory.at(1000.0) == (False, True)
    assert memory.watermark.readings() == []


_OWN_MEMORY = """
from sidecar.overload.resident import release_free_memory, resident_bytes
before = resident_bytes()
ballast = [bytes([number % 251]) * 8192 for number in range(4096)]
held = resident_bytes()
pin = bytearray(8192)  # above the ballast: without being told, the allocator keeps what is below
del ballast
release_free_memory()
print(held - before, resident_bytes() - before)
"""


def test_the_process_knows_its_own_memory() -> None:
    """In a process of its own: after thousands of tests, this one has free memory to fill before it grows."""
    run = subprocess.run([sys.executable, "-c", _OWN_MEMORY], capture_output=True, text=True, check=True)
    held, left = map(int, run.stdout.split())
    assert held > 30 * 1024 * 1024
    assert left < 16 * 1024 * 1024


@pytest.mark.parametrize(
    ("lines", "files", "limit"),
    [
        pytest.param(
            "0::/a/b\n", {"a/b/memory.max": "300", "a/memory.max": "200"}, 200, id="v2, the parent's is lower"
        ),
        pytest.param("0::/a/b\n", {"a/b/memory.max": "max", "memory.max": "500"}, 500, id="v2, a container's root"),
        pytest.param("0::/a\n", {"a/memory.max": "max"}, None, id="v2, no limit"),
        pytest.param("0::/gone\n", {}, None, id="v2, a path of outside"),
        pytest.param(
            "4:cpu:/x\n5:memory:/a\n", {"memory/a/memory.limit_in_bytes": "700"}, 700, id="v1, the memory controller's"
        ),
        pytest.param(
            "5:memory:/a\n", {"memory/a/memory.limit_in_bytes": "9223372036854771712"}, None, id="v1, no limit"
        ),
        pytest.param("", {}, None, id="no cgroup"),
    ],
)
def test_the_lowest_limit_of_the_cgroups_counts(
    tmp_path: Path, lines: str, files: dict[str, str], limit: int | None
) -> None:
    proc = tmp_path / "cgroup"
    proc.write_text(lines)
    for name, text in files.items():
        path = tmp_path / "fs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    assert cgroup_memory_bytes(proc, tmp_path / "fs") == limit


def test_without_proc_there_is_no_limit(tmp_path: Path) -> None:
    assert cgroup_memory_bytes(tmp_path / "none", tmp_path) is None
