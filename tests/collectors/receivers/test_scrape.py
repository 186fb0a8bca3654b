import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from collectors.receivers.changes import REPEAT_S, Changes
from collectors.receivers.exposition import BrokenExposition, Exposition
from collectors.receivers.scrape import MAX_BODY_BYTES, ScrapeFailed, Scraper, Target, fetch, parse_targets
from collectors.telemetry import Telemetry
from tests.collectors.build import NOW, FakeClock
from tests.collectors.fakes import Sink

Eventually = Callable[..., Awaitable[None]]


class Sidecar:
    """A target whose metrics the real library writes."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("istio_requests", "r", ("reporter", "path"), registry=self.registry)
        self.durations = Histogram(
            "istio_request_duration_milliseconds", "d", buckets=(1, 5, 10), registry=self.registry
        )
        self.gauge = Gauge("remora_connections", "g", registry=self.registry)
        self.other = Counter("envoy_cluster_upstream_cx", "o", registry=self.registry)

    def text(self) -> str:
        return generate_latest(self.registry).decode()


def named(samples: list[object]) -> dict[str, list[float | None]]:
    found: dict[str, list[float | None]] = {}
    for sample in samples:
        found.setdefault(sample.name, []).append(sample.value)  # type: ignore[attr-defined]
    return found


def test_what_the_library_writes_is_read() -> None:
    sidecar = Sidecar()
    sidecar.requests.labels("source", 'a"b\\c\n}').inc(3)
    for value in (0.5, 3, 3, 50):
        sidecar.durations.observe(value)
    sidecar.gauge.set(7)
    slots = {slot.name: slot for slot in Exposition({"instance": "x:1", "path": "never"}).read(sidecar.text())}
    assert set(slots) == {"istio_requests_total", "istio_request_duration_milliseconds", "remora_connections"}
    requests = slots["istio_requests_total"]
    assert requests.labels == (("instance", "x:1"), ("path", 'a"b\\c\n}'), ("reporter", "source"))
    assert (requests.value, requests.cumulative) == (3, True)
    assert slots["remora_connections"].value == 7
    assert not slots["remora_connections"].cumulative
    histogram = slots["istio_request_duration_milliseconds"].histogram()
    assert histogram is not None
    assert histogram.bounds == (1, 5, 10, float("inf"))
    assert histogram.counts == (1, 3, 3, 4)
    assert histogram.sum == 56.5


def test_a_known_series_is_read_again_without_parsing_its_labels() -> None:
    sidecar = Sidecar()
    sidecar.requests.labels("source", "/").inc()
    exposition = Exposition({})
    first = {id(slot) for slot in exposition.read(sidecar.text())}
    sidecar.requests.labels("source", "/").inc()
    again = list(exposition.read(sidecar.text()))
    assert {id(slot) for slot in again} == first
    assert [slot.value for slot in again if slot.name == "istio_requests_total"] == [2]


@pytest.mark.parametrize(
    "text",
    [
        'istio_requests_total{a="b} 5',
        'istio_requests_total{a="b"} five',
        "istio_requests_total",
        'istio_requests_total{a="b"} 5 1769860800000',
        '# TYPE istio_x histogram\nistio_x_bucket{a="b"} 5',
        "istio_ 5 5 5",
    ],
)
def test_broken_text_is_refused(text: str) -> None:
    with pytest.raises(BrokenExposition):
        list(Exposition({}).read(text + "\n"))


@given(st.text(max_size=60).map(lambda text: "istio_" + text) | st.text(max_size=60))
def test_any_text_is_series_or_refused(text: str) -> None:
    try:
        list(Exposition({}).read(text))
    except BrokenExposition:
        pass


def test_only_changes_are_stored_with_both_ends_of_every_stretch() -> None:
    sidecar, exposition, changes = Sidecar(), Exposition({}), Changes()
    child = sidecar.requests.labels("source", "/")

    def stored(at: float) -> list[tuple[float, float | None]]:
        samples = changes.read(exposition.read(sidecar.text()), at)
        return [(sample.time, sample.value) for sample in samples if sample.name == "istio_requests_total"]

    assert stored(0) == [(0, 0)]
    assert stored(2) == []
    child.inc()
    assert stored(4) == [(2, 0), (4, 1)]
    child.inc()
    assert stored(6) == [(6, 2)], "the reading before it is stored already"
    assert [stored(at) for at in (8, 10)] == [[], []]
    assert stored(6 + REPEAT_S) == [(6 + REPEAT_S, 2)], "repeated once a minute"


def test_a_counter_that_appears_later_began_at_zero() -> None:
    sidecar, exposition, changes = Sidecar(), Exposition({}), Changes()
    changes.read(exposition.read(sidecar.text()), 0)
    sidecar.requests.labels("source", "/").inc(5)
    sidecar.durations.observe(3)
    samples = named(changes.read(exposition.read(sidecar.text()), 2))
    assert samples["istio_requests_total"] == [0, 5]
    assert samples["istio_request_duration_milliseconds"] == [1], "was there before, at zero"


def test_at_the_first_reading_a_counter_may_be_of_any_age() -> None:
    sidecar, changes = Sidecar(), Changes()
    sidecar.requests.labels("source", "/").inc(5)
    assert named(changes.read(Exposition({}).read(sidecar.text()), 2))["istio_requests_total"] == [5]


def test_series_end_when_they_vanish_or_the_target_fails_and_may_come_back() -> None:
    sidecar, exposition, changes = Sidecar(), Exposition({}), Changes()
    sidecar.requests.labels("source", "/").inc(5)
    text = sidecar.text()
    changes.read(exposition.read(text), 0)
    failed = changes.failed(2)
    assert {sample.value for sample in failed} == {None}
    assert changes.failed(4) == [], "once"
    assert named(changes.read(exposition.read(text), 6))["istio_requests_total"] == [5], "goes on, not from zero"
    without = "".join(line + "\n" for line in text.splitlines() if not line.startswith("istio_requests_total"))
    assert named(changes.read(exposition.read(without), 8)) == {"istio_requests_total": [None]}


def test_targets_are_read_as_prometheus_does() -> None:
    groups = [
        {"targets": ["127.0.0.1:1", "[::1]:2"], "labels": {"workload": "a", "__metrics_path__": "/stats/prometheus"}},
        {"targets": ["127.0.0.1:3"]},
    ]
    assert parse_targets(json.dumps(groups)) == {
        Target("127.0.0.1:1", "/stats/prometheus", (("workload", "a"),)),
        Target("[::1]:2", "/stats/prometheus", (("workload", "a"),)),
        Target("127.0.0.1:3", "/metrics", ()),
    }


@pytest.mark.parametrize(
    "text", ["", "{}", "[5]", '[{"targets": "x"}]', '[{"targets": ["nope"]}]', '[{"targets": ["a:0"]}]']
)
def test_a_broken_target_file_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_targets(text)


class Web:
    """An HTTP server that answers bytes."""

    def __init__(self) -> None:
        self.answer = b""
        self.hang = False
        self.asked: list[bytes] = []
        self.address = ""

    async def __aenter__(self) -> "Web":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    def show(self, text: str) -> None:
        body = text.encode()
        self.answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.asked.append(await reader.readuntil(b"\r\n\r\n"))
            if self.hang:
                await reader.read()
            writer.write(self.answer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def web() -> AsyncIterator[Web]:
    async with Web() as web:
        yield web


async def test_a_target_is_fetched_by_get(web: Web) -> None:
    web.show("istio_x 1\n")
    assert await fetch(Target(web.address, "/stats", ()), timeout_s=5) == "istio_x 1\n"
    assert web.asked[0].startswith(b"GET /stats HTTP/1.1\r\n")
    web.answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n"
    assert await fetch(Target(web.address, "/", ()), timeout_s=5) == "abcd"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 500 x\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 302 x\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n\xff",
        b"HTTP/1.1 200 OK\r\n\r\n" + bytes(MAX_BODY_BYTES + 1),
    ],
    ids=["nothing", "garbage", "an error", "a redirect", "cut off", "no UTF-8", "too large"],
)
async def test_a_target_that_answers_wrongly_fails(web: Web, answer: bytes) -> None:
    web.answer = answer
    with pytest.raises(ScrapeFailed):
        await fetch(Target(web.address, "/", ()), timeout_s=5)


async def test_a_target_that_hangs_or_is_not_there_fails_in_time(web: Web) -> None:
    web.hang = True
    with pytest.raises(ScrapeFailed, match="no answer within"):
        await fetch(Target(web.address, "/", ()), timeout_s=0.05)
    with pytest.raises(ScrapeFailed):
        await fetch(Target("127.0.0.1:1", "/", ()), timeout_s=5)


async def test_the_scraper_follows_the_file_and_ends_series_of_what_is_gone(
    web: Web, tmp_path: Path, eventually: Eventually
) -> None:
    file = tmp_path / "targets.json"
    sink, sidecar = Sink(), Sidecar()
    sidecar.requests.labels("source", "/").inc(5)
    web.show(sidecar.text())
    scraper = Scraper(file, sink, Telemetry(), FakeClock(), random.Random(1), interval_s=0.02)
    running = asyncio.ensure_future(scraper.run())

    def values() -> list[float | None]:
        samples = [sample for batch in sink.batches for sample in batch.samples]
        return [sample.value for sample in samples if sample.name == "istio_requests_total"]

    await asyncio.sleep(0)
    file.write_text(json.dumps([{"targets": [web.address], "labels": {"workload": "a-v1"}}]))
    await eventually(lambda: values() == [5], "scraped")
    sample = next(one for one in sink.batches[0].samples if one.name == "istio_requests_total")
    assert dict(sample.labels)["workload"] == "a-v1"
    assert dict(sample.labels)["instance"] == web.address
    assert sample.time == NOW
    sidecar.requests.labels("source", "/").inc()
    web.show(sidecar.text())
    await eventually(lambda: values()[-1] == 6, "scraped again")
    web.answer = b"HTTP/1.1 500 x\r\ncontent-length: 0\r\n\r\n"
    await eventually(lambda: values()[-1] is None, "its series end when it fails")
    web.show(sidecar.text())
    await eventually(lambda: values()[-1] == 6, "and go on")
    file.write_text("not JSON")
    await eventually(lambda: scraper._stamp is not None, "read")
    assert len(scraper.targets) == 1, "a broken file changes nothing"
    file.write_text("[]")
    await eventually(lambda: values()[-1] is None, "its series end when it is gone")
    assert scraper.targets == frozenset()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
