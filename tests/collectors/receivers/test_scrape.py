import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from collectors.receivers.exposition import MAX_LINE_CHARACTERS, BrokenExposition, Exposition
from collectors.receivers.readings import Readings
from collectors.receivers.scrape import MAX_BODY_BYTES, Job, ScrapeFailed, Scraper, Target, fetch, parse_targets
from collectors.records import Exemplar
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
        '# TYPE istio_x histogram\nistio_x_bucket{a="b"} 5',
        "istio_ 5 5 5",
    ],
)
def test_broken_text_is_refused(text: str) -> None:
    with pytest.raises(BrokenExposition):
        list(Exposition({}).read(text + "\n"))


def test_a_line_of_more_characters_than_any_metric_has_is_refused_before_it_is_parsed() -> None:
    # The library's parser takes minutes for four megabytes of escapes.
    def line(characters: int) -> str:
        around = 'istio_x{a=""} 1'
        return around.replace('""', f'"{"e" * (characters - len(around))}"')

    for hostile in ('istio_x{a="' + '\\"' * 2_000_000 + '"} 1', line(MAX_LINE_CHARACTERS + 1)):
        with pytest.raises(BrokenExposition, match=f"more than {MAX_LINE_CHARACTERS} characters"):
            list(Exposition({}).read(f"istio_y 1\n{hostile}\n"))
    (slot,) = Exposition({}).read(line(MAX_LINE_CHARACTERS))
    assert slot.value == 1
    # What nobody wants is not looked at.
    assert list(Exposition({}, wanted=("istio_",)).read("go_" + line(MAX_LINE_CHARACTERS + 1))) == []


@given(
    st.text(max_size=60).map(lambda text: "istio_" + text)
    | st.text(max_size=60)
    | st.text('istio_ab{}="\\\n #0123.eE+-', max_size=60).map(lambda text: "istio_a" + text)
)
def test_any_text_is_the_same_series_the_first_time_and_when_its_lines_are_known_or_refused(text: str) -> None:
    exposition = Exposition({})
    try:
        first = [(slot.name, slot.labels, slot.kind, str(slot.value)) for slot in exposition.read(text)]
    except BrokenExposition:
        with pytest.raises(BrokenExposition):
            list(exposition.read(text))
        return
    assert all(name.startswith("istio_") and name in text for name, *_ in first)
    assert [(slot.name, slot.labels, slot.kind, str(slot.value)) for slot in exposition.read(text)] == first


def test_lines_with_a_time_of_their_own_are_left_out_and_counted() -> None:
    exposition = Exposition({})
    for _ in range(2):
        slots = list(exposition.read('istio_requests_total{a="b"} 5 1769860800000\nistio_x 1\n'))
        assert [slot.name for slot in slots] == ["istio_x"]
        assert exposition.timed == 1


def test_series_beyond_the_bound_are_passed_over_and_counted() -> None:
    exposition = Exposition({}, max_series=3)
    text = "".join(f'istio_x{{n="{number}"}} 1\n' for number in range(5))
    assert len(list(exposition.read(text))) == 3
    assert exposition.passed_over == 2


def test_every_name_is_read_where_no_beginning_is_asked_for() -> None:
    text = '# TYPE app_up gauge\napp_up 1\n# TYPE lat summary\nlat{quantile="0.5"} 3\nlat_sum 9\nlat_count 3\nodd 4\n'
    slots = {(slot.name, slot.kind) for slot in Exposition({}, wanted=()).read(text)}
    assert slots == {
        ("app_up", "gauge"),
        ("lat", "gauge"),
        ("lat_sum", "counter"),
        ("lat_count", "counter"),
        ("odd", ""),
    }


