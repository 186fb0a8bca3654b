"""How fast the collector stores and finds: `python -m tests.collectors.bench [--records N]`.

Prints microseconds of CPU and records per second of one core, then the times of searches over all of them.
Records are access records as sidecars send them, with ids of their own, random trace and request ids; on disk, durable.
"""

import argparse
import asyncio
import os
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from collectors.exporters.sqlite import StoreExporter
from collectors.pipeline import Gate
from collectors.processors.redaction import Redaction
from collectors.receivers.claims import Judge
from collectors.receivers.events import Events
from collectors.receivers.exposition import Exposition
from collectors.receivers.forward_parser import ForwardParser
from collectors.receivers.members import Members
from collectors.receivers.readings import Readings
from collectors.store import Limits, Reader, Store
from mesh.records import DURATION_BUCKETS_MS, HTTP_LABELS
from tests.bench.collect.records import CHUNK
from tests.bench.collect.records import message as access_message
from tests.collectors.authority import PRODUCTPAGE


def message(first: int, now: float, rng: random.Random) -> bytes:
    """One PackedForward message of access records, in one of sixteen of a workload that has no others."""
    workload = f"productpage-v{1 if first // CHUNK % 16 else 2}"
    numbers = [str(number) for number in range(first, first + CHUNK)]
    return access_message(rng, now, numbers, f"chunk{first}", workload=workload)


