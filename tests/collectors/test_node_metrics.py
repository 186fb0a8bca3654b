"""The machine's numbers: node exporter's names, and its values beside ours."""

import os
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from collectors.node_metrics import MAX_PER_FAMILY, NodeMetrics
from remora.up.sockets import free_ports
from tests.integration.debian import program

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(text: str) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def node_exporter() -> Iterator[str]:
    """The real one, on a port of its own."""
    (port,) = free_ports(1, random.Random())
    argv = [program("prometheus-node-exporter"), f"--web.listen-address=127.0.0.1:{port}"]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/metrics"
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                yield httpx.get(url, trust_env=False, timeout=10).text
                break
            except httpx.HTTPError:
                assert time.monotonic() < deadline, "node exporter does not answer"
                time.sleep(0.05)
    finally:
        process.terminate()
        process.wait(10)


def test_names_labels_and_values_are_node_exporters(node_exporter: str) -> None:
    ours, theirs = samples(NodeMetrics().render().decode()), samples(node_exporter)
    names = {name for name, _ in ours}
    assert names >= {"node_cpu_seconds_total", "node_memory_MemAvailable_bytes", "node_load1", "node_boot_time_seconds",
                     "node_network_receive_bytes_total", "node_uname_info"}  # fmt: skip
    assert names - {name for name, _ in theirs} <= {name for name in names if "disk" in name or "filesystem" in name}
    for wanted in ("node_cpu_seconds_total", "node_uname_info", "node_load1", "node_boot_time_seconds"):
        names_of_labels = [
            {tuple(label for label, _ in labels) for name, labels in found if name == wanted}
            for found in (ours, theirs)
        ]
        assert names_of_labels[0] <= names_of_labels[1], wanted
    total = ("node_memory_MemTotal_bytes", ())
    assert ours[total] == theirs[total]
    boot = ("node_boot_time_seconds", ())
    assert ours[boot] == theirs[boot]
    idle = ("node_cpu_seconds_total", (("cpu", "0"), ("mode", "idle")))
    assert ours[idle] == pytest.approx(theirs[idle], abs=60)


def test_what_proc_says_is_read(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "self").mkdir()
    files = {
        "stat": "cpu  9 9 9 9\ncpu0 100 0 200 300 0 0 0 0 0 0\nctxt 77\nbtime 1700000000\n",
        "meminfo": "MemTotal:       1024 kB\nHugePages_Total:   0\n",
        "loadavg": "0.5 0.25 0.125 1/100 42\n",
        "net/dev": "head\nhead\n  eth0: 1000 10 1 2 0 0 0 0 2000 20 3 4 0 0 0 0\n",
        "diskstats": "8 0 sda 1 0 4 0 1 0 8 0 0 1500 0\n7 0 loop0 1 0 4 0 1 0 8 0 0 1500 0\n",
        "self/mounts": f"/dev/sda\\0401 {tmp_path} ext4 rw 0 0\nproc /proc proc rw 0 0\nserver:/x /net nfs rw 0 0\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    found = samples(NodeMetrics(tmp_path).render().decode())
    ticks = os.sysconf("SC_CLK_TCK")
    assert found["node_cpu_seconds_total", (("cpu", "0"), ("mode", "system"))] == 200 / ticks
    assert found["node_memory_MemTotal_bytes", ()] == 1024 * 1024
    assert found["node_load5", ()] == 0.25
    assert found["node_network_transmit_bytes_total", (("device", "eth0"),)] == 2000
    assert found["node_disk_written_bytes_total", (("device", "sda"),)] == 8 * 512
    assert found["node_disk_io_time_seconds_total", (("device", "sda"),)] == 1.5
    mounts = {labels for name, labels in found if name == "node_filesystem_size_bytes"}
    assert mounts == {(("device", "/dev/sda 1"), ("fstype", "ext4"), ("mountpoint", str(tmp_path)))}
    assert not any("loop0" in str(labels) for _, labels in found)


def test_files_that_are_missing_broken_or_endless_leave_their_families_out(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: lots kB\n")
    (tmp_path / "loadavg").write_text("")
    (tmp_path / "stat").write_text("".join(f"cpu{number} 1 1 1 1\n" for number in range(10_000)))
    found = samples(NodeMetrics(tmp_path).render().decode())
    assert {name for name, _ in found} == {"node_cpu_seconds_total", "node_uname_info"}
    assert len({labels[0] for name, labels in found if name == "node_cpu_seconds_total"}) == MAX_PER_FAMILY
