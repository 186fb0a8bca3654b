"""Spans in a real Elasticsearch in Jaeger's schema, and Jaeger's API over them: the same answers as over the store."""

import random
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from collectors.exporters.elasticsearch.client import Client
from collectors.exporters.elasticsearch.nodes import NodeSettings, connection
from collectors.exporters.jaeger.counts import JaegerCounts
from collectors.exporters.jaeger.dependencies import LAG_S, DependencyJob
from collectors.exporters.jaeger.indices import Indices
from collectors.exporters.jaeger.settings import Settings, build
from collectors.query.api import QueryApi
from collectors.query.elasticsearch_backend import ElasticsearchBackend
from collectors.query.store_backend import StoreBackend
from collectors.query.telemetry import QueryTelemetry
from collectors.receivers.claims import Claims
from collectors.receivers.members import Members
from collectors.records import Batch, SpanRecord
from collectors.settings.context import Context
from collectors.telemetry import Telemetry
from tests.collectors.build import NOW, FakeClock, fill, span
from tests.collectors.exporters.spans import records
from tests.collectors.query.test_process import query
from tests.integration.elasticsearch import Queries

pytestmark = pytest.mark.timeout(600)
"""The server's start counts as the first test's time."""

NOW_US = int(NOW * 1e6)


def bookinfo() -> list[SpanRecord]:
    """Thirty traces of three services within five minutes, and spans that say everything."""
    spans = []
    for number in range(1, 31):
        at = NOW - 300 + number * 5
        spans += [
            span(number, 1, None, "productpage", start=at, ms=20, name="GET /productpage"),
            span(number, 2, 1, "reviews", start=at + 0.005, ms=10, kind="client"),
            span(number, 3, 2, "ratings", start=at + 0.007, ms=number, error=number % 10 == 0),
        ]
    return spans + records()


class Rig:
    """An exporter with a prefix."""

    def __init__(self, server: Queries, state: Path, prefix: str) -> None:
        self.prefix = prefix
        self.telemetry = Telemetry()
        self.clock = FakeClock(NOW + 60)
        self.stack = AsyncExitStack()
        claims = Claims(Members, self.telemetry, self.clock)
        context = Context(self.clock, random.Random(1), self.telemetry, state, claims, None, self.stack)
        nodes = {"urls": [server.url], "engine": server.engine}
        said = {**nodes, "index_prefix": self.prefix, "dependencies": False, "replicas": 0, "shards": 1}
        self.sink = build(Settings.model_validate(said), "jaeger", context)
        self.client = Client(connection(NodeSettings.model_validate(nodes)), self.clock)

    async def __aenter__(self) -> "Rig":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stack.aclose()
        await self.sink.close()
        await self.client.close()

    def counted(self, name: str) -> float:
        full = f"remora_collector_jaeger_{name}_total"
        return self.telemetry.registry.get_sample_value(full, {"exporter": "jaeger"}) or 0.0


@pytest.fixture(scope="module")
def prefix() -> str:
    """Of indices that these tests share: making them takes longer than everything else."""
    return uuid.uuid4().hex


@pytest.fixture
async def rig(elasticsearch: Queries, tmp_path: Path, prefix: str) -> AsyncIterator[Rig]:
    """With the spans of `bookinfo` stored, however often."""
    async with Rig(elasticsearch, tmp_path, prefix) as rig:
        outcome = await rig.sink.send(Batch(spans=bookinfo()))
        assert (outcome.refused, len(outcome.again)) == ([], 0)
        elasticsearch.request("POST", f"/{prefix}-*/_refresh")
        yield rig


