"""CONNECT through two sidecars of a running mesh, by an application whose HTTPS_PROXY is its sidecar."""

import asyncio
import json
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvloop

from remora.up.sockets import free_ports
from sidecar.config.endpoint import Address
from tests.integration.debian import program
from tests.integration.guests import running
from tests.integration.mesh import RunningMesh, until
from tests.integration.test_connections import logged
from tests.sidecar.worker.h2_peers import H2Client

pytestmark = pytest.mark.mesh

TELL = """
import os, sys, time
open(sys.argv[1], "w").write(os.environ["HTTPS_PROXY"])
time.sleep(600)
"""

HTTPS_SERVER = """
import http.server, os, ssl, sys
os.chdir(sys.argv[2])
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[3], sys.argv[4])
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Of `files`, which the client knows; and its key."""
    folder = tmp_path_factory.mktemp("https")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
         "2", "-subj", "/CN=files", "-addext", "subjectAltName=DNS:files,DNS:web", "-keyout", str(key), "-out",
         str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


@pytest.fixture(scope="module")
def proxy(mesh: RunningMesh, certificate: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The HTTPS_PROXY of a workload beside one that serves files by TLS of its own at `files:8443`."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "page").write_bytes(b"x" * 300_000)
    told = folder.parent / "proxy"
    (port,) = free_ports(1, random.Random())
    server = (sys.executable, "-c", HTTPS_SERVER, str(port), str(folder), *map(str, certificate))
    flags = ("--port", str(port), "--service-port", "8443", "--protocol", "tls")
    client = (sys.executable, "-c", TELL, str(told))
    with (
        running(mesh, "files", *flags, command=server),
        running(mesh, "tunneller", "--https-proxy", command=client),
    ):
        until(lambda: told.exists() and told.read_text(), "the application has its proxy")
        yield told.read_text()


def curl(proxy: str, url: str, *more: str) -> tuple[str, bytes]:
    """What curl says of the proxy's answer and of the page's, and the page."""
    argv = [
        program("curl"),
        "-sS",
        "-p",
        "-x",
        proxy,
        "--max-time",
        "20",
        "-w",
        "\n%{http_connect} %{http_code}",
        *more,
    ]
    result = subprocess.run([*argv, url], capture_output=True, timeout=30, check=False)
    page, _, codes = result.stdout.rpartition(b"\n")
    return codes.decode(), page


def test_curl_reaches_https_behind_both_sidecars(mesh: RunningMesh, proxy: str, certificate: tuple[Path, Path]) -> None:
    trusted = ("--cacert", str(certificate[0]))

    def fetched() -> bool:
        return curl(proxy, "https://files:8443/page", *trusted) == ("200 200", b"x" * 300_000)

    until(fetched, "the page comes through the tunnel, with the server's own certificate verified")
    tunnels = [each for each in _records(mesh, "tunneller-v1") if each["response_code"] == 200]
    record = tunnels[-1]
    assert (record["method"], record["authority"], record["route_name"]) == ("CONNECT", "files:8443", "tunnel")
    assert record["bytes_sent"] > 300_000 > record["bytes_received"] > 100
    until(lambda: _relayed(mesh), "the other side relays bytes in mutual TLS")
    assert _relayed(mesh)["source_principal"].endswith("/ns/default/sa/tunneller")


def _records(mesh: RunningMesh, workload: str) -> list[dict[str, object]]:
    until(lambda: [each for each in logged(mesh, workload) if each["method"] == "CONNECT"], "the tunnel is in the log")
    return [each for each in logged(mesh, workload) if each["method"] == "CONNECT"]


def _relayed(mesh: RunningMesh) -> dict[str, str]:
    found = [each for each in logged(mesh, "files-v1") if each["protocol"] == "TCP" and each["bytes_sent"] > 300_000]
    return found[-1] if found else {}


@pytest.mark.parametrize(
    ("url", "codes"),
    [
        pytest.param("https://nobody.example/", "502 000", id="a host that nobody knows"),
        pytest.param("https://files:9/", "502 000", id="a port that nobody serves"),
        pytest.param("http://details:9080/details/0", "403 000", id="a port of requests, which have rules"),
    ],
)
def test_there_is_no_tunnel_to(mesh: RunningMesh, proxy: str, url: str, codes: str) -> None:
    assert curl(proxy, url)[0] == codes


def test_requests_go_on_as_before(mesh: RunningMesh, proxy: str) -> None:
    answer = httpx.get("http://details:9080/details/0", proxy=proxy)
    assert json.loads(answer.text)["id"] == 0


def test_a_tunnel_by_http_2(mesh: RunningMesh, proxy: str) -> None:
    """curl of Debian knows no proxy that speaks HTTP/2; the h2 library does."""

    async def hello() -> bytes:
        host, _, port = proxy.removeprefix("http://").partition(":")
        clients = H2Client()
        try:
            peer = await clients.connect(Address(host, int(port)))
            stream = peer.open([(b":method", b"CONNECT"), (b":authority", b"files:8443")], end=False)
            await peer.until(lambda: stream.fields, "the tunnel")
            assert stream.status == 200
            await peer.send(stream, b"GET / HTTP/1.0\r\n\r\n")  # no TLS: the server says so in its own way
            await peer.until(lambda: stream.body or stream.ended or stream.reset is not None, "its answer")
            return bytes(stream.body)
        finally:
            await clients.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(hello())[:1] in (b"\x15", b""), "a TLS alert, or the end"


def test_a_half_that_ends_is_passed_on(mesh: RunningMesh, proxy: str) -> None:
    """Until the other half ends too."""
    host, _, port = proxy.removeprefix("http://").partition(":")
    (own,) = free_ports(1, random.Random())
    upper = (
        "import socket, sys\n"
        "s = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n"
        "while True:\n"
        "    c, _ = s.accept()\n"
        "    said = b''.join(iter(lambda: c.recv(65536), b''))\n"
        "    c.sendall(said.upper()); c.close()\n"
    )
    flags = ("--port", str(own), "--service-port", "7000", "--protocol", "tcp")
    with running(mesh, "upper", *flags, command=(sys.executable, "-c", upper, str(own))):

        def shouted() -> bool:
            with socket.create_connection((host, int(port)), timeout=10) as connection:
                connection.sendall(b"CONNECT upper:7000 HTTP/1.1\r\nHost: upper:7000\r\n\r\nhello ")
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    piece = connection.recv(1)
                    if not piece:
                        return False
                    head += piece
                if not head.startswith(b"HTTP/1.1 200"):
                    return False
                connection.sendall(b"you")
                connection.shutdown(socket.SHUT_WR)
                return b"".join(iter(lambda: connection.recv(65536), b"")) == b"HELLO YOU"

        until(shouted, "what was said comes back behind our end")
