"""OTLP/HTTP: POST /v1/traces, /v1/logs and /v1/metrics, protobuf or JSON, gzip or not."""

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

from google.protobuf import json_format

from collectors.pipeline import Consumer, Refused
from collectors.receivers import otlp, otlp_metrics, otlp_traces
from collectors.receivers.claims import Claims, Judge
from collectors.receivers.compression import BrokenCompression, InflatesTooFar, inflate
from collectors.receivers.otlp import Decoded, MalformedRequest
from collectors.receivers.otlp_deltas import Deltas
from collectors.telemetry import Telemetry
from collectors.web import peer_of
from mesh.asgi import BodyTooLarge, ClientGone, Receive, Scope, Send, read_body, refuse, respond
from mesh.clock import Clock

_log = logging.getLogger("remora.otlp")

MAX_REQUEST_BYTES = 8 * 1024 * 1024
"""As sent; larger ones are answered 413. The default."""
_BODY_TIMEOUT_S = 30.0
_MAX_WAIT_S = 10.0
_PROTOBUF, _JSON = "application/x-protobuf", "application/json"
_SIGNALS = {"/v1/traces": "traces", "/v1/logs": "logs", "/v1/metrics": "metrics"}
_RESPONSES: dict[str, Callable[[Decoded], Any]] = {
    "traces": otlp_traces.trace_response,
    "logs": otlp.logs_response,
    "metrics": otlp_metrics.metrics_response,
}


class _Answer(Exception):
    """An error's answer; the body is a google.rpc.Status, as the specification wants it."""

    def __init__(self, status: int, message: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


class OtlpHttpReceiver:
    """The ASGI application."""

    def __init__(
        self,
        consumer: Consumer,
        telemetry: Telemetry,
        clock: Clock,
        claims: Claims,
        *,
        max_request_bytes: int = MAX_REQUEST_BYTES,
        mesh_metrics: bool = False,
    ) -> None:
        self._consumer = consumer
        self._telemetry = telemetry
        self._clock = clock
        self._claims = claims
        self._max_request_bytes = max_request_bytes
        self._deltas = Deltas()
        self._mesh_metrics = mesh_metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        content_type = _PROTOBUF
        body: bytes | None = None
        try:
            signal = _SIGNALS.get(scope["path"])
            if signal is None:
                raise _Answer(404, f"there are {', '.join(_SIGNALS)}")
            if scope["method"] != "POST":
                raise _Answer(405, "POST it", ((b"allow", b"POST"),))
            headers = dict(scope["headers"])
            content_type = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
            if content_type not in (_PROTOBUF, _JSON):
                raise _Answer(415, f"content-type must be {_PROTOBUF} or {_JSON}")
            body = await self._body(scope, receive)
            plain = _decompressed(body, headers.get(b"content-encoding", b"identity"), 2 * self._max_request_bytes)
            response = await self._export(signal, plain, scope, content_type == _JSON)
        except _Answer as answer:
            said = answer.status, _render_status(str(answer), content_type), _shown(content_type), answer.headers
            if body is None:
                await refuse(scope, receive, send, *said)
            else:
                await respond(send, *said)
        except ClientGone:
            return
        else:
            await respond(send, 200, _render(response, content_type), _shown(content_type))

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        try:
            async with asyncio.timeout(_BODY_TIMEOUT_S):
                return await read_body(scope, receive, self._max_request_bytes)
        except BodyTooLarge as error:
            raise _Answer(413, str(error)) from error
        except TimeoutError as error:
            raise _Answer(408, "the body did not come") from error

    async def _export(self, signal: str, body: bytes, scope: Scope, as_json: bool) -> Any:
        peer = peer_of(scope)
        received, refused = (
            counter.labels("otlp_http", signal) for counter in (self._telemetry.received, self._telemetry.refused)
        )
        try:
            decoded = self._decode(signal, body, None if peer is None else self._claims.judge(peer), as_json)
            decoded.batch.sender = str(peer or (scope.get("client") or ("",))[0])
            async with asyncio.timeout(_MAX_WAIT_S):
                await self._consumer.consume(decoded.batch)
        except MalformedRequest as error:
            refused.inc()
            raise _Answer(400, str(error)) from error
        except TimeoutError as error:
            raise _Answer(503, "busy, try again", ((b"retry-after", b"2"),)) from error
        except Refused as error:
            refused.inc(len(decoded.batch))
            if error.retry:
                raise _Answer(503, str(error), ((b"retry-after", b"2"),)) from error
            raise _Answer(400, str(error)) from error
        received.inc(len(decoded.batch))
        refused.inc(decoded.rejected)
        if decoded.foreign and peer is not None:
            self._claims.refused("otlp_http", signal, peer, decoded.foreign, decoded.why)
        return _RESPONSES[signal](decoded)

    def _decode(self, signal: str, body: bytes, judge: Judge | None, as_json: bool) -> Decoded:
        if signal == "traces":
            return otlp_traces.decode_traces(body, judge, as_json=as_json)
        if signal == "metrics":
            return otlp_metrics.decode_metrics(
                body, judge, self._clock.now(), self._deltas, as_json=as_json, mesh_metrics=self._mesh_metrics
            )
        return otlp.decode_logs(body, judge, self._clock.now(), as_json=as_json)


def _decompressed(body: bytes, encoding: bytes, max_bytes: int) -> bytes:
    match encoding.strip().lower():
        case b"identity" | b"":
            return body
        case b"gzip":
            try:
                return inflate(body, max_bytes)
            except BrokenCompression as error:
                raise _Answer(413 if isinstance(error, InflatesTooFar) else 400, str(error)) from error
        case _:
            raise _Answer(415, "content-encoding must be gzip or identity")


def _shown(content_type: str) -> str:
    return _JSON if content_type == _JSON else _PROTOBUF


def _render_status(message: str, content_type: str) -> bytes:
    """A google.rpc.Status whose field 2 is the message: one field is not worth a dependency on Google's types."""
    if content_type == _JSON:
        return json.dumps({"message": message}).encode("utf-8")
    text = message.encode("utf-8")[:127]
    return bytes((0x12, len(text))) + text


def _render(message: Any, content_type: str) -> bytes:
    if content_type == _JSON:
        return json_format.MessageToJson(message, indent=None).encode("utf-8")
    return bytes(message.SerializeToString())
