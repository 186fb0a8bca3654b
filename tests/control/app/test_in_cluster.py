"""The control plane of a cluster as a process: what it waits for, what it says, and what it refuses to start with."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.cluster import Cluster, until
from tests.e2e.control import PYTHON, SHORT_TERM, LeastPrivileged
from tests.e2e.fake_server import FakeInThread
from tests.e2e.places import Here


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    here = Here()
    with contextlib.ExitStack() as stack:
        stack.callback(here.close)
        made = Cluster(FakeInThread(tmp_path / "server"), here)
        stack.callback(made.close)
        made.start()
        yield made


def fake(cluster: Cluster) -> FakeInThread:
    assert isinstance(cluster.server, FakeInThread)
    return cluster.server


def begun(cluster: Cluster, directory: Path) -> LeastPrivileged:
    """Installed, and started without waiting for anything."""
    control = LeastPrivileged(cluster, directory / "control", *SHORT_TERM)
    cluster.install(control.ports["webhook"])
    cluster.kubeconfig_of(cluster.token("remora-system", "remora-control"), control._kubeconfig)
    control.begin()
    return control


def asked(control: LeastPrivileged, path: str) -> httpx.Response | None:
    """As a kubelet asks: by address, without a token, without looking at the certificate."""
    url = f"https://127.0.0.1:{control.ports['rest']}{path}"
    try:
        return httpx.get(url, verify=False, trust_env=False, timeout=5)
    except httpx.TransportError:
        return None


def ready(control: LeastPrivileged) -> int:
    answer = asked(control, "/readyz")
    return answer.status_code if answer is not None else 0


def test_it_lives_but_is_not_ready_until_everything_was_read_and_serves_nobody_before(
    cluster: Cluster, tmp_path: Path
) -> None:
    server = fake(cluster)
    server.do(lambda: server.fake.access.forbidden.add(("list", "", "pods")))
    control = begun(cluster, tmp_path)
    until(lambda: ready(control) == 503 and "pods" in asked(control, "/readyz").text, "it says what is missing", 20)
    answer = asked(control, "/readyz")
    assert answer is not None
    until(
        lambda: asked(control, "/readyz").json()["waiting_for"] == ["pods (forbidden)"], "pods are all that is missing"
    )
    assert asked(control, "/livez").status_code == 200
    assert asked(control, "/v1/status").status_code == 503
    assert 'grant verb "list" on resource "pods"' in control.said()
    server.do(server.fake.access.forbidden.clear)
    control.await_ready()
    assert ready(control) == 200
    assert control.get("/v1/status").status_code == 200
    refused = registering(control)
    assert refused.status_code == 400
    assert "remora.io/injection=enabled" in refused.json()["error"]
    assert control.end() == 0


def registering(control: LeastPrivileged) -> httpx.Response:
    """What a laptop's mesh does, and a cluster's pods do for themselves."""
    token = (control.state / "state" / "admin.token").read_text()
    url = f"https://127.0.0.1:{control.ports['rest']}/v1/tokens"
    body = {"namespace": "remora-system", "service_account": "remora-collector"}
    headers = {"authorization": f"Bearer {token}"}
    return httpx.post(url, json=body, headers=headers, verify=False, trust_env=False)


def test_an_api_server_that_is_away_is_waited_for_and_then_served(cluster: Cluster, tmp_path: Path) -> None:
    server = fake(cluster)
    control = LeastPrivileged(cluster, tmp_path / "control", *SHORT_TERM)
    cluster.install(control.ports["webhook"])
    cluster.kubeconfig_of(cluster.token("remora-system", "remora-control"), control._kubeconfig)
    server.stop_server()
    control.begin()
    until(lambda: "Connect call failed" in control.said(), "it says so", 20)
    assert control.process is not None
    assert control.process.poll() is None
    server.start_server()
    control.await_ready()
    control.root_pem()
    server.stop_server()
    assert ready(control) == 200, "what is known goes on"
    assert control.end() == 0, "its end waits for nobody"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "this pod's service account: Service host/port is not set.; outside a pod give --kubeconfig FILE"),
        (["--kubeconfig", "KUBECONFIG", "--injector-settings", "bad.yaml"], "bad.yaml:1: imgae: "),
    ],
)
def test_what_it_cannot_start_with_is_one_line(flags: list[str], said: str, cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("imgae: a\n")
    given = [str(cluster.server.kubeconfig) if each == "KUBECONFIG" else each for each in flags]
    ports = [word for name in ("ads", "csr", "rest", "webhook") for word in (f"--{name}-port", "0")]
    done = subprocess.run(
        [*PYTHON, "control", "--kubernetes", "--state", str(tmp_path / "state"), *ports, *given],
        cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": ":".join(each for each in sys.path if each)},
    )  # fmt: skip
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("remora control: ")
    assert said in line