async def test_documents_and_indices_are_jaeger_s_and_what_comes_twice_is_there_once(
    rig: Rig, elasticsearch: Queries
) -> None:
    before = rig.counted("known")
    await rig.sink.send(Batch(spans=bookinfo()))
    assert (rig.counted("stored") + before, rig.counted("known") - before) == (110, 110)
    spans, services = f"{rig.prefix}-jaeger-span-2026-01-31", f"{rig.prefix}-jaeger-service-2026-01-31"
    assert (elasticsearch.count(spans), elasticsearch.count(services)) == (110, 3 + 20)
    query = {"bool": {"filter": [{"term": {"traceID": f"{10:016x}"}}, {"term": {"process.serviceName": "ratings"}}]}}
    (hit,) = elasticsearch.request("POST", f"/{spans}/_search", {"query": query})["hits"]["hits"]
    start_us = NOW_US - 250_000_000 + 7_000
    assert hit["_source"] == {
        "traceID": f"{10:016x}",
        "spanID": f"{3:016x}",
        "operationName": "ratings.default.svc.cluster.local:9080/*",
        "references": [{"refType": "CHILD_OF", "traceID": f"{10:016x}", "spanID": f"{2:016x}"}],
        "startTime": start_us,
        "startTimeMillis": start_us // 1000,
        "duration": 10_000,
        "tags": [
            {"key": "http.request.method", "type": "string", "value": "GET"},
            {"key": "url.path", "type": "string", "value": "/reviews/0"},
            {"key": "span.kind", "type": "string", "value": "server"},
            {"key": "otel.status_code", "type": "string", "value": "ERROR"},
            {"key": "error", "type": "bool", "value": "true"},
        ],
        "logs": [],
        "process": {
            "serviceName": "ratings",
            "tags": [{"key": "remora.workload", "type": "string", "value": "ratings-v1"}],
        },
    }
    mapping = elasticsearch.request("GET", f"/{spans}/_mapping")[spans]["mappings"]["properties"]
    assert mapping["startTimeMillis"] == {"type": "date", "format": "epoch_millis"}
    assert mapping["tags"]["type"] == mapping["logs"]["type"] == mapping["references"]["type"] == "nested"
    assert mapping["process"]["properties"]["serviceName"] == {"type": "keyword", "ignore_above": 256}
    names = elasticsearch.request("GET", f"/{services}/_search?q=serviceName:ratings")["hits"]["hits"]
    assert [each["_source"] for each in names] == [
        {"serviceName": "ratings", "operationName": "ratings.default.svc.cluster.local:9080/*"}
    ]


ASKED: list[tuple[str, dict[str, Any]]] = [
    ("/api/services", {}),
    ("/api/services/ratings/operations", {}),
    ("/api/operations", {"service": "reviews", "spanKind": "client"}),
    ("/api/operations", {"service": "reviews", "spanKind": "producer"}),
    ("/api/traces", {"service": "ratings", "limit": 4}),
    ("/api/traces", {"service": "ratings", "tags": '{"error":"true"}'}),
    ("/api/traces", {"service": "ratings", "tag": "url.path:/reviews/0", "minDuration": "20ms", "maxDuration": "25ms"}),
    ("/api/traces", {"service": "productpage", "operation": "GET /productpage", "limit": 2}),
    ("/api/traces", {"service": "productpage", "tag": "service.version:v1"}),
    ("/api/traces", {"service": "reviews", "tag": "exception.type:KeyError"}),
    ("/api/traces", {"service": "reviews", "tag": "exception.type:ValueError"}),
    ("/api/traces", {"service": "nobody"}),
    ("/api/traces", {"traceID": ["7", f"{0xABCD:x}", "fff"]}),
    (f"/api/traces/{0xABCD:032x}", {}),
    (f"/api/traces/{0xABCD:016x}", {}),
    ("/api/traces/fff", {}),
]


async def test_the_api_answers_from_elasticsearch_as_from_the_store(rig: Rig, tmp_path: Path) -> None:
    fill(tmp_path / "store.sqlite", Batch(spans=bookinfo()))
    over_store = StoreBackend(tmp_path / "store.sqlite")
    over_index = ElasticsearchBackend(rig.client, Indices(rig.prefix), rig.clock)
    answers = []
    for backend in (over_store, over_index):
        api = QueryApi(backend, rig.clock, QueryTelemetry(), hosts=frozenset())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=api), base_url="http://jaeger") as client:
            window = {"start": NOW_US - 3600 * 1_000_000, "end": NOW_US + 60_000_000}
            found = [await client.get(path, params={**window, **params}) for path, params in ASKED]
            answers.append([(answer.status_code, _comparable(answer.json())) for answer in found])
            assert (await client.get("/api/operations", params={"service": "ratings"})).json()["total"] == 1
    for asked, from_store, from_index in zip(ASKED, *answers, strict=True):
        assert from_index == from_store, asked
    assert [len(body["data"] or ()) for _, body in answers[0]] == [3, 1, 3, 2, 4, 3, 6, 2, 1, 1, 0, 0, 2, 1, 1, 0]
    await over_store.close()


async def test_the_process_answers_from_elasticsearch(rig: Rig, elasticsearch: Queries) -> None:
    flags = ("--elasticsearch", elasticsearch.url, "--index-prefix", rig.prefix, "--listen", "127.0.0.1:0")
    engine = ("--opensearch",) if elasticsearch.engine == "opensearch" else ()
    with query(*flags, *engine) as (_, url):
        assert httpx.get(f"{url}/api/services", timeout=30).json()["data"] == ["productpage", "ratings", "reviews"]


