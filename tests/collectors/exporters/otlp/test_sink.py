"""OTLP out: what came in leaves as it was, and what each answer means."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import code_pb2
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from pydantic import ValidationError

from collectors.exporters.http import HttpBackend
from collectors.exporters.otlp.encoding import encode_logs, encode_spans
from collectors.exporters.otlp.grpc_client import GrpcClient
from collectors.exporters.otlp.http_client import HttpClient
from collectors.exporters.otlp.settings import Settings
from collectors.exporters.otlp.sink import OtlpSink
from collectors.exporters.sink import Failed, TooLarge, Unavailable
from collectors.receivers.otlp import decode_logs
from collectors.receivers.otlp_traces import decode_traces
from collectors.records import Batch, Sample
from tests.collectors.build import NOW, FakeClock, log, span
from tests.collectors.exporters.spans import HttpAnswers, records, request


def test_what_came_by_otlp_leaves_as_it_was() -> None:
    sent = ExportTraceServiceRequest.FromString(encode_spans(records()))
    assert sent == request()
    assert decode_traces(sent.SerializeToString(), None).batch.spans == records()


def test_spans_that_lost_their_tuples_on_disk_leave_all_the_same() -> None:
    """A buffer's encoding knows lists alone, and each span has a resource of its own then."""
    again = [
        one._replace(scope=list(one.scope), dropped=list(one.dropped), resource=dict(one.resource))  # type: ignore[arg-type]
        for one in records()
    ]
    assert ExportTraceServiceRequest.FromString(encode_spans(again)) == request()


def test_a_span_that_knows_little_says_what_it_knows() -> None:
    hostile = span(1, 2, 1, "reviews", start=NOW, ms=5.0, name="a\udcffb", attributes={"k\ud800": 2**70, "b": b"\1"})
    (resource_spans,) = ExportTraceServiceRequest.FromString(encode_spans([hostile])).resource_spans
    said = {one.key: one.value.string_value for one in resource_spans.resource.attributes}
    assert said == {"service.name": "reviews", "remora.workload": "reviews-v1"}
    (sent,) = resource_spans.scope_spans[0].spans
    assert (sent.name, sent.start_time_unix_nano) == ("a?b", int(NOW) * 10**9)
    assert sent.end_time_unix_nano - sent.start_time_unix_nano == 5_000_000
    values = {one.key: one.value for one in sent.attributes}
    assert (values["k?"].string_value, values["b"].bytes_value) == (str(2**70), b"\1")


def test_logs_leave_with_the_id_by_which_they_are_told_apart() -> None:
    record = log("app/1", "hello", user="jason")._replace(severity="warning", trace_id="0a" * 16)
    body = {**record.body, "span_id": "0b" * 8}
    sent = ExportLogsServiceRequest.FromString(encode_logs([record._replace(body=body)]))
    line = sent.resource_logs[0].scope_logs[0].log_records[0]
    attributes = {one.key: one.value.string_value for one in line.attributes}
    assert line.body.string_value == "hello"
    assert attributes == {"user": "jason", "span_id": "0b" * 8, "log.record.uid": "app/1", "remora.tag": "app.log"}
    assert (line.severity_number, line.trace_id, line.span_id) == (13, b"\x0a" * 16, b"\x0b" * 8)
    (back,) = decode_logs(sent.SerializeToString(), None, NOW).batch.logs
    assert (back.body["message"], back.severity, back.trace_id, back.workload) == (
        "hello",
        "warning",
        "0a" * 16,
        "reviews-v1",
    )


class GrpcAnswers:
    """A back end over gRPC: keeps what it is sent, answers what is next, OK otherwise."""

    def __init__(self) -> None:
        self.next: list[tuple[grpc.StatusCode, str, bytes | None]] = []
        self.answer = b""
        self.calls: list[tuple[bytes, dict[str, Any]]] = []
        self._server = grpc.aio.server(options=[("grpc.max_receive_message_length", 64 * 1024)])
        self.url = ""

    async def __aenter__(self) -> "GrpcAnswers":
        for signal in ("trace.v1.Trace", "logs.v1.Logs", "metrics.v1.Metrics"):
            name = f"opentelemetry.proto.collector.{signal}Service"
            handler = grpc.unary_unary_rpc_method_handler(self._export)
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {"Export": handler}),))
        self.url = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(0)

    async def _export(self, body: bytes, context: Any) -> bytes:
        self.calls.append((body, dict(context.invocation_metadata())))
        if self.next:
            code, text, details = self.next.pop(0)
            if details is not None:
                context.set_trailing_metadata((("grpc-status-details-bin", details),))
            await context.abort(code, text)
        return self.answer


@pytest.fixture
async def backend() -> AsyncIterator[GrpcAnswers]:
    async with GrpcAnswers() as backend:
        yield backend


@pytest.fixture
async def sink(backend: GrpcAnswers) -> AsyncIterator[OtlpSink]:
    sink = OtlpSink(GrpcClient(Settings.model_validate({"url": backend.url})))
    yield sink
    await sink.close()


