"""mitmproxy's own reader and mitmdump on the flow files that we write."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mesh.inspection import Inspection
from remora.failure import Failure
from remora.tap.sinks import Flows
from tests.remora.inspection import in_mitmproxy, inspection
from tests.remora.tap.exchanges import BEGAN, exchange, message, read, unanswered

_SHOW = """
import json, sys
from mitmproxy.io import FlowReader
def shown(m):
    return m and {
        "headers": [[a.decode("latin-1"), b.decode("latin-1")] for a, b in m.headers.fields],
        "trailers": m.trailers and [[a.decode("latin-1"), b.decode("latin-1")] for a, b in m.trailers.fields],
        "content": None if m.raw_content is None else m.raw_content.decode("latin-1"),
        "version": m.http_version, "start": m.timestamp_start, "end": m.timestamp_end}
for f in FlowReader(open(sys.argv[1], "rb")).stream():
    q, r = f.request, f.response
    print(json.dumps({
        "request": shown(q) | {"method": q.method, "scheme": q.scheme, "host": q.host, "port": q.port, "path": q.path,
                               "authority": q.authority, "url": q.pretty_url},
        "response": r and shown(r) | {"status": r.status_code, "reason": r.reason},
        "client": f.client_conn.peername, "client_id": f.client_conn.id, "tls": f.client_conn.tls_established,
        "server": f.server_conn.address, "peer": f.server_conn.peername, "error": f.error and f.error.msg,
        "comment": f.comment, "metadata": f.metadata, "created": f.timestamp_created}))
"""


def written(path: Path, *plain: dict[str, Any]) -> list[dict[str, Any]]:
    """What mitmproxy reads from the file that we write."""
    with open(path, "wb") as file:
        sink = Flows(inspection(), file)
        for each in plain:
            sink.add(read(each))
        sink.close()
    return [json.loads(line) for line in in_mitmproxy(_SHOW, str(path)).splitlines()]


def test_every_field_is_where_mitmproxy_looks_for_it(tmp_path: Path) -> None:
    (flow,) = written(tmp_path / "a.flow", exchange())
    assert flow["request"] == {
        "headers": [["host", "reviews:9080"], ["content-type", "application/json"], ["cookie", "a=1; b=2"]],
        "trailers": None,
        "content": '{"a": 1}',
        "version": "HTTP/1.1",
        "start": BEGAN,
        "end": BEGAN + 0.001,
        "method": "POST",
        "scheme": "http",
        "host": "reviews",
        "port": 9080,
        "path": "/reviews/0?full=1&x=%C3%A9",
        "authority": "",
        "url": "http://reviews:9080/reviews/0?full=1&x=%C3%A9",
    }
    assert flow["response"] == {
        "headers": [
            ["content-type", "text/plain; charset=utf-8"],
            ["set-cookie", "s=1; Path=/; HttpOnly"],
            ["x-caf\xe9", "y"],
        ],
        "trailers": None,
        "content": "m\u00e4de".encode().decode("latin-1"),
        "version": "HTTP/1.1",
        "start": BEGAN + 0.02,
        "end": BEGAN + 0.03,
        "status": 201,
        "reason": "Created",
    }
    assert flow["client"] == ["127.0.0.1", 40000]
    assert flow["tls"] is True
    assert flow["server"] == flow["peer"] == ["127.0.0.1", 9080]
    assert flow["error"] is None
    assert flow["created"] == BEGAN
    assert flow["comment"] == (
        "reviews-v3 inbound; route default; cluster inbound|9080||; "
        "peer spiffe://cluster.local/ns/default/sa/bookinfo-productpage; trace 4bf92f3577b34da6a3ce929d0e0e4736"
    )
    assert flow["metadata"]["remora.trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert flow["metadata"]["remora.upstream"] == "127.0.0.1:9080"


def test_http2_with_trailers_an_ipv6_upstream_and_no_port(tmp_path: Path) -> None:
    request = message([("te", "trailers")], b"x")
    answer = message([("content-type", "application/grpc")], b"y", trailers=[["grpc-status", "0"]])
    plain = exchange(
        version="HTTP/2", scheme="https", authority="shop.example", request=request, response=answer,
        upstream="[::1]:8080", status=200,
    )  # fmt: skip
    (flow,) = written(tmp_path / "a.flow", plain)
    assert (flow["request"]["host"], flow["request"]["port"]) == ("shop.example", 443)
    assert (flow["request"]["authority"], flow["request"]["version"]) == ("shop.example", "HTTP/2.0")
    assert flow["response"]["trailers"] == [["grpc-status", "0"]]
    assert flow["peer"] == ["::1", 8080]


def test_what_was_cut_or_broke_off_says_so(tmp_path: Path) -> None:
    cut = exchange(response=message([], b"begin", cut=7))
    nothing_kept = exchange(request=message([], b"", cut=9))
    broken = exchange(response=message([], b"ha", whole=False), flags="UC", details="upstream_reset", failure="reset")
    flows = written(tmp_path / "a.flow", cut, nothing_kept, broken, unanswered())

    assert "response body cut by 7 bytes" in flows[0]["comment"]
    assert flows[1]["request"]["content"] is None
    assert (flows[2]["error"], flows[2]["response"]["content"]) == ("upstream_reset reset", "ha")
    assert (flows[3]["error"], flows[3]["response"]) == ("downstream_remote_disconnect", None)


def test_requests_of_one_connection_belong_together(tmp_path: Path) -> None:
    flows = written(tmp_path / "a.flow", exchange(), exchange(), exchange(client="127.0.0.1:40001"))
    first, second, third = (flow["client_id"] for flow in flows)
    assert first == second != third


def test_mitmdump_reads_it(tmp_path: Path) -> None:
    written(tmp_path / "a.flow", exchange(), unanswered(method="GET"))
    found = inspection()
    command = [
        str(found.directory / "bin/mitmdump"),
        "--set",
        f"confdir={tmp_path}",
        "-n",
        "-r",
        str(tmp_path / "a.flow"),
    ]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert "POST http://reviews:9080/reviews/0?full=1&x=%C3%A9" in shown
    assert "<< 201 Created 5b" in shown
    assert "downstream_remote_disconnect" in shown


def test_without_mitmproxy_one_line_says_how_to_get_it(tmp_path: Path) -> None:
    with open(tmp_path / "a.flow", "wb") as file, pytest.raises(Failure, match="remora inspect install"):
        Flows(Inspection(tmp_path / "nothing"), file)