OPENMETRICS = """\
# TYPE istio_requests counter
istio_requests_total{reporter="source"} 3.0
istio_requests_created{reporter="source"} 1.7698608e+09
# TYPE istio_request_duration_milliseconds histogram
istio_request_duration_milliseconds_bucket{le="1.0"} 1 # {trace_id="4bf92f3577b34da6a3ce929d0e0e4736"} 0.7 1769860800.25
istio_request_duration_milliseconds_bucket{le="+Inf"} 3 # {trace_id="a\\"}b"} 9
istio_request_duration_milliseconds_sum 20
istio_request_duration_milliseconds_count 3
istio_odd{path="/a # {b} 1"} 7
# EOF
"""


def test_openmetrics_is_read_with_its_exemplars() -> None:
    slots = {slot.name: slot for slot in Exposition({}).read(OPENMETRICS)}
    assert set(slots) == {"istio_requests_total", "istio_request_duration_milliseconds", "istio_odd"}
    assert (slots["istio_requests_total"].value, slots["istio_requests_total"].kind) == (3, "counter")
    durations = slots["istio_request_duration_milliseconds"]
    assert durations.counts == [1, 3]
    assert slots["istio_odd"].labels == (("path", "/a # {b} 1"),)
    assert durations.exemplars[0] == Exemplar((("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736"),), 0.7, 1769860800.25)
    assert durations.exemplars[1].labels == (("trace_id", 'a"}b'),)


def test_an_exemplar_is_handed_on_once_and_gets_the_scrapes_time_where_it_has_none() -> None:
    exposition, readings = Exposition({}), Readings()

    def exemplars(text: str, at: float) -> list[Exemplar]:
        return [each for sample in readings.read(exposition.read(text), at) for each in sample.exemplars]

    first = exemplars(OPENMETRICS, NOW)
    assert [each.time for each in first] == [1769860800.25, NOW]
    assert exemplars(OPENMETRICS, NOW + 2)[:-1] == []
    assert exemplars(OPENMETRICS.replace("0.7", "0.8"), NOW + 4)[0].value == 0.8


@pytest.mark.parametrize("exemplar", ['# {trace_id="' + "x" * 200 + '"} 1', '# {"x"} 1', '# {trace_id="x"} one'])
def test_an_exemplar_that_is_none_is_left_out_and_the_line_counts(exemplar: str) -> None:
    (slot,) = Exposition({}).read(f'# TYPE istio_d histogram\nistio_d_bucket{{le="+Inf"}} 3 {exemplar}\n')
    assert (slot.counts, slot.exemplars) == ([3], [])


def test_every_reading_is_handed_on() -> None:
    sidecar, exposition, readings = Sidecar(), Exposition({}), Readings()
    child = sidecar.requests.labels("source", "/")

    def read(at: float) -> list[tuple[float, float | None]]:
        samples = readings.read(exposition.read(sidecar.text()), at)
        return [(sample.time, sample.value) for sample in samples if sample.name == "istio_requests_total"]

    assert [read(at) for at in (0, 2)] == [[(0, 0)], [(2, 0)]]
    child.inc()
    assert read(4) == [(4, 1)]


def test_a_counter_that_appears_later_began_at_zero() -> None:
    sidecar, exposition, readings = Sidecar(), Exposition({}), Readings()
    readings.read(exposition.read(sidecar.text()), 0)
    sidecar.requests.labels("source", "/").inc(5)
    sidecar.durations.observe(3)
    samples = readings.read(exposition.read(sidecar.text()), 2)
    assert named(samples)["istio_requests_total"] == [0, 5]
    assert [sample.time for sample in samples if sample.name == "istio_requests_total"] == [0, 2]
    assert named(samples)["istio_request_duration_milliseconds"] == [1], "was there before, at zero"


def test_at_the_first_reading_a_counter_may_be_of_any_age() -> None:
    sidecar, readings = Sidecar(), Readings()
    sidecar.requests.labels("source", "/").inc(5)
    assert named(readings.read(Exposition({}).read(sidecar.text()), 2))["istio_requests_total"] == [5]


