"""What was acknowledged is in Elasticsearch exactly once, whatever happened on the way: the back end stopped and
started again, too busy, its answers lost; the collector killed three times. With --soak at full length: 200,000 records
and 60 s."""

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psutil
import pytest

from remora.up.sockets import free_ports
from tests.collectors.forward_peers import AckingSender
from tests.integration.elasticsearch import Elasticsearch, Queries
from tests.integration.relay import Mode, Relay

pytestmark = pytest.mark.timeout(1800)

SENDERS = 4
CHUNK = 250
MAX_RSS_MIB = 160

CONFIGURATION = """\
receivers:
  forward: {{listeners: [{{address: 127.0.0.1:{port}}}]}}
routes:
- match: {{signals: [logs]}}
  exporters: [elasticsearch]
exporters:
  elasticsearch:
    type: elasticsearch
    urls: [{url}]
    namespace: {namespace}
    max_bulk_records: 1000
    engine: {engine}
    retention: {{type: {retention}}}
    buffer: {{retry_min: 100ms, retry_max: 1s, segment_bytes: 1MiB}}
"""


class CollectorProcess:
    """`remora collect --config`, started again on the same port after each kill, and its resident memory."""

    def __init__(self, directory: Path, configuration: str) -> None:
        self._directory = directory
        self._file = directory / "collect.yaml"
        self._file.write_text(configuration)
        self._process: subprocess.Popen[bytes] | None = None
        self._health = ""
        self._ended = threading.Event()
        self._sampler = threading.Thread(target=self._sample)
        self.log = directory / "collect.log"
        self.max_rss_mib = 0.0
        self.kills = 0

    def __enter__(self) -> Self:
        self.start()
        self._sampler.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._sampler.join()
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(30)
            finally:
                self._process.kill()
                self._process.wait(10)

    def start(self) -> None:
        """Return when it serves."""
        read, write = os.pipe()
        command = [
            sys.executable, "-m", "remora", "collect", "--config", str(self._file), "--state",
            str(self._directory / "state"), "--health", "127.0.0.1:0", "--ready-fd", str(write),
        ]  # fmt: skip
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(command, pass_fds=(write,), stdout=log, stderr=log)
        os.close(write)
        with os.fdopen(read) as file:
            line = file.readline()
        assert line, self.log.read_text()[-4000:]
        self._health = json.loads(line)["health"]

    def kill(self) -> None:
        """-9, and the next one at once."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)
        self.kills += 1
        self.start()

    def health(self) -> dict[str, Any]:
        """What it says of its exporter."""
        with urllib.request.urlopen(f"http://{self._health}/healthz", timeout=10) as answer:
            said: dict[str, Any] = json.loads(answer.read())["exporters"]["elasticsearch"]
        return said

    def _sample(self) -> None:
        while not self._ended.wait(0.1):
            process = self._process
            if process is not None:
                with contextlib.suppress(psutil.Error):
                    self.max_rss_mib = max(self.max_rss_mib, psutil.Process(process.pid).memory_info().rss / (1 << 20))


@dataclass
class Load:
    """Senders that each wait for every acknowledgement, and send again until they have it. One writes access records
    with ids of its own; of the others' records a chunk's id and the place in it are the id."""

    port: int
    total: int
    acknowledged: set[str] = field(default_factory=set)
    allowed: int = 0
    """Records that may have been sent so far; the senders wait for more."""
    failures: list[BaseException] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._send, args=(number,)) for number in range(SENDERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.ended.set()
            for thread in threads:
                thread.join()

    def _send(self, sender: int) -> None:
        access = sender == 0
        peer = AckingSender(
            "remora.access" if access else f"app.sender{sender}",
            host="127.0.0.1",
            port=self.port,
            timeout=10,
            context=None,
        )
        try:
            for number in range(self.total // SENDERS // CHUNK):
                while number * CHUNK * SENDERS >= self.allowed:
                    if self.ended.wait(0.01):
                        return
                chunk = f"sender{sender}-{number}"
                first = number * CHUNK
                records = [self._record(sender, first + place) for place in range(CHUNK)]
                peer.deliver(chunk, records, within_s=300)
                # A set's update is one step for other threads.
                self.acknowledged.update(
                    record["id"] if access else f"chunk:{chunk}/{place}" for place, record in enumerate(records)
                )
        except BaseException as error:
            self.failures.append(error)
        finally:
            peer.close()

    @staticmethod
    def _record(sender: int, number: int) -> dict[str, Any]:
        if sender == 0:
            return {
                "id": f"node/epoch/{number}", "workload": "reviews-v1", "namespace": "default", "method": "GET",
                "path": f"/reviews/{number}", "protocol": "HTTP/1.1", "response_code": 200, "response_flags": "-",
                "duration": 1.5, "number": number, "sender": sender,
            }  # fmt: skip
        return {"message": f"request {number} was served in 3 ms", "number": number, "sender": sender, "level": "info"}


def everything(server: Queries, namespace: str) -> Iterator[dict[str, Any]]:
    """Every document of the streams, in order of time and number: pages that follow each other."""
    target = f"logs-remora.*-{namespace}"
    server.request("POST", f"/{target}/_refresh")
    after: list[Any] | None = None
    sort = [{"@timestamp": "asc"}, {"remora.stream": "asc"}, {"event.sequence": "asc"}, {"_doc": "asc"}]
    source = ["event.id", "event.sequence", "remora.attributes.number", "remora.attributes.sender"]
    while True:
        body: dict[str, Any] = {"size": 10_000, "sort": sort, "_source": source, "track_total_hits": False}
        if after is not None:
            body["search_after"] = after
        hits = server.request("POST", f"/{target}/_search", body)["hits"]["hits"]
        if not hits:
            return
        yield from (hit["_source"] for hit in hits)
        after = hits[-1]["sort"]


async def test_every_acknowledged_record_is_there_exactly_once(
    elasticsearch: Queries,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    eventually: Callable[..., Awaitable[None]],
    record_property: Callable[[str, object], None],
) -> None:
    if not isinstance(elasticsearch, Elasticsearch):
        pytest.skip("needs an Elasticsearch that it may stop: unset REMORA_TEST_ELASTICSEARCH_URL")
    soak = bool(request.config.getoption("--soak"))
    total, outage_s = (200_000, 60.0) if soak else (20_000, 5.0)
    namespace = f"outage{os.getpid()}"
    ports = free_ports(2, random.Random())
    load = Load(ports[0], total)

    def let(fifths: int) -> int:
        """Allow so much of all; returns it."""
        load.allowed = total * fifths // 5
        return load.allowed

    async def acknowledged(count: float) -> None:
        def there() -> bool:
            assert not load.failures, load.failures
            return len(load.acknowledged) >= count

        await eventually(there, f"{count} records acknowledged", within=600)

    async def stored(count: float) -> None:
        deadline = time.monotonic() + 600
        while (there := await asyncio.to_thread(elasticsearch.count, f"logs-remora.*-{namespace}")) < count:
            assert time.monotonic() < deadline, f"{there} of {count}\n{collector.log.read_text()[-6000:]}"
            await asyncio.sleep(0.5)  # the interval of a condition that is polled: each costs the server a refresh

    async def delivered() -> None:
        """The collector has nothing left; what its health says last is the failure's text."""
        deadline = time.monotonic() + 900
        while (state := await asyncio.to_thread(collector.health))["queue_bytes"]:
            assert time.monotonic() < deadline, f"{state}\n{relay.counts}\n{collector.log.read_text()[-6000:]}"
            await asyncio.sleep(0.2)  # the interval of a condition that is polled
        print(state)

    began = time.monotonic()
    with (
        Relay(elasticsearch.url, ports[1]) as relay,
        CollectorProcess(
            tmp_path,
            CONFIGURATION.format(
                port=ports[0],
                url=relay.url,
                namespace=namespace,
                engine=elasticsearch.engine,
                retention="data_stream" if elasticsearch.engine == "elasticsearch" else "none",
            ),
        ) as collector,
        load.running(),
    ):
        # Killed while everything flows.
        let(1)
        await acknowledged(total * 0.1)
        collector.kill()
        await acknowledged(total * 0.2)
        await stored(total * 0.1)
        # Stopped; killed with what was acknowledged on its disk alone.
        await asyncio.to_thread(elasticsearch.stop)
        down = time.monotonic()
        let(2)
        await acknowledged(total * 0.3)
        collector.kill()
        await acknowledged(total * 0.4)
        await eventually(lambda: time.monotonic() - down >= outage_s, "the outage's length", within=outage_s + 5)
        elasticsearch.launch()
        let(3)
        await asyncio.to_thread(elasticsearch.wait)
        outage = time.monotonic() - down
        # Too busy for everything; killed meanwhile.
        relay.mode = Mode.BUSY
        let(4)
        await acknowledged(total * 0.7)
        await eventually(lambda: relay.counts[Mode.BUSY] >= 3, "refusals", within=30)
        collector.kill()
        await acknowledged(total * 0.8)
        # Stored, and nobody is told.
        relay.mode = Mode.LOSE
        let(5)
        await eventually(lambda: relay.counts[Mode.LOSE] >= 3, "lost answers", within=60)
        relay.mode = Mode.PASS
        await acknowledged(total)
        await delivered()
    took = time.monotonic() - began

    ids: Counter[str] = Counter()
    last: dict[int, int] = {}
    disorder = 0
    for source in everything(elasticsearch, namespace):
        ids[source["event"]["id"]] += 1
        attributes = source["remora"]["attributes"]
        sender, number = attributes["sender"], attributes["number"]
        disorder += number < last.get(sender, -1)
        last[sender] = number
    assert ids.keys() == load.acknowledged, "what is there is what was acknowledged"
    assert [id_ for id_, count in ids.items() if count != 1] == [], "once"
    assert disorder == 0, "each sender's records are in order of time and number"
    assert collector.kills == 3
    assert collector.max_rss_mib < MAX_RSS_MIB
    figures = {
        "records": total, "seconds": round(took, 1), "outage_s": round(outage, 1),
        "max_rss_mib": round(collector.max_rss_mib, 1),
        "busy": relay.counts[Mode.BUSY], "lost": relay.counts[Mode.LOSE],
    }  # fmt: skip
    record_property("figures", json.dumps(figures))
    print(figures)
