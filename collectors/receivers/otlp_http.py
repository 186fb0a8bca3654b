"""OTLP/HTTP: POST /v1/traces, /v1/logs and /v1/metrics, protobuf or JSON, gzip or not."""

import asyncio
import json
from typing import Any

from google.protobuf import json_format

from collectors.pipeline import Refused
from collectors.receivers.compression import BrokenCompression, InflatesTooFar, inflate
from collectors.receivers.otlp import MalformedRequest
from collectors.receivers.otlp_intake import BUSY, MAX_REQUEST_BYTES, SIGNALS, Intake
from collectors.web import peer_of
from mesh.asgi import BodyTooLarge, ClientGone, Receive, Scope, Send, read_body, refuse, respond

_BODY_TIMEOUT_S = 30.0
_PROTOBUF, _JSON = "application/x-protobuf", "application/json"
_PATHS = {f"/v1/{signal}": signal for signal in SIGNALS}
_RETRY = ((b"retry-after", b"2"),)


class _Answer(Exception):
    """An error's answer; the body is a google.rpc.Status, as the specification wants it."""

    def __init__(self, status: int, message: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


class OtlpHttpReceiver:
    """The ASGI application."""

    def __init__(self, intake: Intake, *, max_request_bytes: int = MAX_REQUEST_BYTES) -> None:
        """A body of more than `max_request_bytes`, as sent, is answered 413."""
        self._intake = intake
        self._max_request_bytes = max_request_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        content_type = _PROTOBUF
        body: bytes | None = None
        try:
            signal = _PATHS.get(scope["path"])
            if signal is None:
                raise _Answer(404, f"there are {', '.join(_PATHS)}")
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
        address = (scope.get("client") or ("",))[0]
        try:
            return await self._intake.take(signal, body, peer_of(scope), address, as_json=as_json)
        except MalformedRequest as error:
            raise _Answer(400, str(error)) from error
        except TimeoutError as error:
            raise _Answer(503, BUSY, _RETRY) from error
        except Refused as error:
            raise (_Answer(503, str(error), _RETRY) if error.retry else _Answer(400, str(error))) from error


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
