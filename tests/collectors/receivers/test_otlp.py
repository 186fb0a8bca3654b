"""OTLP as real senders speak it, over mutual TLS: opentelemetry-sdk's gRPC exporter, and HTTP with its encoder."""

import asyncio
import gzip
import json
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import httpx
import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, Status, StatusCode

from collectors.pipeline import Refused
from collectors.receivers import otlp, otlp_traces
from collectors.receivers.claims import Claims
from collectors.receivers.members import Members
from collectors.receivers.otlp_grpc import OtlpGrpcReceiver, mesh_peers
from collectors.receivers.otlp_http import OtlpHttpReceiver
from collectors.receivers.otlp_intake import LOG_EVERY_S, MAX_REQUEST_BYTES, Intake
from collectors.records import Batch
from collectors.telemetry import Telemetry
from collectors.tls import Credentials, PeerRefused, ServerTls, authenticate_der, client_context, server_credentials
from collectors.web import WebServer
from mesh.spiffe import SpiffeId
from tests.collectors.authority import COLLECTOR, DOMAIN, PRODUCTPAGE, Mint
from tests.collectors.build import NOW, FakeClock
from tests.collectors.fakes import Sink, bound
from tests.collectors.receivers.protobuf import field, nested

Eventually = Callable[..., Awaitable[None]]
NAME = "remora-collector.remora-system.svc"
TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
LOGS = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
METRICS = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
EMPTY_ATTRIBUTES = nested([1, 2, 2], field(6, b"") * (MAX_REQUEST_BYTES // 2 - 32))
"""Of one record."""


class Kept(SpanExporter):
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Any) -> SpanExportResult:
        self.spans += spans
        return SpanExportResult.SUCCESS


def make_spans(count: int = 2) -> list[ReadableSpan]:
    """A server span with a client span in it, and so on."""
    kept = Kept()
    provider = TracerProvider(resource=Resource({"service.name": "productpage", "remora.workload": "productpage-v1"}))
    provider.add_span_processor(SimpleSpanProcessor(kept))
    tracer = provider.get_tracer("test")
    for _ in range(count // 2):
        with tracer.start_as_current_span("GET /productpage", kind=SpanKind.SERVER) as outer:
            outer.set_attribute("http.response.status_code", 200)
            outer.add_event("cache miss", {"key": "k"})
            with tracer.start_as_current_span("GET /reviews/0", kind=SpanKind.CLIENT) as inner:
                inner.set_attribute("tags", ["a", "b"])
                inner.set_status(Status(StatusCode.ERROR, "no healthy upstream"))
    provider.shutdown()
    return kept.spans


def logs_request(count: int = 2) -> logs_service_pb2.ExportLogsServiceRequest:
    request = logs_service_pb2.ExportLogsServiceRequest()
    resource_logs = request.resource_logs.add()
    resource_logs.resource.attributes.add(key="service.name").value.string_value = "reviews"
    records = resource_logs.scope_logs.add().log_records
    for number in range(count):
        record = records.add(time_unix_nano=int(NOW * 1e9) + number, severity_number=17, trace_id=b"\1" * 16)
        record.body.string_value = f"line {number}"
        record.attributes.add(key="user").value.string_value = "jason"
    return request


class Rig:
    def __init__(self) -> None:
        self.sink = Sink()
        self.telemetry = Telemetry()
        self.mint = Mint()
        self.credentials = self.mint.credentials(COLLECTOR, dns=(NAME,))
        self.members = Members()
        self.clock = FakeClock()
        claims = Claims(lambda: self.members, self.telemetry, self.clock)
        grpc_intake, http_intake = (
            Intake(name, self.sink, self.telemetry, self.clock, claims) for name in ("otlp_grpc", "otlp_http")
        )
        self.grpc = OtlpGrpcReceiver(grpc_intake, mesh_peers(DOMAIN))
        self.web = WebServer(
            OtlpHttpReceiver(http_intake),
            tls=ServerTls(self.credentials, alpn=("http/1.1",)).context,
            identify=self._identify,
        )
        self.grpc_address = ""
        self.url = ""

    def _identify(self, connection: Any) -> SpiffeId | None:
        try:
            return authenticate_der(connection.getpeercert(True), DOMAIN)
        except PeerRefused:
            return None

    def client(self, credentials: Credentials | None = None) -> httpx.AsyncClient:
        context = client_context(credentials or self.mint.credentials())
        return httpx.AsyncClient(verify=context, base_url=self.url, timeout=10)

    async def call(self, method: str, body: bytes, credentials: Credentials | None = None, **options: Any) -> bytes:
        held = credentials or self.mint.credentials()
        channel_credentials = grpc.ssl_channel_credentials(held.roots_pem, held.key_pem, held.chain_pem)
        arguments = [("grpc.ssl_target_name_override", NAME), ("grpc.enable_retries", 0)]
        async with grpc.aio.secure_channel(
            self.grpc_address, channel_credentials, options=arguments, **options
        ) as channel:
            call: Any = channel.unary_unary(method)
            return bytes(await call(body, timeout=10))


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    port = await rig.grpc.listen("127.0.0.1:0", server_credentials(lambda: rig.credentials))
    rig.grpc_address = f"127.0.0.1:{port}"
    sock, (_, port) = bound()
    await rig.web.listen(sock)
    rig.url = f"https://127.0.0.1:{port}"
    yield rig
    rig.sink.open.set()
    await rig.grpc.close(1.0)
    await rig.web.close()


def exporter(rig: Rig) -> OTLPSpanExporter:
    held = rig.mint.credentials()
    return OTLPSpanExporter(
        endpoint=rig.grpc_address,
        credentials=grpc.ssl_channel_credentials(held.roots_pem, held.key_pem, held.chain_pem),
        channel_options=(("grpc.ssl_target_name_override", NAME),),
    )


async def test_the_sdk_s_exporter_s_spans_arrive_whole(rig: Rig) -> None:
    sender = exporter(rig)
    spans = make_spans()
    assert await asyncio.to_thread(sender.export, spans) is SpanExportResult.SUCCESS
    sender.shutdown()
    inner, outer = rig.sink.batches[0].spans
    assert outer.parent_id is None
    assert inner.parent_id == outer.span_id
    assert inner.trace_id == outer.trace_id == format(spans[0].context.trace_id, "032x")
    assert (outer.service, outer.workload, outer.kind, outer.name) == (
        "productpage",
        "productpage-v1",
        "server",
        "GET /productpage",
    )
    assert outer.attributes["http.response.status_code"] == 200
    (event,) = outer.events
    assert (event["name"], event["attributes"]) == ("cache miss", {"key": "k"})
    assert outer.start_ns <= event["time_ns"] <= outer.end_ns
    assert (outer.start_ns, outer.end_ns) == (spans[1].start_time, spans[1].end_time)
    assert outer.resource["service.name"] == "productpage"
    assert outer.scope == ("test", "")
    assert abs(outer.start - time.time()) < 60
    assert 0 < inner.duration_ms <= outer.duration_ms
    assert (inner.kind, inner.error, outer.error) == ("client", True, False)
    assert inner.attributes == {
        "tags": ["a", "b"],
        "remora.peer_principal": str(PRODUCTPAGE),
    }
    assert inner.status_message == "no healthy upstream"


async def test_the_exporter_comes_again_when_told_that_we_are_busy(rig: Rig) -> None:
    sender = exporter(rig)
    rig.sink.refuse = Refused("closing", retry=True)
    exporting = asyncio.ensure_future(asyncio.to_thread(sender.export, make_spans()))
    while not rig.sink.entered:
        await asyncio.sleep(0.01)
    rig.sink.refuse = None
    assert await exporting is SpanExportResult.SUCCESS
    sender.shutdown()
    assert rig.sink.entered == 2


async def test_logs_arrive_and_a_request_sent_again_has_the_same_ids(rig: Rig) -> None:
    body = logs_request().SerializeToString()
    for _ in range(2):
        await rig.call(LOGS, body)
    first, again = (batch.logs for batch in rig.sink.batches)
    assert [record.id for record in first] == [record.id for record in again]
    assert len({record.id for record in first}) == 2
    assert first[0].body == {
        "message": "line 0",
        "user": "jason",
        "service": "reviews",
        "service.name": "reviews",
        "severity_number": 17,
        "trace_id": "01" * 16,
        "peer_principal": str(PRODUCTPAGE),
    }
    assert (first[0].severity, first[0].trace_id, first[0].workload) == ("error", "01" * 16, "reviews")
    assert first[0].time == pytest.approx(NOW)


async def test_spans_without_ids_or_times_are_counted_in_partial_success(rig: Rig) -> None:
    request = encode_spans(make_spans(10))
    spans = request.resource_spans[0].scope_spans[0].spans
    spans[0].trace_id = b""
    spans[1].span_id = bytes(8)
    spans[2].start_time_unix_nano = 0
    answer = trace_service_pb2.ExportTraceServiceResponse.FromString(
        await rig.call(TRACES, request.SerializeToString())
    )
    assert answer.partial_success.rejected_spans == 3
    assert "span" in answer.partial_success.error_message
    assert len(rig.sink.batches[0].spans) == 7
    refused = rig.telemetry.registry.get_sample_value(
        "remora_collector_refused_records_total", {"receiver": "otlp_grpc", "signal": "traces"}
    )
    assert refused == 3


@pytest.mark.parametrize(
    ("method", "body", "code"),
    [
        pytest.param(TRACES, b"\xff\xff\xff", "INVALID_ARGUMENT", id="no protobuf"),
        pytest.param(TRACES, bytes(MAX_REQUEST_BYTES + 1), "RESOURCE_EXHAUSTED", id="too large"),
        pytest.param(METRICS, b"\xff\xff\xff", "INVALID_ARGUMENT", id="no protobuf of metrics"),
        pytest.param(LOGS, EMPTY_ATTRIBUTES, "INVALID_ARGUMENT", id="millions of attributes"),
    ],
)
async def test_grpc_answers_what_is_wrong_and_goes_on(rig: Rig, method: str, body: bytes, code: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rig.call(method, body)
    assert caught.value.code().name == code
    await rig.call(TRACES, encode_spans(make_spans()).SerializeToString())
    assert len(rig.sink.batches) == 1


async def test_requests_that_are_refused_whole_are_counted_and_logged_now_and_then(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        with pytest.raises(grpc.aio.AioRpcError):
            await rig.call(LOGS, EMPTY_ATTRIBUTES)
    rig.clock.time += LOG_EVERY_S
    with pytest.raises(grpc.aio.AioRpcError):
        await rig.call(LOGS, EMPTY_ATTRIBUTES)
    lines = [record.getMessage() for record in caplog.records if record.name == "remora.otlp"]
    assert len(lines) == 2
    assert "otlp_grpc: refused logs of spiffe://" in lines[0]
    assert "elements; send smaller batches" in lines[0]
    assert lines[1].endswith("(and 2 before)")
    labels = {"receiver": "otlp_grpc", "signal": "logs"}
    assert rig.telemetry.registry.get_sample_value("remora_collector_refused_records_total", labels) == 4


async def test_a_grpc_zip_bomb_is_refused(rig: Rig) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rig.call(TRACES, bytes(64 << 20), compression=grpc.Compression.Gzip)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert rig.sink.batches == []


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"uris": ("spiffe://elsewhere.org/ns/a/sa/b",)}, id="of another trust domain"),
        pytest.param({"uris": (), "dns": ("x.example",)}, id="without a SPIFFE id"),
        pytest.param({"life_s": -10}, id="that has expired"),
    ],
)
async def test_a_certificate_of_ours_is_refused(rig: Rig, changes: dict[str, Any]) -> None:
    credentials = rig.mint.credentials(**changes)
    body = encode_spans(make_spans()).SerializeToString()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rig.call(TRACES, body, credentials)
    assert caught.value.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNAVAILABLE)
    async with rig.client(credentials) as client:
        with pytest.raises(httpx.TransportError):
            await client.post("/v1/traces", content=body, headers={"content-type": "application/x-protobuf"})
    assert rig.sink.batches == []


