"""Tapped requests as a sidecar would tell them, and a sidecar that tells them."""

import base64
import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from remora.tap.records import Exchange, read_line

BEGAN = 1_700_000_000.25


def message(headers: Sequence[tuple[str, str]] = (), body: bytes = b"", **changes: Any) -> dict[str, Any]:
    plain = {
        "headers": [list(pair) for pair in headers],
        "trailers": [],
        "body": base64.b64encode(body).decode(),
        "cut": 0,
        "whole": True,
        "began": BEGAN,
        "ended": BEGAN + 0.001,
    }
    return plain | {"body_bytes": len(body) + changes.get("cut", 0)} | changes


def exchange(**changes: Any) -> dict[str, Any]:
    """A line as it comes, decoded."""
    plain = {
        "type": "exchange",
        "workload": "reviews-v3",
        "direction": "inbound",
        "method": "POST",
        "scheme": "http",
        "authority": "reviews:9080",
        "target": "/reviews/0?full=1&x=%C3%A9",
        "version": "HTTP/1.1",
        "request": message(
            [("host", "reviews:9080"), ("content-type", "application/json"), ("cookie", "a=1; b=2")], b'{"a": 1}'
        ),
        "status": 201,
        "response": message(
            [
                ("content-type", "text/plain; charset=utf-8"),
                ("set-cookie", "s=1; Path=/; HttpOnly"),
                ("x-caf\xe9", "y"),
            ],
            "m\u00e4de".encode(),
            began=BEGAN + 0.02,
            ended=BEGAN + 0.03,
        ),
        "flags": "",
        "details": "via_upstream",
        "failure": None,
        "client": "127.0.0.1:40000",
        "peer": "spiffe://cluster.local/ns/default/sa/bookinfo-productpage",
        "upstream": "127.0.0.1:9080",
        "upstream_s": 0.015,
        "cluster": "inbound|9080||",
        "route": "default",
        "attempts": 1,
        "request_id": "d1b5",
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    }
    return plain | changes


def unanswered(**changes: Any) -> dict[str, Any]:
    """A client that left."""
    gone = {"status": 0, "response": None, "flags": "DC", "details": "downstream_remote_disconnect"}
    return exchange(**gone, **changes)


def read(plain: dict[str, Any]) -> Exchange:
    found = read_line(plain)
    assert isinstance(found, Exchange)
    return found


@dataclass
class FakeSidecar:
    """An admin endpoint that streams `lines`, then waits for the client to hang up, and ends with `counts`."""

    lines: list[dict[str, Any]]
    end: dict[str, Any] | None = None
    """Sent at once after the lines; None: when the client hangs up."""
    refusal: tuple[int, str] | None = None
    wishes: list[dict[str, Any]] = field(default_factory=list)
    told: threading.Event = field(default_factory=threading.Event)
    """The lines have been sent."""
    url: str = ""


@contextmanager
def serving(sidecar: FakeSidecar) -> Iterator[FakeSidecar]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            sidecar.wishes.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.close_connection = True
            if sidecar.refusal is not None:
                status, text = sidecar.refusal
                self.send_response(status)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())
                return
            self.send_response(200)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for line in [{"type": "tap", "workload": "reviews-v3", "seconds": 60}, *sidecar.lines]:
                self._chunk(line)
            sidecar.told.set()
            end = sidecar.end
            if end is None:
                self.connection.settimeout(10)
                assert self.connection.recv(1) == b"", "the client hangs up, no more"
                count = len(sidecar.lines)
                end = {"type": "end", "matched": count + 2, "sent": count, "dropped": 2, "why": "client"}
            self._chunk(end)
            self.wfile.write(b"0\r\n\r\n")

        def _chunk(self, plain: dict[str, Any]) -> None:
            data = json.dumps(plain).encode() + b"\n"
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
            self.wfile.flush()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sidecar.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield sidecar
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
