"""Any process of the user's joins the mesh, and leaves it when it ends."""

import contextlib
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from remora.up.sockets import free_ports
from tests.integration import rules
from tests.integration.mesh import REMORA, RunningMesh, until

pytestmark = pytest.mark.mesh

SERVER = """
import http.server, json, os, sys, urllib.request
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"version": sys.argv[2], "path": self.path, "proxy": os.environ["HTTP_PROXY"]}).encode()
        if self.path == "/details":
            body = urllib.request.urlopen("http://details:9080/details/0").read()
        self.send_response(200); self.send_header("content-length", str(len(body))); self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@contextlib.contextmanager
def guest(mesh: RunningMesh, version: str, port: int) -> "Iterator[subprocess.Popen[bytes]]":
    flags = ["--service", "shop", "--version", version, "--port", str(port), "--service-port", "8000"]
    command = [sys.executable, "-c", SERVER, str(port), version]
    process = subprocess.Popen([*REMORA, "run", "--state", str(mesh.state), *flags, "--", *command])
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(15)


def _version(mesh: RunningMesh) -> str:
    answer = mesh.get_as("productpage-v1", "http://shop:8000/x")
    return str(answer.json()["version"]) if answer.status_code == 200 else ""


SUBSETS = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shop}
spec:
  host: shop
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
"""


def test_two_versions_join_take_rules_and_leave(mesh: RunningMesh) -> None:
    first, second = free_ports(2, random.Random())
    with guest(mesh, "v1", first) as v1, guest(mesh, "v2", second):
        until(lambda: _version(mesh), "the service answers", within=30)
        until(lambda: {_version(mesh) for _ in range(10)} == {"v1", "v2"}, "both versions answer", within=30)
        with mesh.applied(SUBSETS), mesh.applied(rules.all_to("shop", "v2")):
            assert {_version(mesh) for _ in range(20)} == {"v2"}
        calls_back = mesh.get_as("productpage-v1", "http://shop:8000/details").json()
        assert calls_back["author"] == "William Shakespeare"
        workloads = {proxy["workload"] for proxy in mesh.status()["proxies"]}
        assert {"shop-v1", "shop-v2"} <= workloads
        v1.send_signal(signal.SIGTERM)
        v1.wait(15)
        until(lambda: {_version(mesh) for _ in range(10)} == {"v2"}, "only v2 is left", within=20)
    until(
        lambda: not [proxy for proxy in mesh.status()["proxies"] if proxy["workload"].startswith("shop")],
        "the workloads are gone",
        within=20,
    )


@pytest.mark.parametrize("status", [0, 7])
def test_its_exit_status_is_the_commands(mesh: RunningMesh, status: int) -> None:
    port = str(free_ports(1, random.Random())[0])
    flags = ["--service", "task", "--port", port, "--", sys.executable, "-c", f"raise SystemExit({status})"]
    assert mesh.attempt("run", *flags).returncode == status


def test_a_command_that_is_not_there_is_one_line(mesh: RunningMesh) -> None:
    result = mesh.attempt("run", "--service", "task", "--port", "9", "--", "/nonexistent/program")
    assert (result.returncode, result.stderr.count("\n")) == (127, 1)


def test_nothing_survives_a_run_that_is_killed(mesh: RunningMesh, tmp_path: Path) -> None:
    port = free_ports(1, random.Random())[0]
    with guest(mesh, "v3", port) as process:
        until(lambda: len(psutil.Process(process.pid).children(recursive=True)) >= 3, "sidecar and command", within=30)
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        _, alive = psutil.wait_procs(children, timeout=10)
        assert alive == []
    # It could not take itself out of the mesh: `up` notices.
    until(lambda: "shop-v3" not in {proxy["workload"] for proxy in mesh.status()["proxies"]}, "it is out", within=30)


def test_a_name_that_is_taken_is_one_line(mesh: RunningMesh) -> None:
    result = mesh.attempt("run", "--service", "reviews", "--version", "v1", "--port", "9", "--", "true")
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert "another --name" in result.stderr
    assert mesh.get_as("productpage-v1", "http://reviews:9080/reviews/0").status_code == 200


def test_it_outlives_the_mesh_and_joins_the_next(tmp_path: Path) -> None:
    port = free_ports(1, random.Random())[0]
    state = tmp_path / "state"
    with contextlib.ExitStack() as stack:
        with RunningMesh.up(state) as mesh:
            stack.enter_context(guest(mesh, "v1", port))
            until(lambda: _version(mesh), "the service answers", within=30)
        with RunningMesh.up(state) as mesh:
            mesh.wait_synced(within=20)
            until(lambda: _version(mesh), "the service answers again", within=30)
            assert "shop-v1" in {proxy["workload"] for proxy in mesh.status()["proxies"]}
            stack.close()