class Full:
    """A pipeline that had no room for as long as a request waits."""

    async def consume(self, batch: Batch) -> None:
        raise TimeoutError


async def test_what_there_is_no_room_for_counts_as_refused() -> None:
    clock, telemetry = FakeClock(), Telemetry()
    intake = Intake("otlp_grpc", Full(), telemetry, clock, Claims(Members, telemetry, clock))
    with pytest.raises(TimeoutError):
        await intake.take("logs", logs_request(3).SerializeToString(), None, "127.0.0.1")
    of_logs = {"receiver": "otlp_grpc", "signal": "logs"}
    assert telemetry.registry.get_sample_value("remora_collector_refused_records_total", of_logs) == 3
    assert not telemetry.registry.get_sample_value("remora_collector_received_records_total", of_logs)


async def test_grpc_stops_although_a_client_that_vanished_never_hangs_up() -> None:
    clock, telemetry = FakeClock(), Telemetry()
    intake = Intake("otlp_grpc", Sink(), telemetry, clock, Claims(Members, telemetry, clock))
    receiver = OtlpGrpcReceiver(intake, lambda context: None)
    port = await receiver.listen("127.0.0.1:0", None)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")  # and SETTINGS
    assert await reader.readexactly(9), "the server's own"
    began = time.monotonic()
    await receiver.close(30.0)
    assert time.monotonic() - began < 5.0
    writer.close()


