"""HTTP Archives: every document that we write is one, whatever was tapped."""

import io
import json
from typing import Any

import jsonschema
import pytest

from remora.tap.har import HarWriter
from tests.remora.inspection import in_mitmproxy
from tests.remora.tap.exchanges import exchange, message, read, unanswered
from tests.remora.tap.har_schema import HAR

_VALIDATOR = jsonschema.Draft202012Validator(HAR, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)


def archive(*plain: dict[str, Any]) -> Any:
    out = io.StringIO()
    writer = HarWriter(out, "0.1.0")
    for each in plain:
        writer.add(read(each))
    writer.close()
    found = json.loads(out.getvalue())
    _VALIDATOR.validate(found)
    return found


FORM = [("content-type", "application/x-www-form-urlencoded")]
CASES = {
    "nothing": [],
    "one": [exchange()],
    "a client that left": [unanswered()],
    "a binary answer": [exchange(response=message([("content-type", "image/png")], b"\x89PNG\xff"))],
    "a compressed answer": [exchange(response=message([("content-encoding", "gzip")], b"\x1f\x8b"))],
    "a form": [exchange(request=message(FORM, b"a=1&b=%20x&c="))],
    "a binary request": [exchange(request=message([], b"\xff\xfe"))],
    "cut bodies": [exchange(request=message([], b"a", cut=5), response=message([], b"", cut=9))],
    "the asterisk form": [exchange(method="OPTIONS", target="*")],
    "HTTP/2": [exchange(version="HTTP/2")],
    "a clock that jumped back": [exchange(response=message([], b"x", began=1.0, ended=0.5))],
    "an unknown status": [exchange(status=599)],
    "several": [exchange(), unanswered(), exchange()],
}


@pytest.mark.parametrize("plain", CASES.values(), ids=CASES.keys())
def test_it_validates(plain: list[dict[str, Any]]) -> None:
    assert len(archive(*plain)["log"]["entries"]) == len(plain)


def test_every_field_is_right() -> None:
    (entry,) = archive(exchange())["log"]["entries"]
    assert entry["startedDateTime"] == "2023-11-14T22:13:20.250Z"
    assert entry["time"] == 30.0
    assert entry["timings"] == {"send": 1.0, "wait": 19.0, "receive": 10.0}
    assert (entry["serverIPAddress"], entry["connection"]) == ("127.0.0.1", "127.0.0.1:40000")
    request = entry["request"]
    assert request["url"] == "http://reviews:9080/reviews/0?full=1&x=%C3%A9"
    assert request["queryString"] == [{"name": "full", "value": "1"}, {"name": "x", "value": "\u00e9"}]
    assert request["cookies"] == [{"name": "a", "value": "1"}, {"name": "b", "value": "2"}]
    assert request["postData"] == {"mimeType": "application/json", "text": '{"a": 1}'}
    assert request["bodySize"] == 8
    response = entry["response"]
    assert (response["status"], response["statusText"]) == (201, "Created")
    assert response["cookies"] == [{"name": "s", "value": "1", "path": "/", "httpOnly": True}]
    assert response["content"] == {"size": 5, "mimeType": "text/plain; charset=utf-8", "text": "m\u00e4de"}
    assert entry["_remora"]["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"


def test_what_was_cut_says_so() -> None:
    (entry,) = archive(exchange(response=message([], b"abc", cut=7)))["log"]["entries"]
    assert entry["comment"] == "response body cut by 7 bytes"
    assert (entry["response"]["content"]["size"], entry["response"]["content"]["text"]) == (10, "abc")


def test_mitmproxy_reads_it() -> None:
    program = """
import io, sys
from mitmproxy.io import FlowReader
for f in FlowReader(io.BytesIO(sys.stdin.buffer.read())).stream():
    print(f.request.method, f.request.pretty_url, f.response.status_code, f.response.text)
"""
    out = io.StringIO()
    writer = HarWriter(out, "0.1.0")
    writer.add(read(exchange()))
    writer.close()
    shown = in_mitmproxy(program, stdin=out.getvalue().encode())
    assert shown == "POST http://reviews:9080/reviews/0?full=1&x=%C3%A9 201 m\u00e4de\n"
