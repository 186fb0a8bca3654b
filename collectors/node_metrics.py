"""A few of the machine's numbers under node exporter's names, from /proc: for a laptop, where no node exporter runs.

What each means is node exporter's to say: https://github.com/prometheus/node_exporter. Only what dashboards of the mesh
and its alerts ask for, and only file systems on local disks, since asking a dead network disk blocks.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

MAX_PER_FAMILY = 256
"""CPUs, devices, mounts; more are left out."""
MAX_FILE_BYTES = 4 * 1024 * 1024

_TICKS = os.sysconf("SC_CLK_TCK")
_SECTOR_BYTES = 512
_MODES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
_LOCAL = frozenset(
    {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "vfat", "exfat", "ntfs3", "overlay", "bcachefs", "jfs"}
)
_MEMORY = ("MemTotal", "MemFree", "MemAvailable", "Buffers", "Cached", "SReclaimable", "SwapTotal", "SwapFree")
_NETWORK = {"receive_bytes": 0, "receive_packets": 1, "receive_errs": 2, "receive_drop": 3,
            "transmit_bytes": 8, "transmit_packets": 9, "transmit_errs": 10, "transmit_drop": 11}  # fmt: skip
"""Columns of /proc/net/dev."""


class NodeMetrics(Collector):
    """Reads at each scrape. A file that is not there, or is not as expected, leaves its families out."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc

    def render(self) -> bytes:
        """Prometheus' text format. Blocks for a millisecond or two."""
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        for read in (self._cpu, self._memory, self._load, self._network, self._disks, self._filesystems, self._uname):
            try:
                yield from list(read())
            except (OSError, ValueError, IndexError):
                continue

    def describe(self) -> Iterable[Metric]:
        """Nothing beforehand: registering reads nothing."""
        return []

    def _lines(self, name: str) -> list[str]:
        with open(self._proc / name, "rb") as file:
            return file.read(MAX_FILE_BYTES).decode("utf-8", "replace").splitlines()

    def _cpu(self) -> Iterator[Metric]:
        seconds = CounterMetricFamily(
            "node_cpu_seconds", "Seconds that CPUs spent in each mode.", labels=["cpu", "mode"]
        )
        boot = GaugeMetricFamily("node_boot_time_seconds", "When the machine started, seconds since the epoch.")
        context = CounterMetricFamily("node_context_switches", "Context switches.")
        found = 0
        for line in self._lines("stat"):
            words = line.split()
            if words and words[0].startswith("cpu") and words[0] != "cpu" and found < MAX_PER_FAMILY:
                found += 1
                for mode, ticks in zip(_MODES, words[1:], strict=False):
                    seconds.add_metric([words[0][3:], mode], int(ticks) / _TICKS)
            elif words and words[0] == "btime":
                boot.add_metric([], float(words[1]))
            elif words and words[0] == "ctxt":
                context.add_metric([], float(words[1]))
        yield from (seconds, boot, context)

    def _memory(self) -> Iterator[Metric]:
        for line in self._lines("meminfo"):
            name, _, rest = line.partition(":")
            if name in _MEMORY:
                value = float(rest.split()[0]) * 1024
                yield GaugeMetricFamily(f"node_memory_{name}_bytes", f"{name} of /proc/meminfo.", value=value)

    def _load(self) -> Iterator[Metric]:
        words = self._lines("loadavg")[0].split()
        for minutes, value in zip((1, 5, 15), words, strict=False):
            yield GaugeMetricFamily(f"node_load{minutes}", f"Load of the last {minutes} min.", value=float(value))

    def _network(self) -> Iterator[Metric]:
        families = {
            name: CounterMetricFamily(f"node_network_{name}", f"{name} of /proc/net/dev.", labels=["device"])
            for name in _NETWORK
        }
        for line in self._lines("net/dev")[2 : 2 + MAX_PER_FAMILY]:
            device, _, rest = line.partition(":")
            values = rest.split()
            for name, column in _NETWORK.items():
                families[name].add_metric([device.strip()], float(values[column]))
        yield from families.values()

    def _disks(self) -> Iterator[Metric]:
        read = CounterMetricFamily("node_disk_read_bytes", "Bytes read.", labels=["device"])
        written = CounterMetricFamily("node_disk_written_bytes", "Bytes written.", labels=["device"])
        busy = CounterMetricFamily("node_disk_io_time_seconds", "Seconds spent doing I/O.", labels=["device"])
        for line in self._lines("diskstats")[:MAX_PER_FAMILY]:
            words = line.split()
            device = words[2]
            if device.startswith(("loop", "ram", "zram")):
                continue
            read.add_metric([device], float(words[5]) * _SECTOR_BYTES)
            written.add_metric([device], float(words[9]) * _SECTOR_BYTES)
            busy.add_metric([device], float(words[12]) / 1000)
        yield from (read, written, busy)

    def _filesystems(self) -> Iterator[Metric]:
        labels = ["device", "fstype", "mountpoint"]
        families = {
            name: GaugeMetricFamily(f"node_filesystem_{name}", text, labels=labels)
            for name, text in (
                ("size_bytes", "Size."),
                ("free_bytes", "Free."),
                ("avail_bytes", "Free for others than root."),
                ("files", "Inodes."),
                ("files_free", "Free inodes."),
            )
        }
        seen: set[str] = set()
        for line in self._lines("self/mounts"):
            device, mount, kind = (_unescaped(word) for word in line.split()[:3])
            if kind not in _LOCAL or mount in seen or len(seen) >= MAX_PER_FAMILY:
                continue
            seen.add(mount)
            try:
                state = os.statvfs(mount)
            except OSError:
                continue  # mounted for others
            values = (
                state.f_blocks * state.f_frsize, state.f_bfree * state.f_frsize, state.f_bavail * state.f_frsize,
                state.f_files, state.f_ffree,
            )  # fmt: skip
            for family, value in zip(families.values(), values, strict=True):
                family.add_metric([device, kind, mount], float(value))
        yield from families.values()

    def _uname(self) -> Iterator[Metric]:
        about = os.uname()
        names = ["sysname", "release", "version", "machine", "nodename", "domainname"]
        try:
            domain = self._lines("sys/kernel/domainname")[0]
        except (OSError, IndexError):
            domain = "(none)"
        info = GaugeMetricFamily("node_uname_info", "What runs here, as uname says.", labels=names)
        info.add_metric([about.sysname, about.release, about.version, about.machine, about.nodename, domain], 1.0)
        yield info


def _unescaped(word: str) -> str:
    """/proc writes spaces and the like in octal."""
    for octal, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        word = word.replace(octal, char)
    return word
