"""A mesh of pods in network namespaces: control plane and collector in the hub, a sidecar in each pod.

Sidecars are what the injector makes of a pod: its init container as root with its two capabilities, then `remora proxy
--pod` as user 1337, told who it is by environment and downward API. Applications are sockets of the test's own, of
another user, that know of no proxy.
"""

import contextlib
import http.client
import json
import os
import select
import shutil
import socket
import ssl
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from collectors.store.reader import Reader
from remora.state import State
from tests.netns.injected import InjectedPod
from tests.netns.namespaces import Namespace, Network

APP, PROXY = 1000, 1337
PYTHON = (sys.executable, "-P", "-m", "remora")
READY_S = 30.0

POD_ENVIRONMENT = ("PATH", "PYTHONPATH", "LANG", "VIRTUAL_ENV", "COVERAGE_PROCESS_START")
"""Of the test's environment, what its children need."""


@dataclass(frozen=True)
class Port:
    """Of an application; its name says its protocol."""

    name: str
    number: int


class CapturedMesh:
    """Everything that it started is gone after `close`."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.hub = network.hub
        # Users 1337 and 1000 have to get there, which pytest's own directories do not let them.
        self.directory = Path(tempfile.mkdtemp(prefix="remora-netns-"))
        self.directory.chmod(0o755)
        self.state = State(self.directory / "mesh")
        self._stack = contextlib.ExitStack()

    def close(self) -> None:
        self._stack.close()
        self.network.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self) -> None:
        """Control plane and collector, once the hub has an address."""
        # At any address: pods reach it by the hub's, and this test by loopback's, which its certificate names.
        argv = [*PYTHON, "control", "--state", str(self.state.directory), "--host", "0.0.0.0"]
        self.ready(self.hub, argv, "control")
        registered = self.post("/v1/tokens", {"namespace": "remora-system", "service_account": "remora-collector"})
        self.write("collector.token", registered["token"], 0)
        self.write("root.pem", registered["root_pem"], 0, mode=0o644)
        host = self.hub.ipv4
        argv = [*PYTHON, "collect", "--state", str(self.state.directory), "--forward", f"{host}:24224"]
        argv += ["--otlp-grpc", f"{host}:4317", "--otlp-http", f"{host}:4318", "--root", str(self.state.root)]
        argv += ["--control", f"{host}:15011", "--control-ads", f"{host}:15012"]
        self.ready(self.hub, [*argv, "--token-file", str(self.directory / "collector.token")], "collector")

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """To the control plane's REST interface, from within the hub."""
        trust = ssl.create_default_context(cafile=str(self.state.root))
        headers = {"authorization": f"Bearer {self.state.admin_token.read_text().strip()}"}
        with self.hub.entered(), httpx.Client(verify=trust, headers=headers, trust_env=False, timeout=20) as client:
            answer = client.post(f"https://localhost:15014{path}", json=body)
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def apply(self, text: str) -> None:
        """Rules and Services."""
        self.post("/v1/apply", {"files": [{"name": "rules.yaml", "text": text}], "dry_run": False})

    def delete(self, text: str) -> None:
        """What `apply` was given."""
        self.post("/v1/delete", {"files": [{"name": "rules.yaml", "text": text}], "dry_run": False})

    def register(
        self,
        pod: Namespace,
        name: str,
        ports: Sequence[Port] = (),
        addresses: Sequence[str] | None = None,
        annotations: Mapping[str, str] | None = None,
        *,
        cni: bool = False,
    ) -> "Sidecar":
        """A pod's workload, with its application's ports at the pod's addresses; its sidecar can be started then."""
        own = list(addresses or (pod.ipv4, pod.ipv6))
        at = f"[{own[0]}]" if ":" in own[0] else own[0]
        record = {
            "name": name,
            "namespace": "default",
            "service_account": f"{name}-account",
            "labels": {"app": name},
            "ports": [{"name": each.name, "service_port": each.number, "app": f"{at}:{each.number}"} for each in ports],
            "addresses": own,
            "capture": True,
        }
        numbered = [(each.name, each.number) for each in ports]
        injected = InjectedPod(name, own[0], self.hub.ipv4, annotations or {}, numbered, cni=cni)
        return Sidecar(self, pod, name, own[0], self.post("/v1/workloads", record)["token"], injected)

    def logs(self, workload: str) -> list[dict[str, Any]]:
        """Access records of one sidecar, oldest first."""
        with contextlib.closing(Reader.open(self.state.telemetry)) as reader:
            return [entry.body for entry in reversed(reader.logs(workload=workload, limit=500))]

    def log_of(self, name: str) -> str:
        """What a process said, for a failure's message."""
        return (self.directory / f"{name}.log").read_text()[-4000:]

    def ready(self, there: Namespace, argv: Sequence[str], name: str, **options: Any) -> dict[str, Any]:
        reading, writing = os.pipe()
        with open(self.directory / f"{name}.log", "ab") as log:
            process = there.start([*argv, "--ready-fd", str(writing)], log=log, pass_fds=(writing,), **options)
        os.close(writing)
        with open(reading, "rb") as pipe:
            line = pipe.readline() if select.select([pipe], [], [], READY_S)[0] else b""
        assert line, f"{name} is not ready (status {process.poll()}): {self.log_of(name)}"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def write(self, name: str, text: str, owner: int, mode: int = 0o600) -> None:
        path = self.directory / name
        path.touch(mode=mode)
        path.write_text(text)
        os.chown(path, owner, owner)

    # Applications

    def http_server(self, there: Namespace, port: int, name: str) -> None:
        """Answers every request with what it saw of it, as JSON; at every address of the namespace."""
        for host in ("0.0.0.0", "::"):
            self._serve_http(there.listen(host, port, uid=APP), name)

    def _serve_http(self, listening: socket.socket, name: str) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                seen = {
                    "server": name,
                    "path": self.path,
                    "headers": {key.lower(): value for key, value in self.headers.items()},
                    "peer": self.client_address[:2],
                    "local": self.connection.getsockname()[:2],
                    "body": body.decode(),
                }
                answer = json.dumps(seen).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing."""

        server = ThreadingHTTPServer(listening.getsockname()[:2], Handler, bind_and_activate=False)
        server.socket.close()
        listening.settimeout(None)
        server.socket = listening
        server.daemon_threads = True
        self._in_background(lambda: server.serve_forever(0.02), lambda: (server.shutdown(), server.server_close()))

    def tcp_server(self, there: Namespace, port: int, greeting: bytes = b"") -> None:
        """Says `greeting` first, if it has one, then sends back what it gets, in upper case."""
        for host in ("0.0.0.0", "::"):
            self._serve_tcp(there.listen(host, port, uid=APP), greeting)

    def _serve_tcp(self, listening: socket.socket, greeting: bytes) -> None:
        listening.settimeout(None)

        def talk(client: socket.socket) -> None:
            with client, contextlib.suppress(OSError):
                client.settimeout(10)
                client.sendall(greeting)
                while data := client.recv(65_536):
                    client.sendall(data.upper())

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=talk, args=(listening.accept()[0],), daemon=True).start()

        self._in_background(accept, lambda: (_shut(listening), listening.close()))

    def _in_background(self, run: Any, stop: Any) -> None:
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self._stack.callback(thread.join, 5)
        self._stack.callback(stop)


@dataclass
class Sidecar:
    """Of one pod."""

    mesh: CapturedMesh
    pod: Namespace
    name: str
    address: str
    token: str
    injected: InjectedPod

    def capture(self, *flags: str) -> str:
        """Its init container; what it said. With `flags`, the command with those alone."""
        capabilities = "--bounding-set=-all,+net_admin,+net_raw"
        return self.pod.run("setpriv", capabilities, *PYTHON, *(flags or self.injected.init)).stdout

    def start(self) -> None:
        """Until it serves."""
        mesh, described = self.mesh, self.mesh.directory / self.name
        described.mkdir()
        mesh.write(f"{self.name}/token", self.token, PROXY)
        for field in ("labels", "annotations"):
            mesh.write(f"{self.name}/{field}", self.injected.downward(field), PROXY, mode=0o644)
        environment = {key: os.environ[key] for key in POD_ENVIRONMENT if key in os.environ}
        environment |= self.injected.environment | {"REMORA_POD_DIRECTORY": str(described)}
        # Where a container has its volumes mounted, this machine has not.
        argv = [*PYTHON, *self.injected.proxy, "--root", str(mesh.directory / "root.pem")]
        argv += ["--token-file", str(described / "token"), "--drain-deadline", "0.5"]
        mesh.ready(self.pod, argv, self.name, uid=PROXY, environment=environment)

    def metrics(self) -> dict[str, float]:
        """Of its metrics page, by name and labels, asked from the hub: 15020 is not captured."""
        with contextlib.closing(http.client.HTTPConnection(self.address, 15_020)) as connection:
            connection.sock = connect(self.mesh.hub, self.address, 15_020, uid=0)
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        lines = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}


def _shut(listening: socket.socket) -> None:
    with contextlib.suppress(OSError):
        listening.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True)
class Answer:
    """Of an HTTP request, and the client's own address while it asked."""

    status: int
    headers: dict[str, str]
    body: bytes
    client: tuple[str, int]

    @property
    def seen(self) -> Any:
        """What the server saw."""
        return json.loads(self.body)


def connect(there: Namespace, host: str, port: int, uid: int = APP) -> socket.socket:
    """As an application of the pod does."""
    client = there.new_socket(socket.AF_INET6 if ":" in host else socket.AF_INET, uid=uid, gid=uid)
    try:
        client.connect((host, port))
    except OSError:
        client.close()
        raise
    return client


def request(
    there: Namespace, host: str, port: int, path: str = "/", *, authority: str = "", body: str = "", uid: int = APP
) -> Answer:
    """One request over a connection of its own, without any proxy setting."""
    client = connect(there, host, port, uid)
    connection = http.client.HTTPConnection(host, port)
    connection.sock = client
    with contextlib.closing(connection):
        local = client.getsockname()[:2]
        headers = {"host": authority} if authority else {}
        connection.request("POST", path, body=body.encode(), headers=headers)
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read(), local)
