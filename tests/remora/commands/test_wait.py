"""`remora wait`."""

import http.server
import socket
import threading
from collections.abc import Iterator

import pytest

from remora.cli import run


class Sidecar:
    """Says that it is not ready so many times."""

    def __init__(self, times: int) -> None:
        self.asked: list[str] = []
        sidecar = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                sidecar.asked.append(self.path)
                ready = len(sidecar.asked) > times
                body = b"LIVE\n" if ready else b"PRE_INITIALIZING\n"
                self.send_response(200 if ready else 503)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing."""

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/healthz/ready"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def sidecar(request: pytest.FixtureRequest) -> Iterator[Sidecar]:
    made = Sidecar(request.param)
    yield made
    made.close()


@pytest.mark.parametrize("sidecar", [3], indirect=True)
def test_it_returns_when_the_sidecar_is_ready(sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")  # which may be the sidecar that is waited for
    assert run(["wait", "--timeout", "10", "--every", "0.01", "--url", sidecar.url]) == 0
    assert sidecar.asked == ["/healthz/ready"] * 4


@pytest.mark.parametrize("sidecar", [1000], indirect=True)
def test_in_time_or_not_at_all(sidecar: Sidecar, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["wait", "--timeout", "0.2", "--every", "0.05", "--url", sidecar.url]) == 1
    said = capsys.readouterr().err
    assert said == f"remora wait: the sidecar is not ready after 0.2 s: {sidecar.url} answers 503 'PRE_INITIALIZING'\n"


def test_who_listens_and_says_nothing_is_not_waited_for_longer(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        assert run(["wait", "--timeout", "0.3", "--every", "0.1", "--url", url]) == 1
    assert "timed out" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--timeout=0", "--timeout=x", "--every=-1", "--url=https://a/", "--url=a", "more"])
def test_wrong_use_is_exit_status_2(flag: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(["wait", flag])
    assert stopped.value.code == 2
