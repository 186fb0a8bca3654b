"""Our sidecar as it ships: a control plane, its certificates and configuration over xDS, metrics, access records and
spans of 1 % to a collector's address."""

import asyncio
import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from mesh.files import write_atomic
from remora.client import Control
from remora.documents import Document
from remora.state import State
from remora.up.sidecar import Sidecar, TcpUpstream, Telemetry, Workload, environment
from sidecar.compiled import INTERPRETED_VARIABLE, usable
from tests.bench.cases import COMPILED, INTERPRETED, LOAD_CORE, PROXY_CORE, Case, Speech, Work
from tests.bench.ground import Ground
from tests.bench.load import Entry
from tests.bench.processes import Failed, Process, free_port
from tests.bench.systems.system import Running

_OUTSIDE = "echo.bench.test"
_INSIDE = "echo.bench.svc.cluster.local"
_PORT = 8080
_SERVICE = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: echo, namespace: bench}}
spec:
  hosts: [{outside}]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{{number: 8080, name: {name}, protocol: {protocol}}}]
  endpoints: [{{address: 127.0.0.1, ports: {{{name}: {upstream}}}}}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: default, namespace: bench}}
spec:
  mtls: {{mode: STRICT}}
"""
_ROUTES = """\
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: echo, namespace: bench}}
spec:
  hosts: [{host}]
  http:
  - name: jason
    match: [{{headers: {{end-user: {{exact: jason}}}}}}]
    route: [{{destination: {{host: {host}, port: {{number: 8080}}}}}}]
  - name: default
    route: [{{destination: {{host: {host}, port: {{number: 8080}}}}}}]
"""
_PORT_NAMES = {Speech.HTTP1: "http", Speech.HTTP2: "http2", Speech.GRPC: "grpc", Speech.TCP: "tcp"}
"""By which the control plane knows what is spoken."""


class Remora:
    """Agent and worker of each hop; the hot path compiled, as set-up leaves it, or not."""

    def __init__(self, name: str) -> None:
        """COMPILED or INTERPRETED."""
        self.name = name

    def missing(self) -> str | None:
        if self.name == INTERPRETED and usable() is None:
            return f"{COMPILED} is interpreted, too: make compile"
        return None

    def version(self) -> str:
        how = "interpreted" if usable() is None else "hot path compiled"
        return f"of this tree, {how}, Python {sys.version.split()[0]}"

    def can(self, case: Case) -> bool:
        return True

    @contextlib.contextmanager
    def running(self, case: Case, ground: Ground) -> Iterator[Running]:
        directory = ground.directory / f"{self.name}-{case.name}"
        state = State(directory)
        with contextlib.ExitStack() as stack:
            control = _start_control(stack, directory)
            client = stack.enter_context(Control(state))
            sink, telemetry = _start_sink(stack, directory, state, client)
            host = _OUTSIDE if case.hops == 1 else _INSIDE
            entry_port = free_port()
            sidecars = [Sidecar(each) for each in _workloads(case, ground, host, entry_port)]
            for each in sidecars:
                stack.callback(each.close)
                # Rules may only name hosts that are known: the service is there once its workload is registered.
                client.register(each.registration())
            client.apply([Document("bench.yaml", _rules(case, ground, host))])
            interpreted = self.name == INTERPRETED
            proxies = [
                _start_sidecar(stack, each, state, client, telemetry, directory, interpreted) for each in sidecars
            ]
            control.check()
            if case.speech.requests:
                entry_port = int(sidecars[0].outbound.rpartition(":")[2])

            def check() -> None:
                if case.work is not Work.NOTHING:
                    _check_telemetry(sink, spans=case.speech.requests)

            yield Running(Entry(entry_port, f"{host}:{_PORT}"), tuple(proxies), check)


def _workloads(case: Case, ground: Ground, host: str, entry_port: int) -> list[Workload]:
    """The caller's and, of two hops, the called one's. Bytes go in at `entry_port`, requests at the first's proxy."""
    upstreams = () if case.speech.requests else (TcpUpstream(host, _PORT, entry_port),)
    caller = Workload("client-v1", "bench", "client", "v1", "client", tcp_upstreams=upstreams, labels={"app": "client"})
    if case.hops == 1:
        return [caller]
    app = f"127.0.0.1:{ground.ports[case.speech]}"
    name = _PORT_NAMES[case.speech]
    return [caller, Workload("echo-v1", "bench", "echo", "v1", "echo", _PORT, app, name, labels={"app": "echo"})]


