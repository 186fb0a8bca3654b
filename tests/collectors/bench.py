"""How fast the collector stores and finds: `python -m tests.collectors.bench [--records N]`.

Prints microseconds of CPU and records per second of one core, then the times of searches over all of them.
Records are access records as sidecars send them, with ids of their own, random trace and request ids; on disk, durable.
"""

import argparse
import asyncio
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

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
    """One PackedForward message of access records."""
    return access_message(rng, now, [str(number) for number in range(first, first + CHUNK)], f"chunk{first}")


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


def search(path: Path) -> dict[str, tuple[float, float]]:
    """Median and worst of several searches each, milliseconds."""
    reader = Reader.open(path)
    some = reader.logs(limit=1)[0]
    now = time.time()
    oldest = min(each.time for each in reader.logs(limit=100_000))
    half = (oldest + some.time) / 2
    questions: dict[str, Callable[[], object]] = {
        "newest 100": lambda: reader.logs(),
        "a frequent word, newest 100": lambda: reader.logs(text="reviews"),
        "two words": lambda: reader.logs(text="ratings 503"),
        "a request id": lambda: reader.logs(text=some.body["request_id"]),
        "a trace id": lambda: reader.logs(trace_id=some.trace_id),
        "a word in no record": lambda: reader.logs(text="nonesuch"),
        "errors of a workload": lambda: reader.logs(workload="productpage-v1", severity="error"),
        "word, workload, severity, an hour": lambda: reader.logs(
            text="details", workload="productpage-v1", severity="error", since=now - 3600
        ),
        "count all": lambda: reader.count_logs(),
        "count a frequent word": lambda: reader.count_logs(text="reviews"),
        "count errors": lambda: reader.count_logs(severity="error"),
        "count a frequent word of a workload": lambda: reader.count_logs(text="reviews", workload=some.workload),
        "count a frequent word, half of the time": lambda: reader.count_logs(text="reviews", since=half),
        "count a frequent word, an hour": lambda: reader.count_logs(text="reviews", since=now - 3600),
    }
    found = {}
    for name, question in questions.items():
        times = []
        for _ in range(7):
            before = time.perf_counter()
            question()
            times.append((time.perf_counter() - before) * 1000)
        found[name] = (statistics.median(times), max(times))
    reader.close()
    return found


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
        print(f"searches over {options.records:,} records, milliseconds (median / worst of 7):")
        for name, (median_ms, worst_ms) in search(Path(directory) / "logs.sqlite").items():
            print(f"  {name:36} {median_ms:8.1f} / {worst_ms:.1f}")
        scrape(Path(directory) / "metrics.sqlite")


if __name__ == "__main__":
    main()
