"""A tapped request, as `POST /tap` streams it, to mitmproxy's HTTPFlow with every field that is known."""

import base64
import hashlib
import uuid
from collections.abc import Mapping
from typing import Any

from mitmproxy import flow as flows
from mitmproxy import http
from mitmproxy.connection import Client, ConnectionState, Server

Plain = Mapping[str, Any]


def to_flow(plain: Plain) -> http.HTTPFlow:
    """Raises LookupError, TypeError or ValueError for what is no tapped request."""
    request, response = plain["request"], plain["response"]
    flow = http.HTTPFlow(_client(plain), _server(plain), live=False)
    flow.timestamp_created = request["began"]
    flow.request = _request(plain)
    if response is not None:
        flow.response = _response(plain, response)
    if response is None or not response["whole"]:
        flow.error = flows.Error(f"{plain['details']} {plain['failure'] or ''}".strip(), _ended(plain))
    flow.comment = "; ".join(_comments(plain))
    flow.metadata = {f"remora.{name}": plain[name] for name in _METADATA if plain[name] is not None}
    return flow


_METADATA = (
    "workload", "direction", "flags", "details", "peer", "upstream", "cluster", "route", "attempts", "request_id",
    "trace_id",
)  # fmt: skip


def _comments(plain: Plain) -> list[str]:
    found = [f"{plain['workload']} {plain['direction']}"]
    found += [f"{name} {plain[name]}" for name in ("route", "cluster", "flags", "peer") if plain[name]]
    if plain["trace_id"]:
        found.append(f"trace {plain['trace_id']}")
    for name in ("request", "response"):
        message = plain[name]
        if message is not None and message["cut"]:
            found.append(f"{name} body cut by {message['cut']} bytes")
    return found


def _request(plain: Plain) -> http.Request:
    message = plain["request"]
    host, port = _place(plain["authority"], 443 if plain["scheme"] == "https" else 80)
    return http.Request(
        host=host,
        port=port,
        method=_bytes(plain["method"]),
        scheme=_bytes(plain["scheme"]),
        # HTTP/1 has its authority in Host, as here; HTTP/2 in a field of its own.
        authority=b"" if plain["version"].startswith("HTTP/1") else _bytes(plain["authority"]),
        path=_bytes(plain["target"]),
        http_version=_version(plain["version"]),
        headers=_headers(message["headers"]),
        content=_body(message),
        trailers=_headers(message["trailers"]) if message["trailers"] else None,
        timestamp_start=message["began"],
        timestamp_end=message["ended"],
    )


def _response(plain: Plain, message: Plain) -> http.Response:
    return http.Response(
        http_version=_version(plain["version"]),
        status_code=plain["status"],
        reason=http.status_codes.RESPONSES.get(plain["status"], "").encode(),
        headers=_headers(message["headers"]),
        content=_body(message),
        trailers=_headers(message["trailers"]) if message["trailers"] else None,
        timestamp_start=message["began"],
        timestamp_end=message["ended"],
    )


def _body(message: Plain) -> bytes | None:
    """None, mitmproxy's word for a body that is missing, where nothing was kept of one."""
    body = base64.b64decode(message["body"], validate=True)
    return None if message["cut"] and not body else body


def _client(plain: Plain) -> Client:
    client = Client(peername=_place(plain["client"], 0), sockname=("", 0))
    # Requests of one connection belong together.
    client.id = str(uuid.UUID(bytes=hashlib.sha256(f"{plain['workload']} {plain['client']}".encode()).digest()[:16]))
    client.timestamp_start = plain["request"]["began"]
    client.timestamp_end = _ended(plain)
    client.state = ConnectionState.CLOSED
    client.tls = plain["scheme"] == "https" or plain["peer"] is not None
    if client.tls:
        client.timestamp_tls_setup = plain["request"]["began"]
    return client


def _server(plain: Plain) -> Server:
    upstream = plain["upstream"]
    server = Server(address=_place(upstream if upstream is not None else plain["authority"], 80))
    if upstream is not None:
        server.peername = _place(upstream, 0)
        server.timestamp_start = server.timestamp_tcp_setup = plain["request"]["began"]
        server.timestamp_end = _ended(plain)
    return server


def _ended(plain: Plain) -> float:
    message = plain["response"] if plain["response"] is not None else plain["request"]
    return float(message["ended"])


def _headers(pairs: Any) -> http.Headers:
    return http.Headers([(_bytes(name), _bytes(value)) for name, value in pairs])


def _version(version: str) -> bytes:
    return b"HTTP/2.0" if version.startswith("HTTP/2") else version.encode("ascii")


def _place(text: str, port: int) -> tuple[str, int]:
    """`host:port`, `[v6]:port` or `host`."""
    host, colon, number = text.rpartition(":")
    if not colon or not number.isdigit():
        return text.strip("[]"), port
    return host.strip("[]"), int(number)


def _bytes(text: str) -> bytes:
    return text.encode("latin-1")
