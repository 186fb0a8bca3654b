"""Every mistake is told with file, line, rule and field; nothing of that call is stored."""

import json
import os
import re
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.integration.mesh import REMORA, RunningMesh, until

pytestmark = pytest.mark.mesh

GOOD = """apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: fine}
spec:
  hosts: [details]
  http:
  - route:
    - destination: {host: details}
---
"""
HEAD = """apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
"""
ROUTE = "  - route:\n    - destination: {host: reviews, subset: v1}\n"

IN_ROUTE = r"VirtualService/reviews: spec\.http\[0\]\.route"
MISTAKES = {
    "an unknown field": (HEAD + ROUTE + "      wieght: 80\n", IN_ROUTE + r"\[0\]\.wieght: .*weight"),
    "a mistyped value": (HEAD + ROUTE + "      weight: many\n", IN_ROUTE + r"\[0\]\.weight: "),
    "weights that do not add up": (
        HEAD + ROUTE + "      weight: 50\n    - destination: {host: reviews, subset: v3}\n      weight: 40\n",
        IN_ROUTE + r".*: .*100",
    ),
    "a missing subset": (
        HEAD + "  - route:\n    - destination: {host: reviews, subset: v9}\n",
        IN_ROUTE + r"\[0\]\.destination\.subset: ",
    ),
    "a missing host": (
        HEAD + "  - route:\n    - destination: {host: rewiews}\n",
        IN_ROUTE + r"\[0\]\.destination\.host: .*reviews",
    ),
    "a rule that is there twice": (
        HEAD + ROUTE + "---\n" + HEAD + ROUTE,
        r"VirtualService/reviews: metadata\.name: .*twice",
    ),
    "an unknown kind": (
        "apiVersion: networking.istio.io/v1\nkind: VirtualServise\nmetadata: {name: x}\n",
        r"VirtualServise/x: kind: ",
    ),
    "no YAML": ("a: [b\n", r""),
    "tabs": ("kind: VirtualService\n\tname: x\n", r".*tab"),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_is_told_where_it_is_and_nothing_is_stored(mesh: RunningMesh, tmp_path: Path, what: str) -> None:
    text, pattern = MISTAKES[what]
    path = tmp_path / "rules.yaml"
    path.write_text(GOOD + text)
    before = json.loads(mesh.remora("get", "all", "-o", "json"))
    for command in ("analyze", "apply"):
        result = mesh.attempt(command, "-f", str(path))
        assert result.returncode == 1, result
        assert result.stdout == ""
        lines = result.stderr.splitlines()
        assert any(re.match(rf"{path}:\d+: {pattern}", line) for line in lines), result.stderr
        assert all(line.startswith(f"{path}:") for line in lines), result.stderr
        assert all(int(line.removeprefix(f"{path}:").split(":")[0]) > GOOD.count("\n") for line in lines), lines
    assert json.loads(mesh.remora("get", "all", "-o", "json")) == before


def test_an_empty_file_is_a_mistake(mesh: RunningMesh, tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    for content in ("", "# nothing\n", "---\n"):
        path.write_text(content)
        result = mesh.attempt("apply", "-f", str(path))
        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr.startswith(f"{path}:1: ")


def test_a_file_of_50_mb_is_refused_at_once(mesh: RunningMesh, tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    with open(path, "wb") as file:
        for _ in range(50):
            file.write(b"# " + b"x" * 999_997 + b"\n")
    for command in ("apply", "analyze"):
        result = mesh.attempt(command, "-f", str(path))
        assert (result.returncode, result.stderr.count("\n")) == (1, 1)
        assert result.stderr.startswith(f"{path}:1: has 50,000,000 bytes")


def test_analyze_needs_no_mesh(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(HEAD + ROUTE + "      wieght: 80\n")
    argv = [*REMORA, "analyze", "--state", str(tmp_path / "none"), "-f", str(path)]
    result = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert re.match(rf"{path}:9: VirtualService/reviews: spec\.http\[0\]\.route\[0\]\.wieght: ", result.stderr)
    assert not os.path.exists(tmp_path / "none")


def test_the_stored_rules_of_a_new_mesh_have_no_problem(mesh: RunningMesh) -> None:
    assert mesh.remora("analyze") == "no problem found\n"


def test_a_configuration_that_a_sidecar_rejects_is_shown_and_the_last_one_serves(own_mesh: RunningMesh) -> None:
    """Details' outbound listener is moved to a port that somebody else has: only the sidecar can find that out."""
    mesh = own_mesh
    document = json.loads(mesh.remora("get", "Workload", "details-v1", "-o", "json"))
    good = {**document["metadata"], **document["spec"]}
    url = "http://details:9080/details/0"
    with socket.create_server(("127.0.0.1", 0)) as taken, mesh.control() as control:
        outbound = f"127.0.0.1:{taken.getsockname()[1]}"
        control.register(good | {"outbound": outbound})

        def rejected() -> dict[str, Any]:
            proxies = {proxy["workload"]: proxy for proxy in mesh.status()["proxies"]}
            return proxies["details-v1"] if proxies["details-v1"]["state"] == "rejected" else {}

        proxy = until(rejected, "the sidecar rejects it")
        assert any(each["type"] == "LDS" and "address" in each["path"] for each in proxy["rejections"]), proxy
        shown = mesh.remora("status")
        assert re.search(r"^rejected by details-v1: LDS: .*virtualOutbound.*address", shown, re.MULTILINE), shown
        assert outbound in shown
        assert mesh.attempt("status", "--wait", "0").returncode == 1
        assert mesh.get_as("productpage-v1", url).status_code == 200
        assert mesh.get_as("details-v1", "http://ratings:9080/ratings/0").status_code == 200, "its old listener serves"
        control.register(good)
    mesh.wait_synced()
    assert mesh.get_as("productpage-v1", url).status_code == 200
