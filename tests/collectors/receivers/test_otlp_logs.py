"""Log records by OTLP: from opentelemetry-sdk's exporter, and what becomes of every part of one."""

import asyncio
import json
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from opentelemetry._logs import LogRecord as SdkRecord
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource

from collectors.receivers import otlp
from collectors.receivers.claims import Judge
from collectors.receivers.members import Members
from collectors.receivers.otlp_intake import MAX_REQUEST_BYTES
from collectors.records import Batch, LogRecord
from collectors.store.rows import to_rows
from mesh.spiffe import SpiffeId
from tests.collectors.authority import DOMAIN, PRODUCTPAGE
from tests.collectors.build import NOW
from tests.collectors.receivers.test_otlp import LOGS, NAME, PROTOBUF, Rig, logs_request, rig

__all__ = ["rig"]
NANOS = int(NOW) * 10**9


def request(**record: Any) -> logs_service_pb2.ExportLogsServiceRequest:
    """One record, described as OTLP/JSON has it."""
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "reviews"}},
                               {"key": "k8s.pod.name", "value": {"stringValue": "reviews-1"}}]}  # fmt: skip
    scope_logs = [{"scope": {"name": "app"}, "logRecords": [{"timeUnixNano": str(NANOS), **record}]}]
    document = {"resourceLogs": [{"resource": resource, "scopeLogs": scope_logs}]}
    return json_format.ParseDict(document, logs_service_pb2.ExportLogsServiceRequest())


def decode(**record: Any) -> LogRecord:
    judge = Judge(PRODUCTPAGE, Members())
    (found,) = otlp.decode_logs(request(**record).SerializeToString(), judge, 5.0).batch.logs
    assert len(to_rows(Batch(logs=[found])).logs) == 1
    return found


async def test_the_sdk_s_logging_handler_s_records_arrive_whole(rig: Rig) -> None:
    held = rig.mint.credentials()
    exporter = OTLPLogExporter(
        endpoint=rig.grpc_address,
        credentials=grpc.ssl_channel_credentials(held.roots_pem, held.key_pem, held.chain_pem),
        channel_options=(("grpc.ssl_target_name_override", NAME),),
    )
    provider = LoggerProvider(resource=Resource({"service.name": "reviews", "service.version": "v3"}))
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    logger = provider.get_logger("app.orders", "1.2")
    late = SdkRecord(
        timestamp=NANOS, severity_number=SeverityNumber.WARN, severity_text="WARNING", body="order 17 is late",
        attributes={"order": 17, "tags": ["a", "b"]}, event_name="order.late",
    )  # fmt: skip
    await asyncio.to_thread(logger.emit, late)
    failed = SdkRecord(severity_number=SeverityNumber.ERROR, body={"message": "failed", "code": 5})
    await asyncio.to_thread(logger.emit, failed)
    await asyncio.to_thread(provider.shutdown)
    first, second = [record for batch in rig.sink.batches for record in batch.logs]
    assert (first.severity, first.workload, first.time) == ("warning", "reviews", NOW)
    assert first.body["message"] == "order 17 is late"
    assert (first.body["order"], first.body["tags"], first.body["service.version"]) == (17, ["a", "b"], "v3")
    assert (first.body["otel.scope.name"], first.body["event.name"]) == ("app.orders", "order.late")
    assert (second.severity, second.body["message"], second.body["body"]["code"]) == ("error", "failed", 5)
    assert second.time > NOW, "it has the time of its observation"


@pytest.mark.parametrize(
    ("number", "text", "severity"),
    [(1, "", "debug"), (5, "", "debug"), (9, "", "info"), (13, "", "warning"), (17, "", "error"), (24, "", "error"),
     (0, "FATAL", "error"), (0, "Warn", "warning"), (0, "", "info"), (0, "odd", "info")],
)  # fmt: skip
def test_severities_by_number_and_else_by_text(number: int, text: str, severity: str) -> None:
    record = decode(severityNumber=number, severityText=text)
    assert record.severity == severity
    assert (record.body.get("severity_number", 0), record.body.get("severity_text", "")) == (number, text)


@pytest.mark.parametrize(
    ("body", "message", "content"),
    [
        ({"stringValue": "hello"}, "hello", None),
        ({"intValue": "17"}, "17", None),
        ({"boolValue": True}, "True", None),
        ({"doubleValue": "NaN"}, "nan", None),
        ({"bytesValue": "/w=="}, "/w==", None),
        ({"kvlistValue": {"values": [{"key": "message", "value": {"stringValue": "m"}}]}}, "m", {"message": "m"}),
        ({"kvlistValue": {"values": [{"key": "a", "value": {"intValue": "1"}}]}}, '{"a": 1}', {"a": 1}),
        ({"arrayValue": {"values": [{"stringValue": "é"}]}}, '["é"]', ["é"]),
        (None, "", None),
    ],
)
def test_bodies_of_every_type_have_a_message(body: Any, message: str, content: Any) -> None:
    record = decode(**({} if body is None else {"body": body}))
    assert record.body["message"] == message
    assert record.body.get("body") == content


