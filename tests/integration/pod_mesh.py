"""Pods whose containers a kubelet of the test's starts and ends, in the mesh of a real control plane.

The sidecar is the injected one (`remora proxy --pod`, user 1337, told who it is by its environment), and what the
application sends and gets is captured by the rules of `remora init-iptables`: it knows of nothing.
"""

import asyncio
import contextlib
import json
import os
import select
import shutil
import ssl
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from remora.state import State
from tests.integration import pod_application
from tests.integration.kubelet import Container, Place, PodRun
from tests.netns.namespaces import Namespace, Network

PYTHON = (sys.executable, "-P", "-m", "remora")
APP_PORT = 8080
APP_UID, PROXY_UID = 1000, 1337
ADDRESSES = {"ledger": "10.96.0.10", "web": "10.96.0.20", "job": "10.96.0.30"}
"""Of the services, which exist nowhere: without capture there is no way there."""

SERVICES = "".join(
    f"""\
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{clusterIP: {address}, selector: {{app: {name}}}, ports: [{{name: http, port: 80, targetPort: {APP_PORT}}}]}}
---
"""
    for name, address in ADDRESSES.items()
)
READY_S = 30.0
INHERITED = ("PATH", "PYTHONPATH", "LANG", "VIRTUAL_ENV", "COVERAGE_PROCESS_START")
"""Of the test's environment, what its children need."""

READY: Place = (15021, "/healthz/ready")
HOOK = "/app-lifecycle/app/0123456789abcdef/prestopz"
PROBES = {
    "/app-health/app/livez": {"httpGet": {"path": "/live", "port": APP_PORT}},
    "/app-health/app/readyz": {"tcpSocket": {"port": APP_PORT}},
    HOOK: {"httpGet": {"path": "/prestop", "port": APP_PORT}},
}


class PodMesh:
    """Control plane in the hub of a network of its own."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.first = network.pod("first")  # the hub has an address once there is a pod
        self._directory = Path(tempfile.mkdtemp(prefix="remora-pods-"))
        self._directory.chmod(0o755)  # users 1337 and 1000 have to get there
        self.state = State(self._directory / "mesh")
        self._start_control()
        self._post("/v1/apply", {"files": [{"name": "services.yaml", "text": SERVICES}]})

    def _start_control(self) -> None:
        reading, writing = os.pipe()
        argv = [*PYTHON, "control", "--state", str(self.state.directory), "--host", self.network.hub.ipv4]
        with open(self._directory / "control.log", "ab") as log:
            self.network.hub.start([*argv, "--ready-fd", str(writing)], log=log, pass_fds=(writing,))
        os.close(writing)
        with open(reading, "rb") as pipe:
            ready = pipe.readline() if select.select([pipe], [], [], READY_S)[0] else b""
        assert ready, (self._directory / "control.log").read_text()

    def close(self) -> None:
        self.network.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def register(self, name: str, pod: Namespace, **changes: Any) -> dict[str, Any]:
        """As the control plane's own watch of pods would."""
        service = name.partition("-")[0]
        record = {
            "name": name,
            "namespace": "default",
            "service_account": service,
            "labels": {"app": service},
            "ports": [{"name": "http", "service_port": APP_PORT, "app": f"{pod.ipv4}:{APP_PORT}"}],
            "addresses": [pod.ipv4],
            "capture": True,
        }
        return self._post("/v1/workloads", record | changes)

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        ready = json.loads(self.state.control.read_bytes())
        trust = ssl.create_default_context(cafile=str(self.state.root))
        headers = {"authorization": f"Bearer {self.state.admin_token.read_text()}"}
        # The control plane's certificate is for loopback and for its Service's name, not for the hub's address.
        name = {"sni_hostname": "localhost"}
        with self.network.hub.entered(), httpx.Client(base_url=ready["rest"], verify=trust, headers=headers) as client:
            response = client.post(path, json=body, extensions=name, timeout=20)
        assert response.is_success, response.text
        answer: dict[str, Any] = response.json()
        return answer

    @contextlib.asynccontextmanager
    async def pod(self, name: str, pod: Namespace | None = None) -> "AsyncIterator[Pod]":
        """A pod that is not started."""
        made = Pod(self, name, pod or self.network.pod(name), self._directory / name)
        try:
            yield made
        finally:
            made.run.close()