async def test_grpc_stops_when_what_is_under_way_is_stored_and_answered(rig: Rig, eventually: Eventually) -> None:
    rig.sink.open.clear()
    calling = asyncio.ensure_future(rig.call(TRACES, encode_spans(make_spans()).SerializeToString()))
    await eventually(lambda: rig.sink.entered == 1, "it is under way")
    closing = asyncio.ensure_future(rig.grpc.close(30.0))
    await asyncio.wait((closing,), timeout=0.5)
    assert not closing.done(), "it waits for the call"
    rig.sink.open.set()
    assert await calling == b""
    await asyncio.wait_for(closing, 5.0)
    assert len(rig.sink.batches) == 1


async def test_http_stops_although_a_client_that_vanished_never_says_goodbye(rig: Rig) -> None:
    def connect() -> ssl.SSLSocket:
        host, _, port = rig.url.removeprefix("https://").partition(":")
        plain = socket.create_connection((host, int(port)))
        return client_context(rig.mint.credentials()).wrap_socket(plain, server_hostname=NAME)

    client = await asyncio.to_thread(connect)  # which from here on reads nothing
    client.send(b"POST /v1/traces HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-protobuf\r\n")
    client.send(b"content-length: 0\r\n\r\n")
    assert b" 200 " in await asyncio.to_thread(client.recv, 4096)
    began = time.monotonic()
    await rig.web.close()
    assert time.monotonic() - began < 2.0
    client.close()


