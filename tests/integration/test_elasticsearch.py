"""The sink into a real Elasticsearch, and into a real OpenSearch."""

import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from collectors.exporters.elasticsearch.sink import ElasticsearchSink
from collectors.exporters.sink import Unavailable
from collectors.records import Batch, LogRecord, Sample
from dashboards.kibana.content import objects as kibana_objects
from mesh.clock import SystemClock
from tests.collectors.build import NOW, FakeClock, access, durations, labels, log, requests
from tests.collectors.exporters.elasticsearch.sinks import Sinks
from tests.dashboards.kibana.fields import fields_of
from tests.integration.elasticsearch import Queries
from tests.integration.mesh import RunningMesh

pytestmark = pytest.mark.timeout(600)
"""The server's start counts as the first test's time."""


@pytest.fixture
def namespace() -> str:
    """Of data streams that no other test writes to."""
    return uuid.uuid4().hex


async def stored(sink: ElasticsearchSink, batch: Batch) -> None:
    outcome = await sink.send(batch)
    assert (outcome.refused, len(outcome.again)) == ([], 0)


async def test_records_are_stored_once_and_found_by_their_ecs_names(elasticsearch: Queries, namespace: str) -> None:
    sinks = Sinks(FakeClock(NOW))
    lines = [log(f"chunk:a/{number}", f"line {number}", colour="red") for number in range(20)]
    batch = Batch(logs=[access(1), access(2, response_code=503), *lines])
    async with sinks.open(elasticsearch.url, engine=elasticsearch.engine, namespace=namespace) as sink:
        await stored(sink, batch)
        await stored(sink, batch)
    assert (sinks.counted("stored"), sinks.counted("known")) == (22, 22)
    for query, expected in (
        ({"term": {"http.response.status_code": 503}}, ["sidecar~productpage-v1.default/e1/2"]),
        ({"term": {"trace.id": f"{2:032x}"}}, ["sidecar~productpage-v1.default/e1/1"]),
        ({"term": {"destination.ip": "127.0.0.0/8"}}, [f"sidecar~productpage-v1.default/e1/{n}" for n in (1, 2)]),
        ({"range": {"remora.duration_ms": {"lt": 3}}}, []),
        ({"term": {"event.outcome": "failure"}}, ["sidecar~productpage-v1.default/e1/2"]),
    ):
        found = elasticsearch.documents(f"logs-remora.access-{namespace}", query)
        assert [each["event"]["id"] for each in found] == expected, query
    stream = f"logs-remora.app-{namespace}"
    everything = elasticsearch.documents(stream, {"term": {"remora.attributes.colour": "red"}})
    assert [each["message"] for each in everything] == [f"line {number}" for number in range(20)]
    phrase = elasticsearch.documents(stream, {"match_phrase": {"message": "line 7"}})
    assert [each["event"]["sequence"] for each in phrase] == [7]


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


WHOLE, REDUCED, CUT = "whole", "reduced", "cut"

HOSTILE: dict[str, tuple[dict[Any, Any], str]] = {
    "a message of 10 MB": ({"message": "x" * 10_000_000}, CUT),
    "a field of 10 MB": ({"message": "m", "blob": "y" * 10_000_000}, WHOLE),
    "10,000 fields": ({"message": "m", **{f"field{number}": number for number in range(10_000)}}, WHOLE),
    "not UTF-8": ({"message": b"caf\xe9 \xff\x00", "other": b"\xff"}, WHOLE),
    "lone surrogates": ({"message": "a\ud800b", "k\ud800": "v\udfff"}, WHOLE),
    "a field that is text": ({"message": "m", "user": "text", "code": 1, "kubernetes": "x"}, WHOLE),
    "the same that is a map": ({"message": "m", "user": {"id": 1}, "code": {"x": [1, {"y": 2}]}}, WHOLE),
    "maps where ECS has text": ({"message": {"a": 1}, "service.name": {"a": 1}, "span_id": 5}, WHOLE),
    "an integer of 100 bits": ({"message": "m", "n": 2**100, "m": -(2**70)}, WHOLE),
    "no numbers": ({"message": "m", "nan": float("nan"), "infinite": float("inf")}, WHOLE),
    "empty and dotted names": ({"message": "m", "": 1, "..": 2, "a.b": 3, "a": {"b": 4}, " ": {"": 5}}, WHOLE),
    "a name with NUL": ({"message": "m", "a\0b": "v"}, REDUCED),
    "25 levels": ({"message": "m", "deep": nested(25)}, REDUCED),
    "400 levels": ({"message": "m", "deep": nested(400)}, WHOLE),
    "a name of 40,000 characters": ({"message": "m", "k" * 40_000: "v"}, REDUCED),
    "nothing": ({}, WHOLE),
}
BY_FLAT_OBJECT = {"a field of 10 MB": REDUCED, "a name with NUL": WHOLE, "25 levels": WHOLE}
"""What OpenSearch makes of them where that is something else."""