class Pod:
    """Specifications of its containers, and the kubelet that runs them."""

    def __init__(self, mesh: PodMesh, name: str, pod: Namespace, directory: Path) -> None:
        directory.mkdir()
        registered = mesh.register(name, pod)
        self.mesh = mesh
        self.name = name
        self.pod = pod
        self.run = PodRun(pod, mesh.network.hub, directory)
        for file, text, mode in (
            ("token", registered["token"], 0o600),
            ("root.pem", registered["root_pem"], 0o644),
            ("labels", f'app="{name.partition("-")[0]}"\n', 0o644),
            ("annotations", "", 0o644),
        ):
            path = directory / file
            path.touch(mode=mode)
            path.write_text(text)
            os.chown(path, PROXY_UID, PROXY_UID)
        self._directory = directory
        self._environment = {key: os.environ[key] for key in INHERITED if key in os.environ}
        self._flags = [
            f"--ads={registered['ads']}", f"--csr={registered['csr']}", f"--root={directory / 'root.pem'}",
            f"--token-file={directory / 'token'}",
        ]  # fmt: skip

    def proxy(self, form: str, grace_s: float, **environment: str) -> Container:
        """As injected: a native one has a startup probe, a classic one the hook that holds the application."""
        known = {
            "POD_NAME": self.name,
            "POD_NAMESPACE": "default",
            "INSTANCE_IP": self.pod.ipv4,
            "SERVICE_ACCOUNT": self.name.partition("-")[0],
            "REMORA_POD_DIRECTORY": str(self._directory),
            "REMORA_SIDECAR_FORM": form,
            "REMORA_TERMINATION_DRAIN_DURATION": "500ms",
            "REMORA_TERMINATION_GRACE_PERIOD": f"{grace_s:g}s",
            "REMORA_APP_PROBES": json.dumps(PROBES),
        }
        return Container(
            "remora-proxy",
            [*PYTHON, "proxy", "--pod", *self._flags],
            self._environment | known | environment,
            PROXY_UID,
            post_start=(*PYTHON, "wait", "--timeout", str(READY_S)) if form == "classic" else (),
            startup=READY if form == "native" else None,
        )

    def init(self) -> Container:
        """As root, before everything else."""
        return Container("remora-init", [*PYTHON, "init-iptables"], self._environment)

    def app(self, pre_stop: bool = False, **configuration: Any) -> Container:
        """See pod_application. It calls the first pod's service."""
        told: Mapping[str, Any] = {"call": [ADDRESSES["ledger"], "/entry"]} | configuration
        argv = [sys.executable, "-I", "-S", pod_application.__file__, str(APP_PORT), json.dumps(told)]
        hook = (15020, HOOK) if pre_stop else None
        return Container("app", argv, self._environment, APP_UID, pre_stop=hook)

    def finish(self) -> None:
        """What the control plane does when it sees that all of the application's containers have ended for good."""
        self.mesh.register(self.name, self.pod, finished=True)


@contextlib.contextmanager
def pod_mesh() -> Iterator[PodMesh]:
    """With a first pod, `ledger`, that serves until the end."""
    network = Network("o")
    try:
        mesh = PodMesh(network)
        try:
            ledger = Pod(mesh, "ledger-v1", mesh.first, mesh._directory / "ledger-v1")
            app = ledger.app(call=None)
            _run(ledger.run.start([ledger.init()], [ledger.proxy("classic", 10, REMORA_STAY="drain"), app]))
            yield mesh
        finally:
            mesh.close()
    finally:
        network.close()


def _run(coroutine: Any) -> None:
    """In a loop of another thread: this one's belongs to the tests."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(coroutine)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