def retry_info(seconds: int) -> bytes:
    status = Status(code=code_pb2.RESOURCE_EXHAUSTED)
    info = RetryInfo()
    info.retry_delay.seconds = seconds
    packed = AnyMessage()
    packed.Pack(info)
    status.details.append(packed)
    return status.SerializeToString()


async def test_spans_and_logs_of_a_batch_arrive_by_grpc(backend: GrpcAnswers, sink: OtlpSink) -> None:
    outcome = await sink.send(Batch(spans=records(), logs=[log("app/1", "hello")]))
    assert (outcome.refused, len(outcome.again)) == ([], 0)
    assert ExportTraceServiceRequest.FromString(backend.calls[0][0]) == request()
    assert len(ExportLogsServiceRequest.FromString(backend.calls[1][0]).resource_logs) == 1


@pytest.mark.parametrize(
    "code",
    [
        "CANCELLED",
        "DEADLINE_EXCEEDED",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
        "UNIMPLEMENTED",
    ],
)
async def test_what_may_be_sent_again_is_unavailable_and_then_delivered(
    backend: GrpcAnswers, sink: OtlpSink, code: str
) -> None:
    backend.next = [(grpc.StatusCode[code], "not now", None)]
    with pytest.raises(Unavailable, match=f"{code}: not now"):
        await sink.send(Batch(spans=records()))
    assert (await sink.send(Batch(spans=records()))).refused == []


async def test_a_throttling_back_end_says_how_long(backend: GrpcAnswers, sink: OtlpSink) -> None:
    for code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE):
        backend.next = [(code, "slow down", retry_info(17))]
        with pytest.raises(Unavailable) as caught:
            await sink.send(Batch(spans=records()))
        assert caught.value.retry_after_s == 17


async def test_a_message_that_is_too_large_is_told_from_a_back_end_that_is_busy(
    backend: GrpcAnswers, sink: OtlpSink
) -> None:
    with pytest.raises(TooLarge, match="larger than max"):
        await sink.send(Batch(spans=records() * 40))
    for said in ("grpc: received message larger than max (5 vs. 4)", "gRPC message exceeds maximum size 4: 5"):
        backend.next = [(grpc.StatusCode.RESOURCE_EXHAUSTED, said, None)]
        with pytest.raises(TooLarge):
            await sink.send(Batch(spans=records()))
    for said in ("quota", "Concurrent RPC limit exceeded!", ""):
        backend.next = [(grpc.StatusCode.RESOURCE_EXHAUSTED, said, b"\xff\xff")]
        with pytest.raises(Unavailable, match="RESOURCE_EXHAUSTED") as caught:
            await sink.send(Batch(spans=records()))
        assert caught.value.retry_after_s is None


@pytest.mark.parametrize("code", ["INTERNAL", "UNKNOWN"])
async def test_what_may_be_a_broken_connection_is_tried_again_before_a_record_is_to_blame(
    backend: GrpcAnswers, sink: OtlpSink, code: str
) -> None:
    backend.next = [(grpc.StatusCode[code], "Stream removed", None)]
    with pytest.raises(Failed, match=f"{code}: Stream removed"):
        await sink.send(Batch(spans=records()))
    assert (await sink.send(Batch(spans=records()))).refused == []


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION"])
async def test_what_is_refused_for_good_is_named_record_by_record(
    backend: GrpcAnswers, sink: OtlpSink, code: str
) -> None:
    backend.next = [(grpc.StatusCode[code], "bad span", None)]
    outcome = await sink.send(Batch(spans=records()))
    assert [refusal.record for refusal in outcome.refused] == records()
    assert f"{code}: bad span" in outcome.refused[0].why


async def test_partial_success_refuses_the_request_s_records_since_it_does_not_say_which(
    backend: GrpcAnswers, sink: OtlpSink
) -> None:
    answer = ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = 3
    answer.partial_success.error_message = "too old"
    backend.answer = answer.SerializeToString()
    outcome = await sink.send(Batch(spans=records()))
    assert len(outcome.refused) == len(records())
    assert "rejected 3 of these 20" in outcome.refused[0].why
    assert "too old" in outcome.refused[0].why


async def test_a_warning_is_no_refusal(backend: GrpcAnswers, sink: OtlpSink, caplog: pytest.LogCaptureFixture) -> None:
    answer = ExportTraceServiceResponse()
    answer.partial_success.error_message = "deprecated"
    backend.answer = answer.SerializeToString()
    assert (await sink.send(Batch(spans=records()))).refused == []
    assert "deprecated" in caplog.text


async def test_when_spans_went_through_and_logs_did_not_the_logs_alone_come_again(
    backend: GrpcAnswers, sink: OtlpSink
) -> None:
    class Second(list[Any]):
        """Of two requests the second fails."""

        def __bool__(self) -> bool:
            return len(backend.calls) == 2

    backend.next = Second([(grpc.StatusCode.UNAVAILABLE, "later", retry_info(3))])
    logs = [log("app/1", "hello")]
    outcome = await sink.send(Batch(spans=records(), logs=logs))
    assert (outcome.again.logs, outcome.again.spans, outcome.retry_after_s) == (logs, [], 3)


