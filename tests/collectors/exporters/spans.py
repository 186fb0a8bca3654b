"""Spans that say everything a span can, as OTLP brings them, and an HTTP back end that answers as told."""

from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collectors.receivers.otlp_traces import decode_traces
from collectors.records import SpanRecord
from collectors.web import WebServer
from mesh.asgi import Receive, Scope, Send, read_body, respond
from tests.collectors.build import NOW
from tests.collectors.fakes import bound

NOW_NS = int(NOW) * 10**9


def request() -> ExportTraceServiceRequest:
    """Two resources, two scopes, every kind, every type of value, events, links, states."""
    made = ExportTraceServiceRequest()
    for service, version in (("productpage", "v1"), ("reviews", "v3")):
        resource_spans = made.resource_spans.add()
        for key, value in (("service.name", service), ("service.version", version)):
            resource_spans.resource.attributes.add(key=key).value.string_value = value
        for scope in ("http", "db"):
            scope_spans = resource_spans.scope_spans.add()
            scope_spans.scope.name, scope_spans.scope.version = scope, "1.0"
            for kind in range(1, 6):
                number = len(service) * 100 + len(scope) * 10 + kind
                span = scope_spans.spans.add(
                    trace_id=(0xABCD).to_bytes(16, "big"),
                    span_id=number.to_bytes(8, "big"),
                    parent_span_id=(number - 1).to_bytes(8, "big") if kind > 1 else b"",
                    name=f"{service} {scope} {kind}",
                    kind=kind,  # type: ignore[arg-type]
                    trace_state="vendor=1",
                    flags=0x101,
                    start_time_unix_nano=NOW_NS + number * 1_000_001,
                    end_time_unix_nano=NOW_NS + number * 1_000_001 + 5_000_007,
                    dropped_attributes_count=kind,
                )
                _fill(span, kind)
    return made


def _fill(span: Any, kind: int) -> None:
    span.attributes.add(key="text").value.string_value = "größer\n"
    span.attributes.add(key="yes").value.bool_value = True
    span.attributes.add(key="whole").value.int_value = -(2**60)
    span.attributes.add(key="real").value.double_value = 0.1
    span.attributes.add(key="list").value.array_value.values.add().int_value = 7
    pair = span.attributes.add(key="map").value.kvlist_value.values.add(key="k")
    pair.value.string_value = "v"
    span.attributes.add(key="nothing")
    event = span.events.add(name="exception", time_unix_nano=span.start_time_unix_nano + 1_234)
    event.attributes.add(key="exception.type").value.string_value = "KeyError"
    span.events.add(name="plain", time_unix_nano=span.start_time_unix_nano + 9_999)
    link = span.links.add(trace_id=b"\xab" * 16, span_id=b"\xcd" * 8, trace_state="a=b")
    link.attributes.add(key="why").value.string_value = "retry"
    if kind == 2:
        span.status.code, span.status.message = 2, "no healthy upstream"
    elif kind == 3:
        span.status.code = 1


def records() -> list[SpanRecord]:
    """The same, as the receiver makes them."""
    return decode_traces(request().SerializeToString(), None).batch.spans


class HttpAnswers:
    """A back end over HTTP: keeps what it is sent, answers what is next, 200 otherwise."""

    def __init__(self) -> None:
        self.next: list[tuple[int, bytes, dict[str, str]]] = []
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.otherwise = (200, b"")
        self._server = WebServer(self._answer)
        self.url = ""

    async def __aenter__(self) -> "HttpAnswers":
        sock, (host, port) = bound()
        sock.listen()
        await self._server.listen(sock)
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.close()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.requests.append((scope["path"], headers, await read_body(scope, receive, 1 << 24)))
        status, body, extra = self.next.pop(0) if self.next else (*self.otherwise, {})
        kind = extra.get("content-type", "text/plain")
        fields = tuple((name.encode(), value.encode()) for name, value in extra.items() if name != "content-type")
        await respond(send, status, body, kind, fields)
