"""The visitors sign in as people do, and end with their lifeline."""

import http.server
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from remora.up.load import VISITS, Visitors


@dataclass
class Site:
    url: str = ""
    seen: list[tuple[str, str, str | None]] = field(default_factory=list)


@pytest.fixture
def site() -> Iterator[Site]:
    record = Site()

    class Handler(http.server.BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            record.seen.append((self.command, self.path, self.headers["cookie"]))
            self.send_response(302 if self.path == "/login" else 200)
            if self.path == "/login":
                self.send_header("set-cookie", "session=abc; HttpOnly; Path=/")
            self.send_header("content-length", "0")
            self.end_headers()

        do_GET = do_POST = _answer

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    record.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield record
    server.shutdown()
    thread.join()
    server.server_close()


def test_every_kind_of_visit_happens_and_each_user_signs_in_once(site: Site) -> None:
    visitors = Visitors(site.url, random.Random(1))
    assert {visitors.visit() for _ in range(100)} == {200}
    assert {path for _, path, _ in site.seen} == {"/login"} | {path for _, _, path in VISITS}
    assert sum(path == "/login" for _, path, _ in site.seen) == 2
    assert any(cookie == "session=abc" and path == "/productpage" for _, path, cookie in site.seen)


def test_a_site_that_is_away_is_no_error(unused_tcp_port: int) -> None:
    assert Visitors(f"http://127.0.0.1:{unused_tcp_port}", random.Random(1)).visit() == 0


def test_it_ends_with_its_lifeline(site: Site) -> None:
    read_end, write_end = os.pipe()
    argv = [sys.executable, "-m", "remora.up.load", "--url", site.url, "--rate", "50", "--lifeline-fd", str(read_end)]
    process = subprocess.Popen(argv, pass_fds=[read_end])
    os.close(read_end)
    os.close(write_end)
    assert process.wait(timeout=20) == 0