def test_series_end_when_they_vanish_or_the_target_fails_and_may_come_back() -> None:
    sidecar, exposition, readings = Sidecar(), Exposition({}), Readings()
    sidecar.requests.labels("source", "/").inc(5)
    text = sidecar.text()
    readings.read(exposition.read(text), 0)
    failed = readings.failed(2)
    assert {sample.value for sample in failed} == {None}
    assert readings.failed(4) == [], "once"
    assert named(readings.read(exposition.read(text), 6))["istio_requests_total"] == [5], "goes on, not from zero"
    without = "".join(line + "\n" for line in text.splitlines() if not line.startswith("istio_requests_total"))
    assert named(readings.read(exposition.read(without), 8))["istio_requests_total"] == [None]


def test_targets_are_read_as_prometheus_does() -> None:
    groups = [
        {"targets": ["127.0.0.1:1", "[::1]:2"], "labels": {"workload": "a", "__metrics_path__": "/stats/prometheus"}},
        {"targets": ["127.0.0.1:3"]},
    ]
    meta = (("__metrics_path__", "/stats/prometheus"),)
    assert parse_targets(json.dumps(groups)) == {
        Target("127.0.0.1:1", "/stats/prometheus", (("workload", "a"),), meta=meta),
        Target("[::1]:2", "/stats/prometheus", (("workload", "a"),), meta=meta),
        Target("127.0.0.1:3", "/metrics", ()),
    }
    tls = [{"targets": ["a:1"], "labels": {"__scheme__": "https", "__meta_x": "y"}}]
    assert parse_targets(json.dumps(tls)) == {
        Target("a:1", "/metrics", (), "https", (("__meta_x", "y"), ("__scheme__", "https")))
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[" * 20_000,
        "[5]",
        '[{"targets": "x"}]',
        '[{"targets": ["nope"]}]',
        '[{"targets": ["a:0"]}]',
        '[{"targets": ["a:1"], "labels": {"__scheme__": "file"}}]',
    ],
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
    web: Web, tmp_path: Path, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "targets.json"
    sink, sidecar = Sink(), Sidecar()
    sidecar.requests.labels("source", "/").inc(5)
    web.show(sidecar.text())
    scraper = Scraper(Job(files=(file,), interval_s=0.02), sink, Telemetry(), FakeClock(), random.Random(1))
    running = asyncio.ensure_future(scraper.run())

    def values() -> list[float | None]:
        samples = [sample for batch in sink.batches for sample in batch.samples]
        return [sample.value for sample in samples if sample.name == "istio_requests_total"]

    def up() -> list[float | None]:
        return [sample.value for batch in sink.batches for sample in batch.samples if sample.name == "up"]

    await asyncio.sleep(0)
    file.write_text(json.dumps([{"targets": [web.address], "labels": {"workload": "a-v1"}}]))
    await eventually(lambda: 5 in values(), "scraped")
    assert set(values()) == {5}
    sample = next(one for one in sink.batches[0].samples if one.name == "istio_requests_total")
    assert dict(sample.labels)["workload"] == "a-v1"
    assert dict(sample.labels)["instance"] == web.address
    assert sample.time == NOW
    sidecar.requests.labels("source", "/").inc()
    web.show(sidecar.text())
    await eventually(lambda: values()[-1] == 6, "scraped again")
    web.answer = b"HTTP/1.1 500 x\r\ncontent-length: 0\r\n\r\n"
    await eventually(lambda: values()[-1] is None, "its series end when it fails")
    assert up()[-1] == 0
    web.show(sidecar.text())
    await eventually(lambda: values()[-1] == 6, "and go on")
    file.write_text("not JSON")
    await eventually(lambda: "not read" in caplog.text, "the broken file is complained of")
    assert len(scraper.targets) == 1, "a broken file changes nothing"
    file.write_text("[]")
    await eventually(lambda: values()[-1] is None, "its series end when it is gone")
    assert scraper.targets == frozenset()
    assert up()[-1] is None
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