async def test_metrics_of_a_batch_arrive_and_come_again_alone_when_they_do_not(
    backend: GrpcAnswers, sink: OtlpSink
) -> None:
    samples = [Sample("requests_total", (("job", "a"),), NOW, 1.0, None, "counter")]
    assert (await sink.send(Batch(samples=samples))).refused == []
    (metrics,) = ExportMetricsServiceRequest.FromString(backend.calls[0][0]).resource_metrics
    assert metrics.scope_metrics[0].metrics[0].name == "requests_total"

    class Last(list[Any]):
        """Of three requests the last fails."""

        def __bool__(self) -> bool:
            return len(backend.calls) == 4

    backend.next = Last([(grpc.StatusCode.UNAVAILABLE, "later", None)])
    outcome = await sink.send(Batch([log("app/1", "hello")], records(), samples))
    assert (outcome.again.logs, outcome.again.spans, outcome.again.samples) == ([], [], samples)


async def test_a_sample_that_otlp_has_no_word_for_does_not_take_the_others_with_it(
    backend: GrpcAnswers, sink: OtlpSink
) -> None:
    good = Sample("requests_total", (), NOW, 1.0, None, "counter")
    bad = good._replace(value=-1.0)
    outcome = await sink.send(Batch(samples=[good, bad]))
    assert [(one.record, one.why) for one in outcome.refused] == [(bad, "requests_total: a counter cannot be -1.0")]
    assert len(backend.calls) == 1
    outcome = await sink.send(Batch(samples=[bad]))
    assert [one.record for one in outcome.refused] == [bad]
    assert len(backend.calls) == 1, "nothing is asked for nothing"
    backend.answer = ExportMetricsServiceResponse(
        partial_success={"rejected_data_points": 1, "error_message": "too old"}
    ).SerializeToString()
    outcome = await sink.send(Batch(samples=[good, bad]))
    assert [one.record for one in outcome.refused] == [bad, good]


async def test_metadata_carries_what_the_settings_say(backend: GrpcAnswers, tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("pw\n")
    path.chmod(0o600)
    said = {"url": backend.url, "username": "u", "password_file": str(path), "headers": {"X-Tenant": "t"}}
    sink = OtlpSink(GrpcClient(Settings.model_validate(said)))
    await sink.send(Batch(spans=records()))
    await sink.close()
    metadata = backend.calls[0][1]
    assert metadata["authorization"] == "Basic " + base64.b64encode(b"u:pw").decode()
    assert metadata["x-tenant"] == "t"


async def test_a_token_that_metadata_cannot_hold_is_waited_for(backend: GrpcAnswers, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("fine")
    path.chmod(0o600)
    sink = OtlpSink(GrpcClient(Settings.model_validate({"url": backend.url, "bearer_token_file": str(path)})))
    path.write_text("s3cr\u00e9t")
    with pytest.raises(Unavailable, match="no header can hold") as caught:
        await sink.send(Batch(spans=records()))
    assert "s3" not in str(caught.value)
    await sink.close()


# HTTP


async def http_sink(server: HttpAnswers) -> OtlpSink:
    model = Settings.model_validate({"url": server.url, "protocol": "http"})
    return OtlpSink(HttpClient(HttpBackend(model, FakeClock())))


async def test_http_posts_protobuf_to_each_signal_s_path() -> None:
    async with HttpAnswers() as server:
        sink = await http_sink(server)
        batch = Batch([log("a", "b")], records(), [Sample("m", (), NOW, 1.0)])
        assert (await sink.send(batch)).refused == []
        await sink.close()
        assert [path for path, _, _ in server.requests] == ["/v1/traces", "/v1/logs", "/v1/metrics"]
        assert server.requests[0][1]["content-type"] == "application/x-protobuf"


async def test_http_s_statuses_mean_what_the_specification_says() -> None:
    async with HttpAnswers() as server:
        sink = await http_sink(server)
        for status in (429, 502, 503, 504):
            server.next = [(status, b"", {})]
            with pytest.raises(Unavailable):
                await sink.send(Batch(spans=records()))
        for status in (500, 501):
            server.next = [(status, b"broken", {})]
            with pytest.raises(Failed, match=f"answered {status}: broken"):
                await sink.send(Batch(spans=records()))
        for status in (400, 415, 422):
            server.next = [(status, b"broken", {})]
            outcome = await sink.send(Batch(spans=records()))
            assert len(outcome.refused) == len(records())
            assert outcome.refused[0].why == f"answered {status}: broken"
        server.next = [(200, b"<html>welcome</html>", {})]
        with pytest.raises(Unavailable, match="check the address"):
            await sink.send(Batch(spans=records()))
        await sink.close()


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"url": "http://localhost:4317/v1"}, "has a path"),
        ({"url": "https://collector.example"}, "has no port"),
        ({"url": "http://localhost:4318/v1/traces", "protocol": "http"}, "leave that off"),
        ({"url": "http://localhost:4318/v1/metrics", "protocol": "http"}, "ends in /v1/metrics; leave that off"),
        ({"url": "http://localhost:4318", "protocol": "thrift"}, "protocol"),
    ],
)
def test_settings_that_are_wrong_say_so(said: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Settings.model_validate(said)
