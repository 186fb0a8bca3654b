import pytest

from collectors.pipeline import Refused
from collectors.processors.routing import MAX_CACHED, Discard, Fanout, Route, Router
from collectors.records import Batch, Sample
from collectors.settings.routes import compile_tags
from collectors.telemetry import Telemetry
from tests.collectors.build import NOW, log, span
from tests.collectors.fakes import Sink

ALL = frozenset(("logs", "traces", "metrics"))
LOGS = frozenset(("logs",))


def tagged(id_: str, tag: str, severity: str = "info") -> Batch:
    return Batch(logs=[log(id_, id_)._replace(tag=tag, severity=severity)], size_bytes=100)


def together(*batches: Batch) -> Batch:
    return Batch(logs=[record for batch in batches for record in batch.logs], size_bytes=100 * len(batches), sender="s")


async def routed(batch: Batch, *routes: tuple[Route, Sink], telemetry: Telemetry | None = None) -> list[list[object]]:
    await Router([route for route, _ in routes], telemetry or Telemetry()).consume(batch)
    return [sink.messages for _, sink in routes]


def route(*tags: str, severities: tuple[str, ...] = (), proceed: bool = False) -> tuple[Route, Sink]:
    sink = Sink()
    return Route(sink, LOGS, compile_tags(tags), frozenset(severities), proceed), sink


async def test_a_record_takes_the_first_route_that_matches() -> None:
    batch = together(tagged("1", "app.a"), tagged("2", "remora.access"), tagged("3", "app.b"), tagged("4", "x"))
    assert await routed(batch, route("app.*"), route("remora.access", "app.b"), route()) == [["1", "3"], ["2"], ["4"]]


async def test_with_proceed_it_looks_for_another_one() -> None:
    batch = together(tagged("1", "app.a"), tagged("2", "b"))
    assert await routed(batch, route("app.*", proceed=True), route(proceed=True), route()) == [
        ["1"], ["1", "2"], ["1", "2"],
    ]  # fmt: skip


async def test_severities_choose_too() -> None:
    batch = together(tagged("1", "a", "error"), tagged("2", "a", "debug"), tagged("3", "a"))
    assert await routed(batch, route(severities=("error", "warning")), route("a", severities=("info",))) == [
        ["1"],
        ["3"],
    ]


async def test_signals_go_apart_and_sizes_are_shared_out() -> None:
    batch = tagged("1", "a")
    batch.spans, batch.samples = [span(1, 1, None, "r")], [Sample("m", (), NOW, 1.0), Sample("n", (), NOW, 1.0)]
    batch.size_bytes, batch.sender = 400, "who"
    sinks = [Sink() for _ in range(3)]
    routes = [
        Route(sink, frozenset((signal,))) for sink, signal in zip(sinks, ("traces", "metrics", "logs"), strict=True)
    ]
    await Router(routes, Telemetry()).consume(batch)
    parts = [sink.batches[0] for sink in sinks]
    assert [len(part) for part in parts] == [1, 2, 1]
    assert [part.size_bytes for part in parts] == [100, 200, 100]
    assert {part.sender for part in parts} == {"who"}


async def test_what_no_route_wants_is_counted() -> None:
    telemetry = Telemetry()
    batch = together(tagged("1", "app.a"), tagged("2", "b"))
    batch.spans = [span(1, 1, None, "r")]
    assert await routed(batch, route("app.*"), telemetry=telemetry) == [["1"]]
    shown = telemetry.render().decode()
    assert 'remora_collector_unrouted_records_total{signal="logs"} 1.0' in shown
    assert 'remora_collector_unrouted_records_total{signal="traces"} 1.0' in shown


async def test_a_route_to_nowhere_drops_and_counts() -> None:
    telemetry = Telemetry()
    await Router([Route(Discard(telemetry), ALL)], telemetry).consume(tagged("1", "a"))
    assert 'remora_collector_discarded_records_total{signal="logs"} 1.0' in telemetry.render().decode()


async def test_refused_anywhere_is_refused_and_asked_for_again_if_that_helps_anywhere() -> None:
    refusing, patient, fine = Sink(), Sink(), Sink()
    refusing.refuse, patient.refuse = Refused("never", retry=False), Refused("later", retry=True)
    for sinks, retry in (((refusing, fine), False), ((refusing, patient, fine), True)):
        with pytest.raises(Refused) as caught:
            await Fanout(sinks).consume(tagged("1", "a"))
        assert caught.value.retry is retry
    assert fine.messages == ["1", "1"]


async def test_each_exporter_has_lists_of_its_own() -> None:
    first, second = Sink(), Sink()
    await Fanout((first, second)).consume(tagged("1", "a"))
    first.batches[0].logs.clear()
    assert second.messages == ["1"]


async def test_tags_that_senders_invent_do_not_fill_memory() -> None:
    chosen = route("*.x")
    router = Router([chosen[0]], Telemetry())
    for number in range(MAX_CACHED + 50):
        await router.consume(tagged(str(number), f"{number}.x"))
    assert chosen[1].messages == [str(number) for number in range(MAX_CACHED + 50)]
    assert len(router._logs) <= MAX_CACHED
