"""Buffers that nobody reads any more: their exporter was renamed, removed, or given another directory. What is in them
was acknowledged, so it is said at each start, and where the records are. Blocking.

Directories that settings chose are nowhere to be found once the settings changed: `buffers.json` in the state directory
remembers them as long as they have records.
"""

import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from collectors.delivery import spill
from collectors.delivery.errors import BufferFault
from collectors.delivery.frames import Counts
from collectors.delivery.log import Log
from collectors.delivery.writer import LogLimits
from collectors.store.errors import StoreError
from collectors.store.files import FileLock
from mesh.files import write_atomic

_log = logging.getLogger("remora.buffer")

KNOWN = "buffers.json"
EXPORTERS, PROCESSORS = "exporters", "processors"
_PLACES = ((EXPORTERS, "buffers"), (PROCESSORS, "sampling"))
NOTHING = Counts()
MAX_KNOWN = 1_000
"""Directories; more in a state directory are not looked at, and logged."""


@dataclass(frozen=True, slots=True)
class Abandoned:
    """One buffer with records in it."""

    section: str
    """Of the settings: `exporters`, or `processors` (tail_sampling)."""
    name: str
    directory: Path
    counts: Counts = NOTHING
    bytes: int = 0
    problem: str = ""
    """Why nobody can say what is in it."""

    @property
    def remedy(self) -> str:
        """What to do."""
        give_up = f"to give them up, remove {self.directory}"
        if self.section == PROCESSORS:
            return f"to deliver them, write the processor {self.name} (tail_sampling) into a route again; {give_up}"
        return (
            "to deliver them, write an exporter for the back end that they were meant for, with buffer: {directory: "
            f"{self.directory}}}, until this is gone; {give_up}"
        )

    def describe(self) -> dict[str, Any]:
        """For /healthz."""
        said: dict[str, Any] = {self.section.removesuffix("s"): self.name, "directory": str(self.directory)}
        if self.problem:
            said["problem"] = self.problem
        else:
            said |= {"records": self.counts._asdict(), "bytes": self.bytes}
        return said | {"remedy": self.remedy}

    def __str__(self) -> str:
        what = self.problem or f"{self.counts.total} records ({self.bytes} bytes)"
        is_gone = f"{self.section}.{self.name} is not used any more"
        return f"{is_gone}, and its buffer {self.directory} has {what}: {self.remedy}"


class AbandonedMetrics(Collector):
    """`remora_collector_abandoned_buffer_*`, as they were found at the start."""

    def __init__(self, found: Sequence[Abandoned]) -> None:
        self._found = found

    def collect(self) -> Iterable[Metric]:
        """See prometheus_client."""
        records = GaugeMetricFamily(
            "remora_collector_abandoned_buffer_records",
            "Acknowledged records in buffers that no exporter reads; at the start.",
            labels=("exporter", "signal"),
        )
        size = GaugeMetricFamily(
            "remora_collector_abandoned_buffer_bytes", "Bytes of these.", labels=("exporter", "directory")
        )
        for one in self._found:
            for signal, count in zip(("logs", "traces", "metrics"), one.counts, strict=True):
                records.add_metric((one.name, signal), count)
            size.add_metric((one.name, str(one.directory)), one.bytes)
        return (records, size)


def find(state: Path, used: Mapping[str, Path]) -> list[Abandoned]:
    """Buffers of this state directory with records that nobody reads, each logged; `used` are the exporters' own, by
    name, which are open. What cannot be looked into is told of as well."""
    found = list(_examined(state, used))
    for one in found:
        _log.warning("%s", one)
    kept = [(one.name, one.directory) for one in found if one.section == EXPORTERS]
    try:
        _remember(state, [*kept, *used.items()])
    except OSError as error:
        _log.warning("cannot write %s: %s", state / KNOWN, error.strerror or error)
    return found


def _examined(state: Path, used: Mapping[str, Path]) -> Iterable[Abandoned]:
    own = {os.path.realpath(path) for path in used.values()}
    seen: set[str] = set()
    candidates = [*_below(state), *_remembered(state)]
    if len(candidates) > MAX_KNOWN:
        _log.warning("%s has %d buffers; %d are looked at", state, len(candidates), MAX_KNOWN)
    for section, name, directory in candidates[:MAX_KNOWN]:
        real = os.path.realpath(directory)
        if real not in own and real not in seen:
            seen.add(real)
            one = _examine(section, name, directory)
            if one is not None:
                yield one


def _below(state: Path) -> Iterable[tuple[str, str, Path]]:
    for section, place in _PLACES:
        try:
            with os.scandir(state / place) as entries:
                names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        except OSError:
            continue
        for name in names:
            yield section, name, state / place / name


def _examine(section: str, name: str, directory: Path) -> Abandoned | None:
    """None for one that is empty, gone, or somebody's."""
    try:
        if not any(path.suffix == ".segment" for path in directory.iterdir()) and not (directory / spill.MARK).exists():
            return None
        FileLock.take(directory / "buffer").release()
        log = Log.open(directory, LogLimits(spill=spill.partner(directory)))
    except FileNotFoundError:
        return None
    except StoreError:
        return None  # open: ours, or another collector's
    except (OSError, BufferFault) as error:
        return Abandoned(section, name, directory, problem=f"what nobody can look at ({error})")
    try:
        counts, size = log.unread(), log.stats.undelivered_bytes
    finally:
        log.close()
    return Abandoned(section, name, directory, counts, size) if counts.total or size else None


def _remembered(state: Path) -> Iterable[tuple[str, str, Path]]:
    try:
        said = json.loads((state / KNOWN).read_bytes())
        return [(EXPORTERS, str(one["exporter"]), Path(one["directory"])) for one in said["buffers"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        _log.warning("%s is not read, buffers of former settings may be overlooked: %s", state / KNOWN, error)
        return []


def _remember(state: Path, buffers: Sequence[tuple[str, Path]]) -> None:
    path = state / KNOWN
    there = [{"exporter": name, "directory": str(directory.absolute())} for name, directory in sorted(set(buffers))]
    text = json.dumps({"buffers": there}, indent=2).encode() + b"\n"
    try:
        before = path.read_bytes()
    except FileNotFoundError:
        if not there:
            return
        before = b""
    if before != text:
        write_atomic(path, text, mode=0o600)