def cpu_s() -> float:
    """Of all threads of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def store_all(path: Path, records: int) -> None:
    """Through parser, processors and store, as the receiver does it with eight busy connections."""
    # Of the last hour, in order, as a mesh's are.
    rng, now = random.Random(1), time.time()
    store = Store.open(path, limits=Limits(max_bytes=64 << 30))
    gate = Gate(Redaction(StoreExporter(store)), 64 << 20)
    judge = Judge(PRODUCTPAGE, Members())
    events, parsers = Events(), [ForwardParser() for _ in range(8)]
    cpu = wall = made = 0.0
    for first in range(0, records, CHUNK * 64):
        messages = [
            message(start, now - (records - start) / records * 3600, rng)
            for start in range(first, min(first + CHUNK * 64, records), CHUNK)
        ]
        made += len(messages) * CHUNK
        cpu_before, wall_before = cpu_s(), time.perf_counter()

        async def connection(parser: ForwardParser, mine: list[bytes]) -> None:
            for one in mine:
                await gate.consume(events.batch(parser.feed(one), judge, now).batch)

        await asyncio.gather(*(connection(parser, messages[i :: len(parsers)]) for i, parser in enumerate(parsers)))
        cpu += cpu_s() - cpu_before
        wall += time.perf_counter() - wall_before
    store.close()
    size = path.stat().st_size
    print(f"stored {made:.0f} records: {cpu / made * 1e6:.1f} us CPU a record = {made / cpu:,.0f} records/s per core; "
          f"wall {made / wall:,.0f}/s; {store.stats.commits} commits; {size / made:.0f} B a record")  # fmt: skip


def search(path: Path) -> dict[str, tuple[float, float, float]]:
    """Median and worst of several searches each, and the first one after the file left the system's cache,
    milliseconds."""
    reader = Reader.open(path)
    some, first = reader.logs(limit=1)[0], reader.logs(limit=1, after_rowid=0)[0]
    reader.close()
    now = time.time()
    most, few = "productpage-v1", "productpage-v2"
    half, early = (first.time + some.time) / 2, first.time + (some.time - first.time) / 500
    questions: dict[str, Callable[[Reader], object]] = {
        "newest 100": lambda reader: reader.logs(),
        "a frequent word, newest 100": lambda reader: reader.logs(text="reviews"),
        "a frequent word, the first 500th of the time": lambda reader: reader.logs(text="reviews", until=early),
        "a frequent word of a workload that has few": lambda reader: reader.logs(text="reviews", workload=few),
        "a frequent word, arrived after a record": lambda reader: reader.logs(
            text="reviews", after_rowid=some.rowid - 1000
        ),
        "two words": lambda reader: reader.logs(text="ratings 503"),
        "a request id": lambda reader: reader.logs(text=some.body["request_id"]),
        "a trace id": lambda reader: reader.logs(trace_id=some.trace_id),
        "a word in no record": lambda reader: reader.logs(text="nonesuch"),
        "two frequent words never side by side": lambda reader: reader.logs(text='"reviews GET"'),
        "errors of a workload": lambda reader: reader.logs(workload=most, severity="error"),
        "workload, tag of no record": lambda reader: reader.logs(workload=most, tag="nonesuch"),
        "workload, severity of no record": lambda reader: reader.logs(workload=most, severity="warning"),
        "word, workload, severity, an hour": lambda reader: reader.logs(
            text="details", workload=most, severity="error", since=now - 3600
        ),
        "count all": lambda reader: reader.count_logs(),
        "count errors": lambda reader: reader.count_logs(severity="error"),
    }
    counts: dict[str, dict[str, Any]] = {
        "a frequent word": {"text": "reviews"},
        "a frequent word, an hour": {"text": "reviews", "since": now - 3600},
        "a frequent word, half of the time": {"text": "reviews", "since": half},
        "a frequent word of most": {"text": "reviews", "workload": most},
        "a frequent word of few": {"text": "reviews", "workload": few},
        "a frequent word of most, half of the time": {"text": "reviews", "workload": most, "since": half},
        "a frequent word of most, severity": {"text": "reviews", "workload": most, "severity": "info"},
        "two words of most": {"text": "reviews 503", "workload": most},
        "two frequent words of most, the first half": {"text": "reviews GET", "workload": most, "until": half},
        "a frequent word without another, of most": {"text": "GET NOT reviews", "workload": most},
        "a word that all have": {"text": "GET"},
        "a word that all have, of most": {"text": "GET", "workload": most},
        "a word that all have, of most, severity, half": {
            "text": "GET", "workload": most, "severity": "info", "since": half,
        },
        "one of three words, of most": {"text": "reviews OR details OR ratings", "workload": most},
        "the beginning of a frequent word, of most": {"text": "rev*", "workload": most},
        "two words side by side that all have": {"text": "via_upstream"},
        "two words side by side that all have, of most": {"text": "via_upstream", "workload": most},
        "three words side by side that all have, of most": {"text": "HTTP/1.1", "workload": most},
        "an address that all have, five words": {"text": "127.0.0.1:15001"},
    }  # fmt: skip
    for name, query in counts.items():
        questions[f"count {name}"] = lambda reader, query=query: reader.count_logs(**query)
    return {name: _times(path, question) for name, question in questions.items()}


def _times(path: Path, question: Callable[[Reader], object]) -> tuple[float, float, float]:
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    reader = Reader.open(path)
    times = []
    for _ in range(8):
        before = time.perf_counter()
        question(reader)
        times.append((time.perf_counter() - before) * 1000)
    reader.close()
    cold, *warm = times
    return statistics.median(warm), max(warm), cold


def exposition(target: int, scrape: int, series: int) -> str:
    """A sidecar's metrics: `series` label combinations with their three histograms, and Envoy's own."""
    lines = []
    names = ("istio_request_duration_milliseconds", "istio_request_bytes", "istio_response_bytes")
    kinds = [f"# TYPE {name} histogram" for name in names]
    for one in range(series):
        labels = ",".join(f'{label}="{label}-value-{target}-{one}"' for label in HTTP_LABELS)
        lines.append(f"istio_requests_total{{{labels}}} {scrape * 7 + one}")
        for name in names:
            buckets = (*DURATION_BUCKETS_MS, "+Inf")
            lines += [f'{name}_bucket{{{labels},le="{bucket}"}} {scrape * 7}' for bucket in buckets]
            lines.append(f"{name}_sum{{{labels}}} {scrape * 30.5}")
            lines.append(f"{name}_count{{{labels}}} {scrape * 7}")
    envoy = [f'envoy_cluster_upstream_cx_total{{envoy_cluster_name="c{n}"}} {scrape}' for n in range(200)]
    return "\n".join(["# TYPE istio_requests_total counter", *kinds, *lines, *envoy, ""])


def scrape(path: Path) -> None:
    """Seven busy targets, read and stored; every series changes with every scrape."""
    store = Store.open(path)
    targets = [(Exposition({"instance": f"t{n}"}), Readings()) for n in range(7)]
    now = time.time()
    rounds, cpu, first = 30, 0.0, 0.0
    samples = 0
    from collectors.records import Batch

    for number in range(rounds):
        texts = [exposition(target, number, 6) for target in range(len(targets))]
        before = cpu_s()
        for (reader, readings), text in zip(targets, texts, strict=True):
            batch = Batch(samples=readings.read(reader.read(text), now + 2 * number))
            samples += len(batch)
            store.submit(batch).result()
        if number:
            cpu += cpu_s() - before
        else:
            first = cpu_s() - before
    store.close()
    each = cpu / (rounds - 1)
    share = each / 2 * 100
    lines = len(texts[0].splitlines())
    print(f"7 targets of {lines} lines: first round {first * 1000:.0f} ms, then {each * 1000:.1f} ms = "
          f"{share:.2f} % of a core at one round every 2 s; {samples / rounds:.0f} samples a round")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000, help="default: %(default)d; about 2 KB of disk each")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(store_all(Path(directory) / "logs.sqlite", options.records))
        print(f"searches over {options.records:,} records, milliseconds (median / worst of 7 / cold):")
        for name, (median_ms, worst_ms, cold_ms) in search(Path(directory) / "logs.sqlite").items():
            print(f"  {name:56} {median_ms:8.1f} / {worst_ms:8.1f} / {cold_ms:8.1f}")
        scrape(Path(directory) / "metrics.sqlite")


if __name__ == "__main__":
    main()