def _comparable(body: dict[str, Any]) -> dict[str, Any]:
    """Without what may differ: the order of spans that began at the same time, and processes' names by that order."""
    for trace in body["data"] or ():
        if isinstance(trace, dict) and "spans" in trace:
            for one in trace["spans"]:
                one["processID"] = trace["processes"][one["processID"]]["serviceName"]
            trace["spans"].sort(key=lambda one: one["spanID"])
            trace["processes"] = sorted(trace["processes"].values(), key=str)
    return body


async def test_calls_between_services_are_counted_window_by_window_once(rig: Rig, elasticsearch: Queries) -> None:
    rig.clock.time = NOW + LAG_S + 61
    indices = Indices(rig.prefix)
    for _ in range(2):  # a second collector, or the same after a restart
        counts = JaegerCounts(rig.telemetry.registry, "jaeger")
        await DependencyJob(rig.client, indices, counts, rig.clock, 120, windows=4, page=7).catch_up()
    assert rig.counted("dependency_windows") == 4
    elasticsearch.request("POST", f"/{rig.prefix}-*/_refresh")
    backend = ElasticsearchBackend(rig.client, indices, rig.clock)
    end_us = NOW_US + 120_000_000
    everything = await backend.dependencies(end_us, 3600 * 1_000_000)
    sums: dict[tuple[str, str], int] = {}
    for parent, child, calls in everything:
        sums[parent, child] = sums.get((parent, child), 0) + calls
    assert sums == {("productpage", "reviews"): 30, ("reviews", "ratings"): 30}
    two_minutes = await backend.dependencies(NOW_US - 240_000_000, 1_000_000)
    assert sorted(two_minutes) == [("productpage", "reviews", 11), ("reviews", "ratings", 11)]


HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "a tag of 1 MB": ({"attributes": {"blob": "x" * 1_000_000}}, "whole"),
    "an operation of 100,000 characters": ({"name": "n" * 100_000}, "whole"),
    "names that are not UTF-8": ({"name": "a\ud800", "service": "s\udfff", "attributes": {"k\ud800": "v"}}, "whole"),
    "a number of 100 bits": ({"attributes": {"n": 2**100, "nan": float("nan"), "inf": float("inf")}}, "whole"),
    "20,000 objects in its logs": (
        {"events": [{"name": "e", "time_ns": 5, "attributes": {f"k{n}": n for n in range(200)}} for _ in range(100)]},
        "reduced",
    ),
    "a start in the year 1": ({"start": -62_135_596_800.0}, "refused"),
    "a start in the year 9999": ({"start": 253_402_300_000.0}, "refused"),
    "a start a day ahead": ({"start": NOW + 86_400}, "refused"),
}  # fmt: skip


async def test_hostile_spans_are_stored_or_refused_with_a_reason_and_make_no_index_of_their_own(
    elasticsearch: Queries, tmp_path: Path
) -> None:
    plain = span(1, 1, None, "reviews")
    spans = [
        plain._replace(span_id=f"{number + 2:016x}", **changes) for number, (changes, _) in enumerate(HOSTILE.values())
    ]
    async with Rig(elasticsearch, tmp_path, uuid.uuid4().hex) as rig:
        outcome = await rig.sink.send(Batch(spans=[plain, *spans]))
        assert len(outcome.again) == 0
        fates = {cast(SpanRecord, refusal.record).span_id: "refused" for refusal in outcome.refused}
        elasticsearch.request("POST", f"/{rig.prefix}-*/_refresh")
        for hit in elasticsearch.request("GET", f"/{rig.prefix}-jaeger-span-*/_search?size=100")["hits"]["hits"]:
            keys = {tag["key"] for tag in hit["_source"]["tags"]}
            fates[hit["_source"]["spanID"]] = "reduced" if "remora.reduced" in keys else "whole"
        assert [fates[one.span_id] for one in spans] == [fate for _, fate in HOSTILE.values()]
        assert fates[plain.span_id] == "whole"
        assert (rig.counted("reduced"), rig.counted("undatable")) == (1, 3)
        indices = elasticsearch.request("GET", f"/_cat/indices/{rig.prefix}-*?format=json")
        assert {each["index"].removeprefix(f"{rig.prefix}-") for each in indices} == {
            "jaeger-span-2026-01-31",
            "jaeger-service-2026-01-31",
        }
