"""Tapped requests as an HTTP Archive 1.2: http://www.softwareishard.com/blog/har-12-spec/.

Entries are written as they come, so that an archive of any length needs no memory; `close` makes it a whole document.
"""

import base64
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, TextIO
from urllib.parse import parse_qsl, urlsplit

from remora.tap.records import Exchange, Field, Message
from remora.tap.text import reason


class HarWriter:
    """Writes to `out`, which stays the caller's."""

    def __init__(self, out: TextIO, version: str) -> None:
        self._out = out
        creator = {"name": "remora", "version": version}
        head = json.dumps({"log": {"version": "1.2", "creator": creator, "entries": []}})
        out.write(head.removesuffix("]}}"))
        self._separator = "\n"

    def add(self, exchange: Exchange) -> None:
        self._out.write(self._separator + json.dumps(entry(exchange)))
        self._separator = ",\n"

    def close(self) -> None:
        self._out.write("\n]}}\n")
        self._out.flush()


def entry(exchange: Exchange) -> dict[str, Any]:
    """One entry. What HAR has no field for is in `_remora`."""
    request, answer = exchange.request, exchange.response
    send_ms = _ms(request.began, request.ended)
    wait_ms = _ms(request.ended, answer.began) if answer is not None else 0.0
    receive_ms = _ms(answer.began, answer.ended) if answer is not None else 0.0
    plain: dict[str, Any] = {
        "startedDateTime": _iso(request.began),
        "time": round(send_ms + wait_ms + receive_ms, 3),
        "request": _request(exchange),
        "response": _response(exchange),
        "cache": {},
        "timings": {"send": send_ms, "wait": wait_ms, "receive": receive_ms},
        "connection": exchange.client,
        "_remora": {
            "workload": exchange.workload,
            "direction": exchange.direction,
            "flags": exchange.flags,
            "details": exchange.details,
            "peer": exchange.peer,
            "upstream": exchange.upstream,
            "cluster": exchange.cluster,
            "route": exchange.route,
            "request_id": exchange.request_id,
            "trace_id": exchange.trace_id,
        },
    }
    if exchange.upstream is not None:
        plain["serverIPAddress"] = exchange.upstream.rpartition(":")[0].strip("[]")
    notes = [f"{what} body cut by {message.cut} bytes" for what, message in _messages(exchange) if message.cut]
    notes += [f"{what} broke off: {exchange.details}" for what, message in _messages(exchange) if not message.whole]
    if notes:
        plain["comment"] = "; ".join(notes)
    return plain


def _messages(exchange: Exchange) -> Iterable[tuple[str, Message]]:
    yield "request", exchange.request
    if exchange.response is not None:
        yield "response", exchange.response


def _request(exchange: Exchange) -> dict[str, Any]:
    message = exchange.request
    query = urlsplit(exchange.target).query
    plain: dict[str, Any] = {
        "method": exchange.method,
        "url": exchange.url,
        "httpVersion": exchange.version,
        "cookies": _cookies(message),
        "headers": _pairs(message.headers),
        "queryString": _pairs(parse_qsl(query, keep_blank_values=True)),
        "headersSize": -1,
        "bodySize": message.body_bytes,
    }
    if message.body_bytes:
        plain["postData"] = _post_data(message)
    return plain


def _post_data(message: Message) -> dict[str, Any]:
    """`text` or `params`, never both."""
    mime = message.get("content-type") or "application/octet-stream"
    if mime.partition(";")[0].strip().lower() == "application/x-www-form-urlencoded":
        pairs = parse_qsl(message.body.decode("latin-1"), keep_blank_values=True)
        return {"mimeType": mime, "params": _pairs(pairs)}
    text, encoding = _content(message)
    # HAR 1.2 has no encoding for posted data; the underscore makes it ours.
    return {"mimeType": mime, "text": text} | ({"_encoding": encoding} if encoding else {})


def _response(exchange: Exchange) -> dict[str, Any]:
    message = exchange.response
    if message is None:
        # As browsers write a request that failed.
        nothing = {"size": 0, "mimeType": "x-unknown"}
        empty: dict[str, Any] = {"cookies": [], "headers": [], "redirectURL": "", "headersSize": -1, "bodySize": -1}
        return {"status": 0, "statusText": "", "httpVersion": exchange.version, "content": nothing} | empty
    text, encoding = _content(message)
    content: dict[str, Any] = {
        "size": message.body_bytes,
        "mimeType": message.get("content-type") or "x-unknown",
        "text": text,
    }
    if encoding:
        content["encoding"] = encoding
    return {
        "status": exchange.status,
        "statusText": reason(exchange.status),
        "httpVersion": exchange.version,
        "cookies": _set_cookies(message),
        "headers": _pairs(message.headers),
        "content": content,
        "redirectURL": message.get("location") or "",
        "headersSize": -1,
        "bodySize": message.body_bytes,
    }


def _content(message: Message) -> tuple[str, str | None]:
    """The body as text, or as base64 with that word."""
    if message.get("content-encoding") in (None, "identity"):
        try:
            return message.body.decode("utf-8"), None
        except UnicodeDecodeError:
            pass
    return base64.b64encode(message.body).decode("ascii"), "base64"


def _pairs(fields: Iterable[Field]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in fields]


def _cookies(message: Message) -> list[dict[str, Any]]:
    found = []
    for name, value in message.headers:
        if name == "cookie":
            found += [_cookie(part) for part in value.split(";") if part.strip()]
    return found


def _cookie(part: str) -> dict[str, Any]:
    name, _, value = part.strip().partition("=")
    return {"name": name, "value": value}


def _set_cookies(message: Message) -> list[dict[str, Any]]:
    """With the attributes that HAR has a field for and whose form can not be wrong."""
    found = []
    for name, value in message.headers:
        if name == "set-cookie":
            first, *attributes = value.split(";")
            cookie = _cookie(first)
            for attribute in attributes:
                key, _, text = attribute.strip().partition("=")
                match key.lower():
                    case "path":
                        cookie["path"] = text
                    case "domain":
                        cookie["domain"] = text
                    case "httponly":
                        cookie["httpOnly"] = True
                    case "secure":
                        cookie["secure"] = True
            found.append(cookie)
    return found


def _ms(begin: float, end: float) -> float:
    return round(max(0.0, end - begin) * 1000.0, 3)


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
