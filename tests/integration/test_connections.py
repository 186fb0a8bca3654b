"""Bytes of any kind through two sidecars with mutual TLS between: real servers and clients that know of no proxy."""

import json
import random
import re
import smtplib
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from collectors.store.reader import Reader
from mesh.records import ACCESS_TAG
from remora.up.sockets import free_ports
from tests.integration.debian import program
from tests.integration.guests import client_of, running
from tests.integration.mesh import RunningMesh, until

pytestmark = pytest.mark.mesh

SMTP_SERVER = """
import asyncio, sys
from aiosmtpd.smtp import SMTP
class Handler:
    async def handle_DATA(self, server, session, envelope):
        return "250 took %d bytes" % len(envelope.content)
async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Handler(), hostname="mail.example"), "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()
asyncio.run(main())
"""

HTTP_SERVER = """
import http.server, os, sys
os.chdir(sys.argv[2])
http.server.test(http.server.SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind="127.0.0.1")
"""


def a_port() -> int:
    (port,) = free_ports(1, random.Random())
    return port


def answers(port: int) -> bool:
    """Something comes back on a connection to this port that says nothing."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        return bool(connection.recv(1))


def metrics(mesh: RunningMesh, workload: str, name: str) -> list[dict[str, str]]:
    """Labels of a metric's samples as the workload's sidecar shows them; the value is under ""."""
    targets = json.loads((mesh.state / "targets.json").read_text())
    (address,) = [each["targets"][0] for each in targets if each["labels"]["workload"] == workload]
    text = httpx.get(f"http://{address}/metrics", trust_env=False).text
    found = []
    for line in text.splitlines():
        if line.startswith(name + "{"):
            labels, _, value = line.removeprefix(name + "{").rpartition("} ")
            found.append(dict(re.findall(r'(\w+)="([^"]*)"', labels)) | {"": value})
    return found


def logged(mesh: RunningMesh, workload: str) -> list[dict[str, Any]]:
    """The workload's access records."""
    reader = Reader.open(mesh.state / "store/telemetry.sqlite", time_limit_s=30)
    try:
        return [dict(entry.body) for entry in reader.logs(workload=workload, tag=ACCESS_TAG, limit=1000)]
    finally:
        reader.close()


def test_redis_with_its_own_client(mesh: RunningMesh, tmp_path: Path) -> None:
    server, cli = program("redis-server"), program("redis-cli")
    port = a_port()
    command = (server, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path))
    with (
        running(mesh, "cache", "--port", str(port), "--service-port", "6379", "--protocol", "redis", command=command),
        client_of(mesh, "cache:6379") as local,
    ):

        def redis(*words: str, stdin: bytes | None = None) -> bytes:
            argv = [cli, "-p", str(local), *words]
            result = subprocess.run(argv, input=stdin, capture_output=True, timeout=30, check=True)
            return result.stdout.strip()

        until(lambda: redis("PING") == b"PONG", "Redis answers")
        big = random.Random(1).randbytes(3 << 20).hex().encode()
        assert redis("-x", "SET", "big", stdin=big) == b"OK"
        assert redis("GET", "big") == big
        pipeline = b"".join(b"INCR n\r\n" for _ in range(5000))
        assert redis(stdin=pipeline).split()[-1] == b"5000"

        subscriber = subprocess.Popen(
            [cli, "-p", str(local), "--csv", "SUBSCRIBE", "news"], stdout=subprocess.PIPE, text=True
        )
        assert subscriber.stdout is not None
        assert any(line.startswith('"subscribe"') for line in subscriber.stdout)
        assert redis("PUBLISH", "news", "hello") == b"1"
        assert subscriber.stdout.readline().strip() == '"message","news","hello"'

        # While the subscriber's connection lives it is counted, on both sides.
        def living(workload: str, reporter: str) -> bool:
            opened = metrics(mesh, workload, "istio_tcp_connections_opened_total")
            closed = metrics(mesh, workload, "istio_tcp_connections_closed_total")
            sent = metrics(mesh, workload, "istio_tcp_sent_bytes_total")
            ours = [each for each in opened if each["reporter"] == reporter]
            for each in ours:
                assert each["request_protocol"] == "tcp"
                assert each["destination_service"] == "cache.default.svc.cluster.local"
                assert each["source_principal"].endswith("/ns/default/sa/caller")
                assert each["destination_principal"].endswith("/ns/default/sa/cache")
            total = [sum(float(each[""]) for each in family) for family in (opened, closed, sent)]
            return bool(ours) and total[0] == total[1] + 1 and total[2] > len(big)

        until(lambda: living("caller-v1", "source"), "the caller's side is counted")
        until(lambda: living("cache-v1", "destination"), "the called side is counted")
        sent = metrics(mesh, "cache-v1", "istio_tcp_sent_bytes_total")
        assert {each["connection_security_policy"] for each in sent} == {"mutual_tls"}
        subscriber.terminate()
        subscriber.wait()
        subscriber.stdout.close()

        def told() -> bool:
            records = [each for each in logged(mesh, "cache-v1") if each["protocol"] == "TCP"]
            return any(each["bytes_sent"] > len(big) and each["source_principal"] for each in records)

        until(told, "the connections are in the log")