def _rules(case: Case, ground: Ground, host: str) -> str:
    name = _PORT_NAMES[case.speech]
    upstream = ground.ports[case.speech]
    text = _SERVICE.format(outside=_OUTSIDE, name=name, protocol=name.upper(), upstream=upstream)
    return text + _ROUTES.format(host=host) if case.speech.requests else text


def _python(*argv: str) -> list[str]:
    return [sys.executable, "-P", "-m", *argv]


def _start_control(stack: contextlib.ExitStack, directory: Path) -> Process:
    directory.mkdir(mode=0o700)
    State(directory).tokens.mkdir(mode=0o700)
    process = Process(
        [
            *_python("remora", "control", "--state", str(directory), "--laptop", "--trace-sampling", "1"),
            "--ads-port",
            "0",
            "--csr-port",
            "0",
            "--rest-port",
            "0",
        ],
        core=LOAD_CORE,
        log=directory.with_suffix(".control.log"),
        environment=environment(),
    )
    stack.callback(process.stop)
    _wait_for_file(process, directory / "control.json")
    return process


def _start_sink(
    stack: contextlib.ExitStack, directory: Path, state: State, client: Control
) -> tuple[Process, Telemetry]:
    token = client.token("remora-system", "remora-collector")
    token_file = directory / "sink.token"
    write_atomic(token_file, token["token"].encode(), mode=0o600)
    telemetry = Telemetry(f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}")
    process = Process(
        [
            *_python("tests.bench.sink", "--forward", telemetry.forward, "--otlp", telemetry.otlp),
            "--csr",
            token["csr"],
            "--root",
            str(state.root),
            "--token-file",
            str(token_file),
        ],
        core=LOAD_CORE,
        log=directory.with_suffix(".sink.log"),
        environment=environment(),
    )
    stack.callback(process.stop)
    for each in (telemetry.otlp, telemetry.forward):
        process.wait_for_port(int(each.rpartition(":")[2]))
    return process, telemetry


def _start_sidecar(
    stack: contextlib.ExitStack,
    sidecar: Sidecar,
    state: State,
    client: Control,
    telemetry: Telemetry,
    directory: Path,
    interpreted: bool,
) -> Process:
    command = asyncio.run(sidecar.prepare(state, client, telemetry))
    name = sidecar.workload.name
    ready = directory / f"{name}.ready"
    with open(ready, "wb") as file:
        process = Process(
            [*command.argv, "--ready-fd", str(file.fileno())],
            core=PROXY_CORE,
            log=directory.with_suffix(f".{name}.log"),
            environment={**command.env, **({INTERPRETED_VARIABLE: "1"} if interpreted else {})},
            pass_fds=(*command.fds, file.fileno()),
        )
    stack.callback(process.stop)
    _wait_for_file(process, ready)
    return process


def _wait_for_file(process: Process, path: Path) -> None:
    """Until `path` has content. Raises Failed."""
    process.wait_until(lambda: path.exists() and path.stat().st_size > 0, f"writes {path.name}")


def _check_telemetry(sink: Process, *, spans: bool) -> None:
    """Raises Failed unless the sink got access records, and spans of requests: a figure without would flatter us."""
    sink.stop()
    line = sink.log.read_text().strip().splitlines()[-1]
    counts = json.loads(line)
    if not counts["records"] or (spans and not counts["spans"]):
        raise Failed(f"the sink got {line}")
