"""A sampled request's spans, in OpenTelemetry's HTTP semantic conventions.

https://opentelemetry.io/docs/specs/semconv/http/http-spans/

Inbound: one SERVER span. Outbound: one CLIENT span. Gateway: a SERVER span and within it a CLIENT span, since no
application stands between the two. Queries are left out: they carry people's data and secrets.
"""

from typing import Final

from sidecar.config.listener import Direction
from sidecar.config.messages import Span
from sidecar.telemetry.record import RequestRecord
from sidecar.telemetry.tracing import Trace

_METHODS: Final = {
    each.encode(): each for each in ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
}
_MAX_VALUE: Final = 1024

Attributes = list[tuple[str, str]]


def make_spans(record: RequestRecord, trace: Trace, start_ns: int, end_ns: int) -> list[Span]:
    """The request's spans, outermost first."""
    host, port = _split(_text(record.authority))
    method = _METHODS.get(record.method)
    name = f"{method or 'HTTP'} {host}" if host else (method or "HTTP")
    shared = _shared(record, method, host, port)
    trace_id = trace.trace_id.decode()
    span_id = trace.span_id.decode()
    parent_id = None if trace.parent_id is None else trace.parent_id.decode()
    direction = record.downstream.direction
    spans: list[Span] = []
    if direction is not Direction.OUTBOUND:
        failed = record.status >= 500 or record.status == 0
        attributes = (*shared, *_server(record), *_outcome(record, failed))
        spans.append(Span(trace_id, span_id, parent_id, True, name, start_ns, end_ns, attributes, failed))
        # A gateway's own answer went nowhere: no CLIENT span.
        if trace.client_id is None or record.upstream is None:
            return spans
        span_id, parent_id = trace.client_id.decode(), span_id
    failed = record.status >= 400 or record.status == 0
    attributes = (*shared, *_client(record), *_outcome(record, failed))
    spans.append(Span(trace_id, span_id, parent_id, False, name, start_ns, end_ns, attributes, failed))
    return spans


def _shared(record: RequestRecord, method: str | None, host: str, port: str) -> Attributes:
    attributes: Attributes = [
        ("http.request.method", method or "_OTHER"),
        ("url.scheme", "http"),
        ("url.path", _text(record.url.partition(b"?")[0])),
        ("server.address", host),
        ("network.protocol.name", "http"),
        ("network.protocol.version", record.protocol.removeprefix("HTTP/")),
        ("http.request.body.size", str(record.bytes_received)),
        ("http.response.body.size", str(record.bytes_sent)),
        ("guid:x-request-id", _text(record.request_id)),
    ]
    if method is None:
        attributes.append(("http.request.method_original", _text(record.method)))
    if port:
        attributes.append(("server.port", port))
    target = record.target
    if target is not None:
        attributes.append(("remora.route", target.route))
        if target.cluster is not None:
            attributes.append(("upstream_cluster.name", target.cluster))
    return attributes


def _server(record: RequestRecord) -> Attributes:
    address, _ = _split(record.downstream.remote)
    attributes: Attributes = [("client.address", address)]
    if record.user_agent is not None:
        attributes.append(("user_agent.original", _text(record.user_agent)))
    if record.downstream.principal is not None:
        attributes.append(("source.principal", record.downstream.principal))
        if record.downstream.inbound:
            attributes.append(("source.workload", record.downstream.source.workload.name))
    return attributes


def _client(record: RequestRecord) -> Attributes:
    attributes: Attributes = []
    if record.target is not None and record.target.service.name != "unknown":
        attributes.append(("peer.service", record.target.service.name))
    upstream = record.upstream
    if upstream is not None:
        address, port = _split(upstream.address)
        attributes += [("network.peer.address", address), ("network.peer.port", port)]
        if upstream.workload.name != "unknown":
            attributes.append(("destination.workload", upstream.workload.name))
    if record.attempts > 1:
        attributes.append(("http.request.resend_count", str(record.attempts - 1)))
    return attributes


def _outcome(record: RequestRecord, failed: bool) -> Attributes:
    attributes: Attributes = [("response_flags", record.flags or "-")]
    if record.status:
        attributes.append(("http.response.status_code", str(record.status)))
    if record.grpc_status is not None:
        attributes += [("rpc.system", "grpc"), ("rpc.grpc.status_code", str(record.grpc_status))]
    if failed:
        attributes.append(("error.type", str(record.status) if record.status else "client_gone"))
        if record.failure is not None:
            attributes.append(("upstream_transport_failure_reason", record.failure[:_MAX_VALUE]))
    return attributes


def _text(value: bytes) -> str:
    return value[:_MAX_VALUE].decode("utf-8", "backslashreplace")


def _split(address: str) -> tuple[str, str]:
    """Host without brackets, and port or an empty text."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        host, port = address, ""
    return host.strip("[]"), port