@pytest.mark.parametrize("protocol", ["tcp", "auto"])
def test_a_server_that_speaks_first_is_not_waited_for(mesh: RunningMesh, protocol: str) -> None:
    port = a_port()
    command = (sys.executable, "-c", SMTP_SERVER, str(port))
    flags = ("--port", str(port), "--service-port", "2525", "--protocol", protocol)
    with (
        running(mesh, f"mail-{protocol}", *flags, command=command),
        client_of(mesh, f"mail-{protocol}:2525", name=f"sender-{protocol}") as local,
    ):
        until(lambda: answers(local), "the greeting comes")
        waits = []
        for _ in range(5):
            began = time.monotonic()
            assert answers(local)
            waits.append(time.monotonic() - began)
        assert min(waits) < (0.1 if protocol == "tcp" else 0.2), waits
        with smtplib.SMTP("127.0.0.1", local, timeout=20) as smtp:
            refused = smtp.sendmail("a@a.example", ["b@b.example"], b"Subject: x\r\n\r\n" + b"text\r\n" * 50_000)
        assert refused == {}


def test_a_port_of_unknown_protocol_may_speak_http(mesh: RunningMesh, tmp_path: Path) -> None:
    (tmp_path / "page.txt").write_text("found")
    port = a_port()
    command = (sys.executable, "-c", HTTP_SERVER, str(port), str(tmp_path))
    flags = ("--port", str(port), "--service-port", "8080", "--protocol", "auto")
    with running(mesh, "pages", *flags, command=command), client_of(mesh, "pages:8080", name="browser") as local:

        def page() -> str:
            try:
                return httpx.get(f"http://127.0.0.1:{local}/page.txt", trust_env=False).text
            except httpx.TransportError:
                return ""

        until(lambda: page() == "found", "the page comes through the address of its own")
        assert mesh.get_as("productpage-v1", "http://pages:8080/page.txt").text == "found"
        until(lambda: metrics(mesh, "pages-v1", "istio_requests_total"), "the requests are counted")
        requests = metrics(mesh, "pages-v1", "istio_requests_total")
        assert {each["connection_security_policy"] for each in requests} == {"mutual_tls"}
        assert metrics(mesh, "pages-v1", "istio_tcp_connections_opened_total") == []


def test_an_application_s_own_tls_is_passed_through(mesh: RunningMesh, tmp_path: Path) -> None:
    openssl = program("openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=db.example", "-addext", "subjectAltName=DNS:db.example", "-keyout", str(key), "-out",
         str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    port = a_port()
    command = (
        openssl, "s_server", "-accept", f"127.0.0.1:{port}", "-cert", str(certificate), "-key", str(key), "-rev",
        "-quiet",
    )  # fmt: skip
    with (
        running(mesh, "db", "--port", str(port), "--service-port", "8443", "--protocol", "tls", command=command),
        client_of(mesh, "db:8443", name="dbclient") as local,
    ):
        client = [
            openssl, "s_client", "-connect", f"127.0.0.1:{local}", "-servername", "db.example", "-CAfile",
            str(certificate), "-verify_hostname", "db.example", "-verify_return_error", "-quiet",
            "-no_ign_eof",
        ]  # fmt: skip

        def reversed_() -> bool:
            argv = [*client[:-1], "-ign_eof"]
            process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(b"remora\n")
                process.stdin.flush()
                return process.stdout.readline() == b"aromer\n"
            finally:
                process.kill()
                process.communicate()

        until(reversed_, "the server's own certificate is seen and verified through both sidecars", within=20)
        until(lambda: logged(mesh, "db-v1"), "the connections are in the log")
        assert {each["protocol"] for each in logged(mesh, "db-v1")} == {"TCP"}