async def test_hostile_records_are_stored_and_keep_no_other_back(elasticsearch: Queries, namespace: str) -> None:
    sinks = Sinks(FakeClock(NOW))
    batch = Batch(logs=[LogRecord(name, NOW, "app", "w", "info", None, body) for name, (body, _) in HOSTILE.items()])
    async with sinks.open(elasticsearch.url, engine=elasticsearch.engine, namespace=namespace) as sink:
        await stored(sink, batch)
    found = {each["event"]["id"]: each for each in elasticsearch.documents(f"logs-remora.app-{namespace}")}
    tags = {name: found[name].get("tags", []) for name in HOSTILE}
    outcomes = {name: outcome for name, (_, outcome) in HOSTILE.items()}
    outcomes |= BY_FLAT_OBJECT if elasticsearch.engine == "opensearch" else {}
    assert tags == {
        name: [] if outcome == WHOLE else [f"remora-{'message-cut' if outcome == CUT else 'reduced'}"]
        for name, outcome in outcomes.items()
    }
    assert sinks.counted("reduced") == list(outcomes.values()).count(REDUCED)
    assert len(found["a message of 10 MB"]["event"]["original"]) == 10_000_000
    if outcomes["a name with NUL"] == REDUCED:
        assert found["a name with NUL"]["event"]["original"] == '{"message":"m","a\\u0000b":"v"}'
    assert len(found["10,000 fields"]["remora"]["attributes"]) == 10_000
    mapping = elasticsearch.request("GET", f"/logs-remora.app-{namespace}/_mapping")
    (properties,) = [each["mappings"]["properties"]["remora"]["properties"] for each in mapping.values()]
    flat = {"elasticsearch": {"type": "flattened", "ignore_above": 1024}, "opensearch": {"type": "flat_object"}}
    assert properties["attributes"] == flat[elasticsearch.engine], "nothing was added"


async def test_a_clock_far_off_moves_the_record_to_its_arrival(elasticsearch: Queries, namespace: str) -> None:
    sinks = Sinks(FakeClock(NOW))
    times = {"year 1": -62_135_596_800.0, "year 9999": 253_402_300_799.0, "no number": float("nan"), "right": NOW - 5}
    batch = Batch(logs=[log(name, "x", time=time) for name, time in times.items()])
    async with sinks.open(elasticsearch.url, engine=elasticsearch.engine, namespace=namespace) as sink:
        await stored(sink, batch)
    found = {each["event"]["id"]: each for each in elasticsearch.documents(f"logs-remora.app-{namespace}")}
    assert {name: each["@timestamp"][:19] for name, each in found.items()} == {
        "year 1": "2026-01-31T12:00:00",
        "year 9999": "2026-01-31T12:00:00",
        "no number": "2026-01-31T12:00:00",
        "right": "2026-01-31T11:59:55",
    }
    assert found["year 9999"]["remora"]["original_time"] == "253402300799.0"
    assert sinks.counted("clock_off") == 3


async def test_metrics_are_stored_and_what_no_field_takes_is_refused(elasticsearch: Queries, namespace: str) -> None:
    sinks = Sinks(FakeClock(NOW))
    series = labels("a-v1", "b-v1")
    odd, why = Sample("odd", (("a\0b", "x"),), NOW, 1.0), "400 document_parsing_exception"
    if elasticsearch.engine == "opensearch":
        odd, why = Sample("odd", (("a", "x" * 40_000),), NOW, 1.0), "400 illegal_argument_exception: Document contains"
    samples = [requests(NOW, 3.0, series), durations(NOW, [1.0, 7.0], series), requests(NOW + 1, None, series), odd]
    async with sinks.open(elasticsearch.url, engine=elasticsearch.engine, namespace=namespace) as sink:
        outcome = await sink.send(Batch(samples=samples))
    assert [each.record for each in outcome.refused] == [odd]
    assert outcome.refused[0].why.startswith(why)
    assert "120, 120" not in outcome.refused[0].why, "nothing of the value, in no writing"
    found = elasticsearch.documents(f"metrics-remora.mesh-{namespace}", {"term": {"labels.source_workload": "a-v1"}})
    metrics = sorted((each["remora"]["metric"] for each in found), key=lambda metric: len(metric))
    assert metrics[:2] == [
        {"name": "istio_requests_total", "value": 3.0},
        {"name": "istio_requests_total", "ended": True},
    ]
    assert (metrics[2]["count"], metrics[2]["sum"]) == (2.0, 8.0)
    assert len(metrics[2]["bounds"]) == len(metrics[2]["counts"]) - 1