def test_resource_scope_attributes_and_trace_context_are_kept() -> None:
    record = decode(
        traceId="AQEBAQEBAQEBAQEBAQEBAQ==", spanId="AgICAgICAgI=", eventName="order.late", droppedAttributesCount=2,
        observedTimeUnixNano=str(NANOS + 10**9),
        attributes=[{"key": "user", "value": {"stringValue": "jason"}}],
    )  # fmt: skip
    assert record.trace_id == "01" * 16
    assert record.time == NOW
    assert record.body == {
        "message": "", "user": "jason", "service": "reviews", "service.name": "reviews", "k8s.pod.name": "reviews-1",
        "otel.scope.name": "app", "trace_id": "01" * 16, "span_id": "02" * 8, "event.name": "order.late",
        "otel.dropped_attributes_count": 2, "observed_time": NOW + 1, "peer_principal": str(PRODUCTPAGE),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("times", "time"),
    [
        ({}, NOW),
        ({"timeUnixNano": "0", "observedTimeUnixNano": str(NANOS + 5 * 10**9)}, NOW + 5),
        ({"timeUnixNano": "0"}, 5.0),
    ],
    ids=["its own", "when it was observed", "when it came"],
)
def test_a_record_s_time(times: dict[str, str], time: float) -> None:
    assert decode(**times).time == time


def test_attributes_speak_for_the_record_and_not_for_its_sender() -> None:
    own = ("peer_principal", "workload", "namespace", "service.name", "k8s.pod.name", "k8s.namespace.name", "message")
    record = decode(attributes=[{"key": key, "value": {"stringValue": "another"}} for key in own])
    for key in own:
        assert record.body[f"attributes.{key}"] == "another"
        assert record.body.get(key) != "another"
    assert record.workload == "reviews-1"


def test_a_broken_trace_context_costs_the_record_nothing_else() -> None:
    record = decode(traceId="AQE=", spanId="AgICAgICAgI=", body={"stringValue": "hello"})
    assert (record.trace_id, record.body["message"]) == (None, "hello")
    assert "span_id" not in record.body


def test_ids_are_the_same_again_and_others_for_another_sender() -> None:
    body = logs_request().SerializeToString()

    def ids(name: str) -> list[str]:
        judge = Judge(SpiffeId(DOMAIN, "default", name), Members())
        return [record.id for record in otlp.decode_logs(body, judge, 5.0).batch.logs]

    assert ids("a") == ids("a")
    assert not set(ids("a")) & set(ids("b"))


async def test_json_is_taken_as_protobuf_is(rig: Rig) -> None:
    document = {"resourceLogs": [{"scopeLogs": [{"logRecords": [
        {"timeUnixNano": str(NANOS), "severityNumber": 13, "traceId": "0A" * 16, "spanId": "0b" * 8,
         "body": {"stringValue": "hello"}, "unknownField": 1}
    ]}]}]}  # fmt: skip
    async with rig.client() as client:
        answer = await client.post("/v1/logs", json=document)
    assert (answer.status_code, answer.json()) == (200, {})
    (record,) = rig.sink.batches[0].logs
    assert (record.severity, record.trace_id, record.body["span_id"]) == ("warning", "0a" * 16, "0b" * 8)


async def test_too_large_requests_are_refused_on_both_wires_and_the_next_is_taken(rig: Rig) -> None:
    large = request(body={"stringValue": "x" * (MAX_REQUEST_BYTES + 1)}).SerializeToString()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await rig.call(LOGS, large)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    async with rig.client() as client:
        answer = await client.post("/v1/logs", content=large, headers=PROTOBUF)
        assert answer.status_code == 413
        answer = await client.post("/v1/logs", content=logs_request().SerializeToString(), headers=PROTOBUF)
        assert answer.status_code == 200
    await rig.call(LOGS, logs_request().SerializeToString())
    assert [len(batch.logs) for batch in rig.sink.batches] == [2, 2]


@pytest.mark.parametrize("wire", ["grpc", "http", "json"])
async def test_what_is_refused_is_counted_in_partial_success_and_the_rest_is_stored(rig: Rig, wire: str) -> None:
    sent = logs_request(3)
    sent.resource_logs.add().CopyFrom(sent.resource_logs[0])
    sent.resource_logs[0].resource.attributes.add(key="k8s.namespace.name").value.string_value = "another"
    if wire == "grpc":
        data = await rig.call(LOGS, sent.SerializeToString())
        success = logs_service_pb2.ExportLogsServiceResponse.FromString(data).partial_success
    else:
        async with rig.client() as client:
            if wire == "http":
                answer = await client.post("/v1/logs", content=sent.SerializeToString(), headers=PROTOBUF)
                success = logs_service_pb2.ExportLogsServiceResponse.FromString(answer.content).partial_success
            else:
                document = json_format.MessageToDict(sent)
                for resource_logs in document["resourceLogs"]:
                    for record in resource_logs["scopeLogs"][0]["logRecords"]:
                        record["traceId"] = "01" * 16
                answer = await client.post("/v1/logs", json=document)
                said = json.loads(answer.content)["partialSuccess"]
                success = logs_service_pb2.ExportLogsPartialSuccess(
                    rejected_log_records=int(said["rejectedLogRecords"]), error_message=said["errorMessage"]
                )
    assert success.rejected_log_records == 3
    assert "namespace" in success.error_message
    assert len(rig.sink.batches[0].logs) == 3