async def test_grpc_serves_new_handshakes_with_a_new_certificate(rig: Rig) -> None:
    body = encode_spans(make_spans()).SerializeToString()
    await rig.call(TRACES, body)
    successor = Mint("successor")
    rig.credentials = successor.credentials(COLLECTOR, dns=(NAME,))
    await rig.call(TRACES, body, successor.credentials())
    with pytest.raises(grpc.aio.AioRpcError):
        await rig.call(TRACES, body, rig.mint.credentials())


def as_workload(service: str, workload: str, **attributes: str) -> bytes:
    """A request with two spans, and a resource that says so."""
    request = encode_spans(make_spans())
    pairs = request.resource_spans[0].resource.attributes
    del pairs[:]
    for key, value in {"service.name": service, "remora.workload": workload, **attributes}.items():
        pairs.add(key=key).value.string_value = value
    return request.SerializeToString()


REVIEWS = SpiffeId(DOMAIN, "default", "bookinfo-reviews")


@pytest.mark.parametrize("wire", ["grpc", "http"])
async def test_spans_in_the_name_of_another_workload_are_refused_and_the_owner_s_stored(rig: Rig, wire: str) -> None:
    """Both have certificates of the mesh; one's word about the other is worth nothing."""
    rig.members = Members(
        {("default", "productpage-v1"): str(PRODUCTPAGE), ("default", "reviews-v1"): str(REVIEWS)},
        {"productpage-v1": frozenset((str(PRODUCTPAGE),))},
        {"productpage": frozenset((str(PRODUCTPAGE),))},
        frozenset(("default",)),
    )
    body = as_workload("productpage", "productpage-v1")
    for sender, rejected in ((rig.mint.credentials(REVIEWS), 2), (rig.mint.credentials(PRODUCTPAGE), 0)):
        if wire == "grpc":
            content = await rig.call(TRACES, body, sender)
        else:
            async with rig.client(sender) as client:
                content = (await client.post("/v1/traces", content=body, headers=PROTOBUF)).content
        answer = trace_service_pb2.ExportTraceServiceResponse.FromString(content)
        assert answer.partial_success.rejected_spans == rejected
    stored = [span for batch in rig.sink.batches for span in batch.spans]
    assert {span.attributes["remora.peer_principal"] for span in stored} == {str(PRODUCTPAGE)}
    assert len(stored) == 2
    labels = {"receiver": f"otlp_{wire}", "signal": "traces"}
    assert rig.telemetry.registry.get_sample_value("remora_collector_foreign_records_total", labels) == 2


