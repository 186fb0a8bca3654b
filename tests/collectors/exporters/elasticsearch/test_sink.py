"""The sink before a back end that answers as it is told: what each answer means for each record."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web

from collectors.exporters.sink import TooLarge, Unavailable
from collectors.records import Batch
from tests.collectors.build import NOW, FakeClock, access, log, requests, span
from tests.collectors.build import labels as istio_labels
from tests.collectors.exporters.elasticsearch.backend import HEADERS, Answer, Backend, Call, error, said
from tests.collectors.exporters.elasticsearch.sinks import Sinks

ACCESS = "logs-remora.access-default"
BUSY = (429, "es_rejected_execution_exception", "rejected execution of coordinating operation")


def lines(count: int) -> Batch:
    return Batch(logs=[log(f"chunk:a/{number}", f"line {number}", time=NOW + number) for number in range(count)])


def once(path: str, answer: Callable[[], web.Response]) -> Answer:
    """For the first call of a path."""
    asked: list[Call] = []

    def give(call: Call) -> web.Response | None:
        if call.path != path or asked:
            return None
        asked.append(call)
        return answer()

    return give


def always(path: str, answer: Callable[[], web.Response]) -> Answer:
    return lambda call: answer() if call.path == path else None


async def test_only_items_that_the_back_end_was_too_busy_for_are_sent_again() -> None:
    sinks = Sinks()
    async with Backend() as backend, sinks.open(backend.url) as sink:
        odd = {"line 1": BUSY, "line 2": (503, "unavailable_shards_exception", "primary shard is not active")}
        backend.item = lambda index, id_, source: odd.get(source["message"])
        outcome = await sink.send(lines(4))
        assert [record.body["message"] for record in outcome.again.logs] == ["line 1", "line 2"]
        assert outcome.refused == []
        odd.clear()
        outcome = await sink.send(outcome.again)
    assert (len(outcome.again), outcome.refused) == (0, [])
    assert len(backend.documents) == 4
    assert (sinks.counted("stored"), sinks.counted("busy")) == (4, 2)


async def test_what_is_there_already_is_stored() -> None:
    sinks = Sinks()
    async with Backend() as backend, sinks.open(backend.url) as sink:
        for _ in range(2):
            outcome = await sink.send(lines(3))
            assert (len(outcome.again), outcome.refused) == (0, [])
    assert len(backend.documents) == 3
    assert (sinks.counted("stored"), sinks.counted("known")) == (3, 3)


async def test_a_record_refused_as_it_is_is_taken_as_text_with_everything_in_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sinks = Sinks()
    why = "failed to parse field [remora.attributes] of type [flattened]. Preview of field's value: 'p4ssword'"
    async with Backend() as backend, sinks.open(backend.url) as sink:
        backend.item = lambda index, id_, source: (
            (400, "document_parsing_exception", why) if "attributes" in source["remora"] else None
        )
        outcome = await sink.send(Batch(logs=[log("chunk:a/0", "hello", colour="red"), log("chunk:a/1", "bare")]))
    assert (len(outcome.again), outcome.refused) == (0, [])
    reduced, bare = sorted(backend.documents.values(), key=lambda source: len(source["message"]), reverse=True)
    assert (reduced["message"], bare["message"]) == ("hello", "bare")
    assert reduced["event"]["original"] == '{"message":"hello","colour":"red"}'
    assert reduced["tags"] == ["remora-reduced"]
    assert reduced["event"]["id"] == "chunk:a/0"
    assert (sinks.counted("reduced"), sinks.counted("refused")) == (1, 0)
    assert "stored 1 records without their fields: 400 document_parsing_exception" in caplog.text
    assert "p4ssword" not in caplog.text


async def test_what_is_refused_as_text_too_is_refused_with_the_reason() -> None:
    sinks = Sinks()
    async with Backend() as backend, sinks.open(backend.url) as sink:
        backend.item = lambda index, id_, source: (
            (400, "illegal_argument_exception", "no") if source["message"] == "line 1" else None
        )
        outcome = await sink.send(lines(3))
    (refusal,) = outcome.refused
    assert (refusal.record.id, refusal.why) == ("chunk:a/1", "400 illegal_argument_exception: no")
    assert len(outcome.again) == 0
    assert sinks.counted("refused") == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [(403, "security_exception"), (403, "cluster_block_exception"), (404, "index_not_found_exception")],
)
async def test_closed_doors_lose_nothing_and_are_said_loudly(
    status: int, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    sinks = Sinks()
    async with Backend() as backend, sinks.open(backend.url) as sink:
        backend.item = lambda index, id_, source: (status, kind, "closed")
        outcome = await sink.send(lines(2))
        outcome = await sink.send(outcome.again)
    assert (len(outcome.again), outcome.refused) == (2, [])
    said_so = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.message for record in said_so] == [
        f"Elasticsearch takes nothing into logs-remora.app-default: {status} {kind}: closed"
    ], "once a minute, not once a record"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
@pytest.mark.parametrize(("header", "expected"), [("7", 7.0), ("Sat, 31 Jan 2026 12:00:30 GMT", 30.0), ("soon", None)])
async def test_a_busy_back_end_is_waited_for_as_long_as_it_asks(
    status: int, header: str, expected: float | None
) -> None:
    async with Backend() as backend, Sinks().open(backend.url) as sink:
        backend.answers.append(once("/_bulk", lambda: error(status, "busy", "later", **{"retry-after": header})))
        with pytest.raises(Unavailable, match=f"{status} busy: later") as raised:
            await sink.send(lines(1))
        assert raised.value.retry_after_s == expected
        assert len((await sink.send(lines(1))).again) == 0


@pytest.mark.parametrize(("status", "words"), [(401, "does not take our credentials"), (403, "does not let us")])
async def test_wrong_credentials_lose_nothing_and_are_said_loudly(
    status: int, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Backend() as backend, Sinks().open(backend.url, setup=False) as sink:
        backend.answers.append(always("/_bulk", lambda: error(status, "security_exception", "unable to authenticate")))
        with pytest.raises(Unavailable, match=words):
            await sink.send(lines(1))
    assert [record.levelname for record in caplog.records if "unable to authenticate" in record.message] == ["ERROR"]


async def test_privileges_that_looking_for_copies_needs_are_named() -> None:
    async with Backend() as backend, Sinks().open(backend.url, setup=False) as sink:
        why = "action [indices:monitor/settings/get] is unauthorized for user [collector]"
        backend.answers.append(
            lambda call: error(403, "security_exception", why) if "/_settings" in call.path else None
        )
        with pytest.raises(Unavailable, match="grant the index privileges read, view_index_metadata and delete"):
            await sink.send(lines(1))
        backend.answers.clear()
        outcome = await sink.send(lines(1))
    assert (len(outcome.again), len(backend.documents)) == (0, 1)


@pytest.mark.parametrize("html", [True, False], ids=["from a proxy", "from Elasticsearch"])
async def test_413_says_too_large(html: bool) -> None:
    async with Backend() as backend, Sinks().open(backend.url) as sink:
        page = web.Response(text="<html>413</html>", status=413, content_type="text/html")
        backend.answers.append(once("/_bulk", lambda: page if html else error(413, "too_large", "too large")))
        with pytest.raises(TooLarge):
            await sink.send(lines(3))


async def test_a_circuit_breaker_that_the_request_alone_trips_says_too_large() -> None:
    async with Backend() as backend, Sinks().open(backend.url) as sink:
        broken = {"type": "circuit_breaking_exception", "reason": "Data too large", "durability": "PERMANENT"}
        backend.answers.append(once("/_bulk", lambda: said({"error": broken, "status": 429}, 429)))
        with pytest.raises(TooLarge):
            await sink.send(lines(3))


@pytest.mark.parametrize("html", [True, False])
async def test_a_400_that_is_not_elasticsearch_s_refuses_nothing(html: bool) -> None:
    text = "<html>The plain HTTP request was sent to HTTPS port</html>" if html else "{}"
    kind = "text/html" if html else "application/json"
    async with Backend() as backend, Sinks().open(backend.url) as sink:
        backend.answers.append(
            once("/_bulk", lambda: web.Response(text=text, status=400, content_type=kind, headers=HEADERS))
        )
        with pytest.raises(Unavailable, match="400"):
            await sink.send(lines(3))


async def test_a_record_that_spoils_its_request_is_found_and_refused_alone() -> None:
    async with Backend() as backend, Sinks().open(backend.url) as sink:
        backend.answers.append(
            lambda call: error(400, "illegal_argument_exception", "Malformed") if b"line 5" in call.body else None
        )
        outcome = await sink.send(lines(9))
    assert [each.record.id for each in outcome.refused] == ["chunk:a/5"]
    assert len(outcome.again) == 0
    assert len(backend.documents) == 8


@pytest.mark.parametrize(
    "answer",
    [
        {"items": []},
        {"items": [{"create": {"status": 201}}]},
        {"items": [{"index": {"_index": "x", "status": 201}}]},
        {"took": 3},
        [],
        "fine",
        {"items": [{"create": {"_index": "x", "status": "201"}}]},
    ],
)
async def test_an_answer_that_is_none_stores_nothing(answer: object) -> None:
    async with Backend() as backend, Sinks().open(backend.url) as sink:
        backend.answers.append(always("/_bulk", lambda: said(answer)))
        with pytest.raises(Unavailable, match="proxy in front"):
            await sink.send(lines(1))


@pytest.mark.parametrize("setup", [True, False])
async def test_opensearch_is_refused_with_the_reason(setup: bool) -> None:
    async with Backend(engine="opensearch") as backend, Sinks().open(backend.url, setup=setup) as sink:
        with pytest.raises(Unavailable, match="if it is OpenSearch, write `engine: opensearch`"):
            await sink.send(lines(1))


async def test_requests_are_bounded_in_bytes_and_records_and_keep_their_order() -> None:
    sinks = Sinks()
    async with Backend() as backend, sinks.open(backend.url, max_bulk_records=10, max_bulk_bytes=65_536) as sink:
        big = Batch(logs=[log(f"chunk:b/{number}", "x" * 30_000) for number in range(4)] + lines(25).logs)
        huge = Batch(logs=[log("chunk:c/0", "y" * 200_000)])
        await sink.send(big)
        await sink.send(huge)
    calls = backend.sent("/_bulk")
    assert [len(call.lines) // 2 for call in calls] == [2, 10, 10, 7, 1]
    assert all(len(call.body) <= 65_536 for call in calls[:-1])
    ids = [line["event"]["id"] for call in calls for line in call.lines[1::2]]
    assert ids == [record.id for record in big.logs + huge.logs]
    assert sinks.counted("request_bytes") == sum(len(call.body) for call in calls)


async def test_a_failure_after_the_first_request_sends_again_only_what_was_not_answered() -> None:
    async with Backend() as backend, Sinks().open(backend.url, max_bulk_records=2) as sink:
        asked: list[Call] = []

        def third(call: Call) -> web.Response | None:
            if call.path != "/_bulk":
                return None
            asked.append(call)
            return error(503, "busy", "later", **{"retry-after": "3"}) if len(asked) == 3 else None

        backend.answers.append(third)
        outcome = await sink.send(lines(8))
    assert [record.id for record in outcome.again.logs] == [f"chunk:a/{number}" for number in range(4, 8)]
    assert outcome.retry_after_s == 3.0


async def test_bodies_are_compressed_and_answers_kept_small() -> None:
    async with Backend() as backend:
        for compression, expected in (("gzip", "gzip"), ("none", None)):
            async with Sinks().open(backend.url, compression=compression) as sink:
                await sink.send(lines(50))
            call = backend.sent("/_bulk")[-1]
            assert call.headers.get("content-encoding") == expected
            assert len(call.lines) == 100
            assert call.query["require_data_stream"] == "true"
            assert call.query["filter_path"].startswith("items.*._index,")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"api_key_file": "secret"}, "ApiKey c2VjcmV0"),
        ({"username": "remora", "password_file": "secret"}, "Basic cmVtb3JhOmMyVmpjbVYw"),
        ({"bearer_token_file": "secret"}, "Bearer c2VjcmV0"),
    ],
)
async def test_credentials_come_from_files_and_are_read_anew(
    tmp_path: Path, settings: dict[str, str], expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = tmp_path / "secret"
    secret.write_text("c2VjcmV0\n")
    secret.chmod(0o600)
    async with Backend() as backend, Sinks().open(backend.url, directory=tmp_path, **settings) as sink:
        await sink.send(lines(1))
        assert {call.headers["authorization"] for call in backend.calls} == {expected}
        secret.write_text("another")
        await sink.send(lines(1))
        assert backend.calls[-1].headers["authorization"] != expected
        if "username" not in settings:  # a password is encoded, and may be any text
            secret.write_text("c2VjcmV0 \u00e9")
            with pytest.raises(Unavailable, match="no header can hold"):
                await sink.send(lines(1))
        secret.unlink()
        with pytest.raises(Unavailable, match="cannot read a file of the settings"):
            await sink.send(lines(1))
    assert "c2VjcmV0" not in caplog.text


async def test_a_node_that_is_gone_is_passed_over() -> None:
    async with Backend() as gone, Backend() as backend, Sinks().open(gone.url, backend.url) as sink:
        await sink.send(lines(1))
        await gone.__aexit__(None, None, None)
        for number in range(6):
            outcome = await sink.send(Batch(logs=[log(f"chunk:n/{number}", "x")]))
            assert len(outcome.again) == 0
    assert len(gone.documents) + len(backend.documents) == 7


async def test_nobody_there_is_waited_for() -> None:
    async with Backend() as backend:
        url = backend.url
    async with Sinks().open(url, timeout="10s") as sink:
        with pytest.raises(Unavailable, match="no connection"):
            await sink.send(lines(1))


async def test_spans_have_no_place_here_and_readings_do() -> None:
    async with Backend() as backend, Sinks(FakeClock(NOW)).open(backend.url) as sink:
        series = istio_labels("a-v1", "b-v1")
        batch = Batch(spans=[span(1, 1, None, "a")], samples=[requests(NOW, 3.0, series)], logs=[access(1)])
        outcome = await sink.send(batch)
    assert [each.why for each in outcome.refused] == [
        "spans are not written by this exporter: route traces to one of type jaeger, otlp or zipkin"
    ]
    assert {index for index, _ in backend.documents} == {"metrics-remora.mesh-default", ACCESS}
    metric = next(source for (index, _), source in backend.documents.items() if index.startswith("metrics"))
    assert metric["remora"]["metric"] == {"name": "istio_requests_total", "value": 3.0}
    assert metric["labels"]["source_workload"] == "a-v1"


async def test_a_request_that_fails_half_way_is_sent_again_whole_and_no_record_twice() -> None:
    async with Backend() as backend, Sinks().open(backend.url, max_bulk_records=2) as sink:
        kinds = {"line 2": BUSY, "line 3": (400, "document_parsing_exception", "no")}
        backend.item = lambda index, id_, source: kinds.get(source["message"])
        backend.answers.append(lambda call: error(503, "busy", "later") if b'"remora-reduced"' in call.body else None)
        outcome = await sink.send(lines(6))
    assert [record.id for record in outcome.again.logs] == [f"chunk:a/{number}" for number in range(2, 6)]
    assert outcome.refused == []
