"""What the sink makes of Elasticsearch's answers."""

import contextlib
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from collectors.exporters.jaeger.settings import Settings, build
from collectors.exporters.jaeger.sink import JaegerSink
from collectors.exporters.sink import TooLarge, Unavailable
from collectors.receivers.claims import Claims
from collectors.receivers.members import Members
from collectors.records import Batch
from collectors.settings.context import Context
from collectors.telemetry import Telemetry
from tests.collectors.build import NOW, FakeClock, log, span
from tests.collectors.exporters.elasticsearch.backend import Backend, Call, error
from tests.collectors.exporters.spans import records

SPANS, SERVICES = "jaeger-span-2026-01-31", "jaeger-service-2026-01-31"


@contextlib.asynccontextmanager
async def sink_to(backend: Backend, **said: Any) -> AsyncIterator[JaegerSink]:
    telemetry, clock = Telemetry(), FakeClock(NOW + 60)
    async with AsyncExitStack() as stack:
        claims = Claims(Members, telemetry, clock)
        context = Context(clock, random.Random(1), telemetry, Path("unused"), claims, None, stack)
        values = {"urls": [backend.url], "dependencies": False, "compression": "none", **said}
        sink = build(Settings.model_validate(values), "jaeger", context)
        yield sink
        await sink.close()


def bulks(backend: Backend) -> list[Call]:
    return backend.sent("/_bulk")


async def test_templates_come_first_then_names_once_then_spans() -> None:
    async with Backend() as backend, sink_to(backend) as sink:
        for _ in range(2):
            outcome = await sink.send(Batch(spans=records(), logs=[log("a", "b")]))
            assert [refusal.why for refusal in outcome.refused] == ["this exporter sends traces"]
        assert sorted(backend.installed) == [
            f"/_index_template/{name}" for name in ("jaeger-dependencies", "jaeger-service", "jaeger-span")
        ]
        written = [{line["create"]["_index"] for line in call.lines[::2]} for call in bulks(backend)]
        assert written == [{SERVICES}, {SPANS}, {SPANS}]
        assert len([key for key in backend.documents if key[0] == SPANS]) == 20
        first = records()[0]
        assert (SPANS, f"{first.trace_id}-{first.span_id}") in backend.documents


async def test_what_elasticsearch_is_too_busy_for_comes_again_and_nothing_else() -> None:
    spans = [span(1, number, None, "a", start=NOW) for number in (1, 2, 3)]
    async with Backend() as backend, sink_to(backend) as sink:
        busy = f"{spans[1].trace_id}-{spans[1].span_id}"
        backend.item = lambda _index, id_, _source: (429, "es_rejected", "queue full") if id_ == busy else None
        outcome = await sink.send(Batch(spans=spans))
        assert (outcome.again.spans, outcome.refused) == ([spans[1]], [])
        backend.item = lambda _index, _id, _source: None
        assert len((await sink.send(outcome.again)).again) == 0
        assert len([key for key in backend.documents if key[0] == SPANS]) == 3


async def test_names_that_cannot_be_listed_hold_their_spans_back() -> None:
    """A span that no search finds would look like one that was lost."""
    async with Backend() as backend, sink_to(backend) as sink:
        backend.item = lambda index, _id, _source: (503, "unavailable", "no shard") if index == SERVICES else None
        with pytest.raises(Unavailable, match="503 unavailable: no shard"):
            await sink.send(Batch(spans=records()))
        assert backend.documents == {}
        backend.item = lambda _index, _id, _source: None
        assert (await sink.send(Batch(spans=records()))).refused == []


async def test_a_span_that_the_mapping_refuses_is_stored_bare_and_one_that_it_refuses_again_is_refused() -> None:
    spans = [span(1, number, None, "a", start=NOW, error=True, attributes={"n": number}) for number in (1, 2, 3)]

    def refuse(index: str, id_: str, source: Any) -> tuple[int, str, str] | None:
        keys = {tag["key"] for tag in source.get("tags", ())}
        if index == SPANS and (id_.endswith("3") or (id_.endswith("2") and "n" in keys)):
            return 400, "document_parsing_exception", "too many nested documents"
        return None

    async with Backend(item=refuse) as backend, sink_to(backend) as sink:
        outcome = await sink.send(Batch(spans=spans))
        assert [refusal.record for refusal in outcome.refused] == [spans[2]]
        assert "too many nested documents" in outcome.refused[0].why
        bare = backend.documents[SPANS, f"{spans[1].trace_id}-{spans[1].span_id}"]
        said = {tag["key"]: tag["value"] for tag in bare["tags"]}
        assert (said["error"], said["otel.dropped_attributes_count"]) == ("true", "1")
        assert "too many nested documents" in said["remora.reduced"]