async def test_logs_in_the_name_of_the_mesh_s_own_namespace_are_refused(rig: Rig) -> None:
    request = logs_request()
    request.resource_logs[0].resource.attributes.add(key="k8s.namespace.name").value.string_value = "remora-system"
    answer = logs_service_pb2.ExportLogsServiceResponse.FromString(await rig.call(LOGS, request.SerializeToString()))
    assert answer.partial_success.rejected_log_records == 2
    assert not any(batch.logs for batch in rig.sink.batches)


# HTTP

PROTOBUF = {"content-type": "application/x-protobuf"}
GZIP = {**PROTOBUF, "content-encoding": "gzip"}
JSON = {"content-type": "application/json"}


async def test_http_takes_protobuf_plain_and_compressed(rig: Rig) -> None:
    body = encode_spans(make_spans()).SerializeToString()
    async with rig.client() as client:
        plain = await client.post("/v1/traces", content=body, headers=PROTOBUF)
        packed = await client.post(
            "/v1/traces", content=gzip.compress(body), headers={**PROTOBUF, "content-encoding": "gzip"}
        )
        logs = await client.post("/v1/logs", content=logs_request().SerializeToString(), headers=PROTOBUF)
    assert [plain.status_code, packed.status_code, logs.status_code] == [200, 200, 200]
    assert plain.headers["content-type"] == "application/x-protobuf"
    trace_service_pb2.ExportTraceServiceResponse.FromString(plain.content)
    assert rig.sink.batches[0].spans == rig.sink.batches[1].spans
    assert len(rig.sink.batches[2].logs) == 2


async def test_http_takes_json_with_ids_in_hexadecimal(rig: Rig) -> None:
    document = {
        "resourceSpans": [
            {
                "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "reviews"}}]},
                "scopeSpans": [
                    {
                        "spans": [
                            {
                                "traceId": "5B8EFFF798038103D269B633813FC60C",
                                "spanId": "EEE19B7EC3C1B174",
                                "parentSpanId": "EEE19B7EC3C1B173",
                                "name": "GET",
                                "kind": 2,
                                "startTimeUnixNano": "1544712660000000000",
                                "endTimeUnixNano": "1544712661000000000",
                                "attributes": [{"key": "n", "value": {"intValue": "5"}}],
                                "aFieldOfTheFuture": 1,
                            },
                            {"traceId": "", "name": "no ids"},
                        ]
                    }
                ],
            }
        ]
    }
    async with rig.client() as client:
        answer = await client.post("/v1/traces", json=document)
    assert answer.status_code == 200
    assert answer.json()["partialSuccess"]["rejectedSpans"] == "1"
    (span,) = rig.sink.batches[0].spans
    assert (span.trace_id, span.span_id, span.parent_id) == (
        "5b8efff798038103d269b633813fc60c",
        "eee19b7ec3c1b174",
        "eee19b7ec3c1b173",
    )
    attributes = {"n": 5, "remora.peer_principal": str(PRODUCTPAGE)}
    assert (span.kind, span.duration_ms, span.attributes) == ("server", 1000.0, attributes)


