"""`remora tap` and addon scripts in the whole mesh, as a user has them."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.mesh import REMORA, RunningMesh, until
from tests.remora.inspection import DIRECTORY, in_mitmproxy, inspection

pytestmark = pytest.mark.mesh


@contextmanager
def tapping(mesh: RunningMesh, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """`remora tap` that has begun; ended by Ctrl-C if it has not ended by itself."""
    workload = arguments[0]
    admin = mesh.info["workloads"][workload]["admin"]
    before = _opened(admin)
    process = subprocess.Popen(
        [*REMORA, "tap", "--state", str(mesh.state), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "REMORA_INSPECT": str(DIRECTORY)},
    )
    try:
        until(lambda: _opened(admin) > before or process.poll() is not None, "the tap is open")
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)


@pytest.fixture
def inspected_mesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningMesh]:
    """A mesh whose sidecars find mitmproxy."""
    monkeypatch.setenv("REMORA_INSPECT", str(inspection().directory))
    with RunningMesh.up(tmp_path / "state") as running:
        yield running


def _opened(admin: str) -> float:
    text = httpx.get(f"{admin}/stats/prometheus", trust_env=False).text
    (line,) = [line for line in text.splitlines() if line.startswith("remora_agent_taps_opened_total ")]
    return float(line.split()[1])


def test_a_request_is_seen_at_each_sidecar_that_it_passes(mesh: RunningMesh) -> None:
    with tapping(mesh, "productpage-v1", "-o", "json", "--direction", "outbound", "--path", "/reviews/*") as process:
        assert httpx.get(f"{mesh.info['ingress']}/productpage", trust_env=False).status_code == 200
        assert process.stdout is not None
        first: dict[str, Any] = json.loads(process.stdout.readline())
    _, told = process.communicate(timeout=20)
    assert (process.returncode, "seen" in told) == (0, True)
    assert first["target"].startswith("/reviews/")
    assert first["cluster"].startswith("outbound|9080|")
    assert first["status"] == 200
    assert first["request"]["whole"]
    assert first["response"]["whole"]


def test_a_flow_file_of_the_mesh_opens_in_mitmproxy(mesh: RunningMesh, tmp_path: Path) -> None:
    inspection()
    path = tmp_path / "a.flow"
    arguments = ("reviews-v1", "-o", "flow", "--output", str(path), "--direction", "inbound", "--max", "2")
    with tapping(mesh, *arguments) as process:
        deadline = time.monotonic() + 20
        while process.poll() is None and time.monotonic() < deadline:
            httpx.get(f"{mesh.info['ingress']}/productpage", trust_env=False)
    _, told = process.communicate(timeout=20)
    assert (process.returncode, "2 shown" in told) == (0, True), told
    program = """
import sys
from mitmproxy.io import FlowReader
for f in FlowReader(open(sys.argv[1], "rb")).stream():
    print(f.request.method, f.request.path.split("/")[1], f.response.status_code, f.metadata["remora.peer"])
"""
    peer = "spiffe://cluster.local/ns/default/sa/bookinfo-productpage"
    assert in_mitmproxy(program, str(path)).splitlines() == [f"GET reviews 200 {peer}"] * 2


def test_a_workload_that_does_not_exist_is_one_line(mesh: RunningMesh) -> None:
    result = mesh.attempt("tap", "nobody")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("no workload nobody is registered; known: ")
    assert result.stderr.count("\n") == 1


RULE = """
apiVersion: inspect.remora.dev/v1
kind: RequestAddon
metadata: {name: ratings, namespace: default}
spec:
  selector: {matchLabels: {app: ratings}}
  match: {path: /ratings/}
  script: ratings.py
  timeout: 10s
"""
SCRIPT = """
from mitmproxy import http

def request(flow: http.HTTPFlow) -> None:
    flow.response = http.Response.make(200, b'{"id": 0, "ratings": {"Reviewer1": 1, "Reviewer2": 1}}',
                                       {"content-type": "application/json"})
"""


def test_an_addon_script_answers_instead_of_a_service(inspected_mesh: RunningMesh) -> None:
    (inspected_mesh.state / "addons/ratings.py").write_text(SCRIPT)
    inspected_mesh.apply(RULE)
    inspected_mesh.wait_synced()
    with tapping(inspected_mesh, "ratings-v1", "-o", "json", "--direction", "inbound", "--max", "1") as process:
        deadline = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < deadline:
            httpx.get(f"{inspected_mesh.info['ingress']}/productpage", trust_env=False)
    out, _ = process.communicate(timeout=20)
    seen = json.loads(out.splitlines()[0])
    assert (seen["status"], seen["details"]) == (200, "addon_response{default/ratings}")
    assert "ratings" in inspected_mesh.remora("get", "requestaddons")