async def test_a_record_sent_again_after_a_rollover_is_there_once(elasticsearch: Queries, namespace: str) -> None:
    clock = SystemClock()
    sinks = Sinks(clock)
    stream = f"logs-remora.app-{namespace}"

    def batch(names: str) -> Batch:
        return Batch(logs=[log(name, name, time=clock.now()) for name in names])

    first = batch("abc")
    async with sinks.open(elasticsearch.url, engine=elasticsearch.engine, namespace=namespace) as sink:
        await stored(sink, first)
        elasticsearch.request("POST", f"/{stream}/_rollover")
        # As after an answer that was lost: stored before the rollover, sent again after it, with others.
        await stored(sink, Batch(logs=first.logs + batch("d").logs))
    assert [each["message"] for each in elasticsearch.documents(stream)] == ["a", "b", "c", "d"]
    assert sinks.counted("copies") == 3
    # As after a crash between storing and looking: the copies are there, and the batch comes again.
    async with sinks.open(
        elasticsearch.url, engine=elasticsearch.engine, namespace=namespace, once_across_rollovers=False
    ) as sink:
        await stored(sink, first)
    assert elasticsearch.count(stream) == 7
    async with sinks.open(elasticsearch.url, engine=elasticsearch.engine, namespace=namespace) as sink:
        await stored(sink, first)
        assert [each["message"] for each in elasticsearch.documents(stream)] == ["a", "b", "c", "d"]
        # Two rollovers later it is still known.
        elasticsearch.request("POST", f"/{stream}/_rollover")
        await stored(sink, first)
    assert [each["message"] for each in elasticsearch.documents(stream)] == ["a", "b", "c", "d"]


async def test_templates_are_installed_again_without_a_change_and_never_over_newer_ones(
    elasticsearch: Queries, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = "/_component_template/remora-mappings"
    batch = Batch(logs=[log("a", "x")])

    async def send() -> dict[str, Any]:
        async with Sinks().open(elasticsearch.url, engine=elasticsearch.engine, namespace=namespace) as sink:
            await stored(sink, batch)
        found: dict[str, Any] = elasticsearch.request("GET", path)["component_templates"][0]["component_template"]
        # Elasticsearch 9 says when it was made, which it lets nobody write.
        return {name: value for name, value in found.items() if not name.endswith("_date_millis")}

    ours = await send()
    assert await send() == ours
    newer = {**ours, "version": 99, "_meta": {**ours["_meta"], "version": 99}}
    elasticsearch.request("PUT", path, newer)
    try:
        assert await send() == newer
        assert "newer than ours" in caplog.text
    finally:
        elasticsearch.request("PUT", path, {**ours, "version": 0, "_meta": {**ours["_meta"], "version": 0}})
    assert await send() == ours


@pytest.mark.parametrize("setup", [True, False], ids=["with setup", "without"])
async def test_the_wrong_engine_writes_nothing_and_the_right_one_is_named(
    elasticsearch: Queries, namespace: str, setup: bool
) -> None:
    wrong, why = "opensearch", "what answers is Elasticsearch, not OpenSearch: leave `engine` out"
    if elasticsearch.engine == "opensearch":
        wrong, why = "elasticsearch", "if it is OpenSearch, write `engine: opensearch`"
    async with Sinks().open(elasticsearch.url, engine=wrong, namespace=namespace, setup=setup) as sink:
        with pytest.raises(Unavailable, match=why):
            await sink.send(Batch(logs=[log("a", "x")]))
    assert elasticsearch.count(f"logs-remora.*-{namespace}") == 0


async def test_up_sends_the_mesh_s_requests_there_too(
    elasticsearch: Queries, tmp_path: Path, eventually: Callable[..., Awaitable[None]]
) -> None:
    if elasticsearch.engine != "elasticsearch":
        pytest.skip("--elasticsearch is for Elasticsearch alone")
    stream = "logs-remora.access-default"
    unknown = f"/{uuid.uuid4().hex}"
    query = {"term": {"url.path": unknown}}
    with RunningMesh.up(tmp_path / "state", "--no-samples", "--elasticsearch", elasticsearch.url) as mesh:
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(mesh.info["ingress"] + unknown)).status_code == 404

        def found() -> bool:
            return elasticsearch.count(stream) > 0 and len(elasticsearch.documents(stream, query)) == 1

        await eventually(found, "the request is in Elasticsearch", within=60)
        (document,) = elasticsearch.documents(stream, query)
        assert document["http"]["response"]["status_code"] == 404
        assert document["remora"]["response_flags"] == "NR"
        assert unknown in mesh.remora("logs", "--text", unknown), "and in the embedded store"


async def test_kibana_s_panels_ask_for_fields_that_can_be_counted(elasticsearch: Queries, namespace: str) -> None:
    async with Sinks().open(elasticsearch.url, engine=elasticsearch.engine, namespace=namespace) as sink:
        await stored(sink, Batch(logs=[access(1), log("a", "x")]))
    shown, counted = fields_of(kibana_objects())
    fields = ",".join(sorted(shown | counted))
    caps = elasticsearch.request("GET", f"/logs-remora.*-{namespace}/_field_caps?fields={fields}")["fields"]
    assert caps.keys() >= shown | counted
    assert {field for field in counted if not all(kind["aggregatable"] for kind in caps[field].values())} == set()
    assert {field for field in shown | counted if len(caps[field]) != 1} == set(), "one type everywhere"
