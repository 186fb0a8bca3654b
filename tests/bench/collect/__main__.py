"""`make bench-collect`: records per second of one core and resident memory of the collector, beside rsyslog. See
docs/collecting.md.

The system that is measured has a core of its own; what sends to it and the back end share the other.
"""

import argparse
import json
import os
import platform
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgpack

from collectors.exporters.sqlite import PATH
from tests.bench.collect import rsyslog
from tests.bench.collect.collector import Collector
from tests.bench.collect.figures import Figures, Search, markdown, update
from tests.bench.collect.records import CHUNK, message
from tests.bench.collect.rsyslog import Rsyslog
from tests.bench.processes import Failed, free_port, usage
from tests.collectors.bench import search
from tests.integration import elasticsearch
from tests.integration.elasticsearch import Elasticsearch

_ROOT = Path(__file__).parents[3]
_OWN_CORE, _OTHER_CORE = 1, 0
CASES = ("nothing", "store", "elasticsearch")
_DELIVERED_WITHIN_S = 3_600
"""What was acknowledged, into the back end."""
_STANDSTILL_S = 120.0
"""What has not gone on for so long has lost what is missing."""


class Bench:
    """Runs the cases one after the other; each in a directory of its own."""

    def __init__(self, records: int, say: Callable[[str], None]) -> None:
        self.records = records // CHUNK * CHUNK
        self.figures: list[Figures] = []
        self.searches: list[Search] = []
        self.left_out: list[str] = []
        self._say = say

    def nothing(self) -> None:
        """Into a sink that takes everything at once, through the buffer."""
        with tempfile.TemporaryDirectory() as name:
            self._ours("a sink that takes all", Collector(Path(name), {"type": "blackhole"}, _OWN_CORE), lambda: True)

    def store(self) -> None:
        """Into the embedded store; then searches over what is in it."""
        with tempfile.TemporaryDirectory() as name:
            exporter = {"type": "store", "max_bytes": "64GiB", "retention": "3650d"}
            collector = Collector(Path(name), exporter, _OWN_CORE)
            self._ours("the embedded store", collector, lambda: True)
            self._say("searching")
            for question, times in search(collector.state / PATH).items():
                self.searches.append(Search(question, *times))

    def elasticsearch(self) -> None:
        """Into a real Elasticsearch, by bulk requests; rsyslog after us."""
        if why := elasticsearch.lacking():
            self.left_out.append(why)
            return
        with _elasticsearch() as server, tempfile.TemporaryDirectory() as name:
            exporter = {"type": "elasticsearch", "urls": [server.url], "retention": {"type": "none"}}
            collector = Collector(Path(name), exporter, _OWN_CORE)
            self._ours("Elasticsearch", collector, lambda: server.count("logs-remora.access-*") >= self.records)
        if why := rsyslog.missing():
            self.left_out.append(why)
            return
        for on_disk in (False, True):
            with _elasticsearch() as server, tempfile.TemporaryDirectory() as name:
                self._rsyslog(server, Path(name), on_disk)

    def _ours(self, case: str, collector: Collector, arrived: Callable[[], bool]) -> None:
        self._say(f"collector, {case}")
        pid = collector.process.pid
        try:
            before, began = usage([pid]), time.monotonic()
            sender = subprocess.run(
                ["taskset", "--cpu-list", str(_OTHER_CORE), sys.executable, "-m", "tests.bench.collect.sender",
                 collector.address, "--records", str(self.records)],
                cwd=_ROOT, capture_output=True, text=True,
            )  # fmt: skip
            if sender.returncode or json.loads(sender.stdout)["records"] != self.records:
                raise Failed(f"not everything was acknowledged: {sender.stdout} {sender.stderr[-2000:]}")
            starting = time.monotonic() - began - json.loads(sender.stdout)["seconds"]
            collector.process.wait_until(
                lambda: not collector.undelivered_bytes, "delivers all", within_s=_DELIVERED_WITHIN_S
            )
            seconds = time.monotonic() - began - starting
            cpu_s, resident = usage([pid]).cpu_s - before.cpu_s, _most_resident_mib(pid)
            collector.process.wait_until(arrived, "all of it is in the back end", within_s=60)
        finally:
            collector.process.stop()
        self.figures.append(Figures(case, "remora collect", self.records, seconds, cpu_s, resident))

    def _rsyslog(self, server: Elasticsearch, directory: Path, on_disk: bool) -> None:
        system = f"rsyslog, queue {'on disk, synced' if on_disk else 'in memory'}"
        self._say(f"{system}, Elasticsearch")
        # As ours has it: no field is analysed that nobody asked for, no replica.
        server.request("PUT", "/rsyslog-bench", {"settings": {"number_of_replicas": 0}})
        port = free_port()
        system_under_test = Rsyslog(directory, port, server.port, _OWN_CORE, on_disk=on_disk)
        pid = system_under_test.process.pid
        lines = json_lines(50)
        sent = self.records // CHUNK // 50 * 50 * CHUNK
        try:
            before, began = usage([pid]), time.monotonic()
            try:
                rsyslog.send(port, lines, sent // CHUNK // 50, _STANDSTILL_S)
            except TimeoutError:
                self.left_out.append(f"{system} took nothing for {_STANDSTILL_S:g} s")
                return
            arrived = _arrived(server, "rsyslog-bench", sent)
            seconds, cpu_s = time.monotonic() - began, usage([pid]).cpu_s - before.cpu_s
            resident = _most_resident_mib(pid)
        finally:
            system_under_test.process.stop()
        if arrived < sent:
            said = system_under_test.process.log.read_text(errors="replace")[-500:]
            self.left_out.append(f"{system} delivered {arrived:,} of {sent:,} records, and then no more: {said}")
            return
        self.figures.append(Figures("Elasticsearch", system, sent, seconds, cpu_s, resident))


def _arrived(server: Elasticsearch, index: str, sent: int) -> int:
    """How many of `sent` records are in the end. Asked for without a refresh, which would cost the server more than
    what is measured."""
    found, grown = 0, time.monotonic()
    while found < sent and time.monotonic() - grown < _STANDSTILL_S:
        time.sleep(0.2)  # the interval of a condition that is polled
        shown = server.request("GET", f"/{index}/_stats/indexing")
        now = int(shown["_all"]["primaries"]["indexing"]["index_total"])
        if now > found:
            found, grown = now, time.monotonic()
    return found


def json_lines(messages: int) -> bytes:
    """The same records as the messages of the forward protocol, a line each."""
    rng, now = random.Random(1), time.time()
    lines = []
    for number in range(messages):
        _, entries, _ = msgpack.unpackb(message(rng, now, [str(number)] * CHUNK, ""))
        unpacker = msgpack.Unpacker(ext_hook=lambda _code, _data: int(now * 1000))
        unpacker.feed(entries)
        lines += [json.dumps({"@timestamp": when, **body}) for when, body in unpacker]
    return ("\n".join(lines) + "\n").encode()


@contextmanager
def _elasticsearch() -> Iterator[Elasticsearch]:
    server = Elasticsearch(heap_mib=1024)  # with 512, its circuit breaker refuses bulk requests now and then
    try:
        server.start()
        yield server
    finally:
        server.close()


def _most_resident_mib(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    assert found is not None
    return int(found[1]) / 1024


def _about(records: int) -> str:
    cpu = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = f"{os.cpu_count()} × {line.partition(':')[2].strip()}"
            break
    return (
        f"Measured {datetime.now(UTC).date().isoformat()} on {cpu}, Linux {platform.release()}: {records:,} access "
        "records of 0.9 KB over 8 connections, each acknowledged when it was on disk; "
        f"Elasticsearch {elasticsearch.ELASTICSEARCH.version}."
    )


def main() -> int:
    """Exit status 0: measured; 1: something does not run."""
    parser = argparse.ArgumentParser(prog="make bench-collect", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the records; docs/collecting.md is left alone")
    parser.add_argument("--records", type=int, default=1_000_000, help="default: %(default)d; 3 KB of disk each")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    arguments = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        print("the bench needs two cores", file=sys.stderr)
        return 1
    records = arguments.records // 10 if arguments.quick else arguments.records
    bench = Bench(records, lambda what: print(f"{what} ...", file=sys.stderr))
    try:
        for case in arguments.cases:
            getattr(bench, case)()
    except Failed as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    text = markdown(bench.figures, bench.searches, bench.records, bench.left_out, _about(bench.records))
    print(text)
    complete = set(arguments.cases) == set(CASES) and not bench.left_out
    if complete and not arguments.quick and arguments.records >= 1_000_000:
        update(_ROOT / "docs" / "collecting.md", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