@pytest.mark.parametrize(
    ("path", "content", "headers", "status"),
    [
        pytest.param("/v1/traces", b"\xff\xff", PROTOBUF, 400, id="no protobuf"),
        pytest.param("/v1/traces", b"{", JSON, 400, id="no JSON"),
        pytest.param("/v1/traces", b"[]", JSON, 400, id="a JSON list"),
        pytest.param("/v1/traces", b'{"resourceSpans": 5}', JSON, 400, id="JSON of another shape"),
        pytest.param("/v1/traces", b'{"x":' * 5000, JSON, 400, id="deep JSON"),
        pytest.param("/v1/traces", b"[" * 100_000, JSON, 400, id="very deep JSON"),
        pytest.param(
            "/v1/traces", json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "zz"}]}]}]}).encode(),
            JSON, 400, id="ids that are not hexadecimal",
        ),
        pytest.param("/v1/traces", bytes(MAX_REQUEST_BYTES + 1), PROTOBUF, 413, id="too large"),
        pytest.param("/v1/traces", gzip.compress(bytes(64 << 20)), GZIP, 413, id="a zip bomb"),
        pytest.param("/v1/traces", b"x", GZIP, 400, id="broken gzip"),
        pytest.param("/v1/traces", b"x", {**PROTOBUF, "content-encoding": "br"}, 415, id="an unknown encoding"),
        pytest.param("/v1/traces", b"x", {"content-type": "text/plain"}, 415, id="an unknown type"),
        pytest.param("/v1/logs", gzip.compress(EMPTY_ATTRIBUTES), GZIP, 400, id="millions of attributes"),
        pytest.param("/v1/metrics", b"\xff\xff", PROTOBUF, 400, id="no protobuf of metrics"),
        pytest.param("/", b"", PROTOBUF, 404, id="another path"),
    ],
)  # fmt: skip
async def test_http_answers_what_is_wrong_and_goes_on(
    rig: Rig, path: str, content: bytes, headers: dict[str, str], status: int
) -> None:
    async with rig.client() as client:
        answer = await client.post(path, content=content, headers=headers)
        assert answer.status_code == status
        if headers is JSON:
            assert answer.json()["message"]
        good = await client.post("/v1/logs", content=logs_request().SerializeToString(), headers=PROTOBUF)
    assert good.status_code == 200
    assert len(rig.sink.batches) == 1


async def test_a_body_without_announced_length_is_bounded_too(rig: Rig) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield bytes(100_000)

    async with rig.client() as client:
        try:
            answer = await client.post("/v1/traces", content=endless(), headers=PROTOBUF)
            assert answer.status_code == 413
        except httpx.TransportError:
            pass  # the connection was closed while it was still sending
    assert rig.sink.batches == []


async def test_http_asks_to_come_again_when_the_store_cannot_take_it(rig: Rig) -> None:
    rig.sink.refuse = Refused("closing", retry=True)
    async with rig.client() as client:
        answer = await client.post("/v1/logs", content=logs_request().SerializeToString(), headers=PROTOBUF)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert (await client.get("/v1/logs")).status_code == 405


