"""Requests and answers as the sidecar tells them <-> mitmproxy's flow."""

import time
from collections.abc import Mapping
from typing import Any

from mitmproxy import http
from mitmproxy.connection import Client, ConnectionState, Server

Plain = Mapping[str, Any]


def new_flow(plain: Plain) -> http.HTTPFlow:
    """A request that nobody has answered yet."""
    client = Client(peername=_place(plain["client"], 0), sockname=("", 0))
    client.state = ConnectionState.OPEN
    client.timestamp_start = time.time()
    host, port = _place(plain["authority"].decode("latin-1"), 443 if plain["scheme"] == b"https" else 80)
    flow = http.HTTPFlow(client, Server(address=(host, port)), live=True)
    is_http1 = plain["version"].startswith("HTTP/1")
    headers = [(name, value) for name, value in plain["headers"]]
    if is_http1:
        headers.insert(0, (b"Host", plain["authority"]))
    flow.request = http.Request(
        host=host,
        port=port,
        method=plain["method"],
        scheme=plain["scheme"],
        authority=b"" if is_http1 else plain["authority"],
        path=plain["target"],
        http_version=_version(plain["version"]),
        headers=http.Headers(headers),
        content=plain["body"],
        trailers=None,
        timestamp_start=time.time(),
        timestamp_end=time.time(),
    )
    flow.metadata["remora.route"] = plain["route"]
    return flow


def request_of(flow: http.HTTPFlow, plain: Plain) -> dict[str, Any]:
    """What the script made of it. `body` is nil where it was."""
    request = flow.request
    authority = request.data.authority
    for name in ("host", ":authority"):
        if name in request.headers:
            authority = request.headers.fields[_index(request.headers, name)][1]
    return {
        "method": request.data.method,
        "authority": authority,
        "target": request.data.path,
        "headers": _fields(request.headers, b"host"),
        "body": _body(request, plain),
    }


def set_answer(flow: http.HTTPFlow, plain: Plain) -> None:
    """The upstream's answer to the request."""
    flow.response = http.Response(
        http_version=flow.request.data.http_version,
        status_code=plain["status"],
        reason=http.status_codes.RESPONSES.get(plain["status"], "").encode(),
        headers=http.Headers([(name, value) for name, value in plain["headers"]]),
        content=plain["body"],
        trailers=None,
        timestamp_start=time.time(),
        timestamp_end=time.time(),
    )


def answer_of(flow: http.HTTPFlow, plain: Plain) -> dict[str, Any]:
    """What the script made of the answer, or its own."""
    response = flow.response
    assert response is not None
    mocked = "status" not in plain
    return {
        "status": response.status_code,
        "headers": _fields(response.headers),
        "body": response.raw_content or b"" if mocked else _body(response, plain),
    }


def _body(message: http.Message, plain: Plain) -> bytes | None:
    return None if plain["body"] is None else message.raw_content or b""


def _fields(headers: http.Headers, *without: bytes) -> list[tuple[bytes, bytes]]:
    return [(name.lower(), value) for name, value in headers.fields if name.lower() not in without]


def _index(headers: http.Headers, name: str) -> int:
    return next(at for at, (each, _) in enumerate(headers.fields) if each.lower() == name.encode())


def _version(version: str) -> bytes:
    return b"HTTP/2.0" if version.startswith("HTTP/2") else version.encode("ascii")


def _place(text: str, port: int) -> tuple[str, int]:
    host, colon, number = text.rpartition(":")
    if not colon or not number.isdigit():
        return text.strip("[]"), port
    return host.strip("[]"), int(number)
