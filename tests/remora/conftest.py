"""A state directory whose control plane is a small fake."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from remora import cli


@dataclass
class FakeControl:
    """Answers by method and path; remembers what it was asked."""

    state: Path
    answers: dict[tuple[str, str], tuple[int, Any]] = field(default_factory=dict)
    requests: list[tuple[str, str, Any]] = field(default_factory=list)

    def answer(self, method: str, path: str, body: Any, status: int = 200) -> None:
        self.answers[method, path] = (status, body)


def _certificate() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test root")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.fixture
def control(tmp_path: Path) -> Iterator[FakeControl]:
    """A fake control plane, described in a state directory as the real one does."""
    state = tmp_path / "state"
    (state / "ca").mkdir(parents=True)
    (state / "ca" / "root.pem").write_bytes(_certificate())
    (state / "admin.token").write_text("secret-token\n")
    (state / "admin.token").chmod(0o600)
    fake = FakeControl(state)

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            length = int(self.headers.get("content-length", 0))
            body = json.loads(self.rfile.read(length)) if length else None
            fake.requests.append((self.command, self.path, body))
            if self.headers["authorization"] != "Bearer secret-token":
                status, answer = 401, {"error": "unauthenticated"}
            else:
                status, answer = fake.answers.get((self.command, self.path), (404, {"error": f"no {self.path}"}))
            data = b"" if status == 204 else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = _answer

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    (state / "control.json").write_text(json.dumps({"rest": f"http://127.0.0.1:{server.server_port}", "pid": 1}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass(frozen=True)
class Result:
    """What a command did."""

    status: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


Remora = Callable[..., Result]


@pytest.fixture
def remora(control: FakeControl, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Remora:
    """`remora("get", "vs")` runs a subcommand against the fake control plane."""
    monkeypatch.setenv("REMORA_STATE", str(control.state))

    def run(*argv: str) -> Result:
        status = cli.run(argv)
        captured = capsys.readouterr()
        return Result(status, captured.out, captured.err)

    return run