def test_values_of_every_type_become_json_s() -> None:
    value = common_pb2.AnyValue()
    pairs = value.kvlist_value.values
    pairs.add(key="b").value.bytes_value = b"\xff"
    pairs.add(key="f").value.double_value = float("nan")
    pairs.add(key="l").value.array_value.values.add().bool_value = True
    pairs.add(key="n")
    deep = value
    for _ in range(40):
        deep = deep.kvlist_value.values.add(key="deep").value
    found = otlp.value_of(value, 0)
    assert json.loads(json.dumps(found))["b"] == "/w=="
    assert (found["f"], found["l"], found["n"]) == ("nan", [True], None)


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(b"content-length: 5\r\ntransfer-encoding: chunked\r\n", id="both lengths"),
        pytest.param(b"transfer-encoding: chunked\r\ncontent-length: 5\r\n", id="the other way round"),
        pytest.param(b"content-length: 5\r\ncontent-length: 6\r\n", id="two lengths that differ"),
    ],
)
async def test_what_two_parsers_read_differently_is_400_and_the_connection_ends(rig: Rig, lines: bytes) -> None:
    context = client_context(rig.mint.credentials())
    port = int(rig.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    head = b"POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n" + lines + b"\r\n"
    writer.write(head + b"0\r\n\r\nGET /v1/logs HTTP/1.1\r\nhost: x\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.transport.abort()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1


async def test_413_is_read_by_a_client_that_sends_its_whole_body_first(rig: Rig) -> None:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", int(rig.url.rpartition(":")[2]), ssl=client_context(rig.mint.credentials())
    )
    size = 5 * MAX_REQUEST_BYTES
    writer.write(
        b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % size
    )
    for _ in range(size >> 20):
        writer.write(bytes(1 << 20))
        await asyncio.wait_for(writer.drain(), 10)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.transport.abort()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.endswith(b'bytes"}')


def test_json_takes_numbers_and_bytes_in_every_form_that_the_mapping_allows() -> None:
    """opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding: 64-bit numbers are text, or numbers; enums are numbers;
    bytes are base64; unknown fields are passed over; names are in lowerCamelCase."""
    span = {
        "traceId": "5b8efff798038103d269b633813fc60c",
        "spanId": "eee19b7ec3c1b174",
        "name": "n",
        "kind": 5,
        "flags": 257,
        "traceState": "a=b",
        "startTimeUnixNano": 1544712660123456789,
        "endTimeUnixNano": "1544712661123456789",
        "droppedAttributesCount": 3,
        "status": {"code": 1, "message": "m", "future": {"code": 9}},
        "attributes": [
            {"key": "bytes", "value": {"bytesValue": "AAH/"}},
            {"key": "map", "value": {"kvlistValue": {"values": [{"key": "k", "value": {"doubleValue": 0.5}}]}}},
            {"key": "list", "value": {"arrayValue": {"values": [{"boolValue": True}, {"intValue": 7}]}}},
        ],
        "events": [{"timeUnixNano": "1544712660500000000", "name": "e", "attributes": []}],
        "links": [
            {"traceId": "0a" * 16, "spanId": "0b" * 8, "traceState": "c=d"},
            {"traceId": "", "spanId": "0b" * 8},
        ],
    }
    scope = {"scope": {"name": "lib", "version": "1"}, "spans": [span], "schemaUrl": "https://example.org"}
    body = json.dumps({"resourceSpans": [{"scopeSpans": [scope], "future": [1, {"a": None}]}], "future": 1}).encode()
    (record,) = otlp_traces.decode_traces(body, None, as_json=True).batch.spans
    assert (record.start_ns, record.end_ns) == (1544712660123456789, 1544712661123456789)
    assert (record.kind, record.flags, record.trace_state, record.scope) == ("consumer", 257, "a=b", ("lib", "1"))
    assert (record.ok, record.error, record.status_message, record.dropped) == (True, False, "m", (3, 0, 0))
    assert record.attributes == {"bytes": "AAH/", "map": {"k": 0.5}, "list": [True, 7]}
    assert record.events == [{"name": "e", "time_ns": 1544712660500000000, "attributes": {}}]
    assert [(link["trace_id"], link["trace_state"]) for link in record.links] == [("0a" * 16, "c=d")]
    assert (record.service, record.resource) == ("unknown_service", {})


def test_what_is_over_the_bounds_of_a_span_is_counted() -> None:
    request = encode_spans(make_spans())
    span = request.resource_spans[0].scope_spans[0].spans[0]
    for number in range(otlp_traces.MAX_EVENTS + 5):
        span.events.add(name=f"event {number}", time_unix_nano=1)
        span.links.add(trace_id=b"\1" * 16, span_id=b"\2" * 8)
    for number in range(otlp.MAX_ATTRIBUTES + 7):
        span.attributes.add(key=f"key {number}").value.int_value = number
    already = len(span.attributes) - otlp.MAX_ATTRIBUTES
    record = otlp_traces.decode_traces(request.SerializeToString(), None).batch.spans[0]
    assert (len(record.events), len(record.links)) == (otlp_traces.MAX_EVENTS, otlp_traces.MAX_EVENTS)
    assert record.dropped == (already, 5, 5)