async def test_a_request_refused_as_a_whole_is_halved_until_the_one_to_blame_is_found() -> None:
    spans = [span(1, number, None, "a", start=NOW, name="bad" if number == 5 else "good") for number in range(1, 9)]

    def malformed(call: Call) -> Any:
        bad = any(line.get("operationName") == "bad" for line in call.lines[1::2] if "tags" in line)
        return error(400, "illegal_argument_exception", "cannot read") if call.path == "/_bulk" and bad else None

    async with Backend(answers=[malformed]) as backend, sink_to(backend) as sink:
        outcome = await sink.send(Batch(spans=spans))
        assert [refusal.record for refusal in outcome.refused] == [spans[4]]
        assert len([key for key in backend.documents if key[0] == SPANS]) == 7


async def test_what_was_answered_stays_answered_when_a_later_request_fails() -> None:
    spans = [span(1, number, None, "a", start=NOW, attributes={"x": "y" * 40_000}) for number in range(1, 5)]

    async with Backend() as backend, sink_to(backend, max_bulk_bytes="64KiB") as sink:

        def fail(call: Call) -> Any:
            if call.path == "/_bulk" and len(bulks(backend)) == 4:
                return error(429, "circuit_breaking_exception", "busy", **{"retry-after": "9"})
            return None

        backend.answers.append(fail)
        outcome = await sink.send(Batch(spans=spans))
        assert outcome.again.spans == spans[2:]
        assert outcome.retry_after_s == 9


async def test_a_request_that_fails_half_way_is_sent_again_whole_and_no_span_twice() -> None:
    spans = [span(1, number, None, "a", start=NOW, attributes={"x": "y" * 25_000}) for number in range(1, 5)]
    names = [f"{one.trace_id}-{one.span_id}" for one in spans]

    def judge(index: str, id_: str, source: Any) -> tuple[int, str, str] | None:
        if index == SPANS and id_ == names[2]:
            return 429, "es_rejected_execution_exception", "busy"
        return (400, "document_parsing_exception", "no") if index == SPANS and id_ == names[3] else None

    async with Backend(item=judge) as backend, sink_to(backend, max_bulk_bytes="64KiB") as sink:

        def fail(call: Call) -> Any:
            """The request with the reduced span."""
            return (
                error(503, "unavailable", "gone") if call.path == "/_bulk" and b"remora.reduced" in call.body else None
            )

        backend.answers.append(fail)
        outcome = await sink.send(Batch(spans=spans))
        assert outcome.again.spans == spans[2:]
        assert outcome.refused == []


@pytest.mark.parametrize(
    ("status", "raised"),
    [(413, TooLarge), (401, Unavailable), (403, Unavailable), (503, Unavailable), (404, Unavailable)],
)
async def test_a_request_that_cannot_be_made_loses_nothing(status: int, raised: type[Exception]) -> None:
    async with Backend() as backend, sink_to(backend) as sink:
        backend.answers.append(lambda call: error(status, "some_exception", "no") if call.path == "/_bulk" else None)
        with pytest.raises(raised):
            await sink.send(Batch(spans=records()))


async def test_spans_of_another_age_make_no_index() -> None:
    old, ahead = span(1, 1, None, "a", start=NOW - 40 * 86_400), span(1, 2, None, "a", start=NOW + 3600)
    async with Backend() as backend, sink_to(backend) as sink:
        outcome = await sink.send(Batch(spans=[old, ahead, span(1, 3, None, "a", start=NOW)]))
        assert [refusal.record for refusal in outcome.refused] == [old, ahead]
        assert "it began 3456060 s ago" in outcome.refused[0].why
        assert "3540 s ahead" in outcome.refused[1].why
        assert {index for index, _ in backend.documents} == {SPANS, SERVICES}


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"index_prefix": "Prod"}, "no beginning of an index's name"),
        ({"max_age": "1m"}, "max_age"),
        ({"urls": []}, "urls"),
        ({"namespace": "x"}, "namespace"),
    ],
)
def test_settings_that_are_wrong_say_so(said: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Settings.model_validate({"urls": ["http://127.0.0.1:9200"], **said})
