"""Our sidecar as it ships: a control plane, its certificates and configuration over xDS, metrics, access records and
spans of 1 % to a collector's address."""

import asyncio
import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import sidecar.compile
from mesh.files import write_atomic
from remora.client import Control
from remora.documents import Document
from remora.state import State
from remora.up.sidecar import Sidecar, Telemetry, Workload, environment
from tests.bench.cases import LOAD_CORE, PROXY_CORE, Case
from tests.bench.ground import Ground
from tests.bench.load import Entry
from tests.bench.processes import Failed, Process, free_port
from tests.bench.systems.system import Running

_OUTSIDE = "echo.bench.test"
_INSIDE = "echo.bench.svc.cluster.local"
_RULES = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: echo, namespace: bench}}
spec:
  hosts: [{outside}]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{{number: 8080, name: http, protocol: HTTP}}]
  endpoints: [{{address: 127.0.0.1, ports: {{http: {upstream}}}}}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: default, namespace: bench}}
spec:
  mtls: {{mode: STRICT}}
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


class Remora:
    """Agent and worker of each hop."""

    name = "remora"

    def missing(self) -> str | None:
        return None

    def version(self) -> str:
        how = "interpreted" if sidecar.compile.usable() is None else "hot path compiled"
        return f"of this tree, {how}, Python {sys.version.split()[0]}"

    @contextlib.contextmanager
    def running(self, case: Case, ground: Ground) -> Iterator[Running]:
        directory = ground.directory / f"remora-{case.name}"
        state = State(directory)
        with contextlib.ExitStack() as stack:
            control = _start_control(stack, directory)
            client = stack.enter_context(Control(state))
            sink, telemetry = _start_sink(stack, directory, state, client)
            host = _OUTSIDE if case.hops == 1 else _INSIDE
            text = _RULES.format(outside=_OUTSIDE, upstream=ground.upstream_port, host=host)
            workloads = [Workload("client-v1", "bench", "client", "v1", "client", labels={"app": "client"})]
            if case.hops == 2:
                app = f"127.0.0.1:{ground.upstream_port}"
                workloads.append(Workload("echo-v1", "bench", "echo", "v1", "echo", 8080, app, labels={"app": "echo"}))
            sidecars = [Sidecar(each) for each in workloads]
            for sidecar in sidecars:
                stack.callback(sidecar.close)
                # Rules may only name hosts that are known: the service is there once its workload is registered.
                client.register(sidecar.registration())
            client.apply([Document("bench.yaml", text)])
            proxies = [_start_sidecar(stack, sidecar, state, client, telemetry, directory) for sidecar in sidecars]
            control.check()
            port = int(sidecars[0].outbound.rpartition(":")[2])

            def check() -> None:
                _check_telemetry(sink)

            yield Running(Entry(port, f"{host}:8080"), tuple(proxies), check)


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
) -> Process:
    command = asyncio.run(sidecar.prepare(state, client, telemetry))
    name = sidecar.workload.name
    ready = directory / f"{name}.ready"
    with open(ready, "wb") as file:
        process = Process(
            [*command.argv, "--ready-fd", str(file.fileno())],
            core=PROXY_CORE,
            log=directory.with_suffix(f".{name}.log"),
            environment=command.env,
            pass_fds=(*command.fds, file.fileno()),
        )
    stack.callback(process.stop)
    _wait_for_file(process, ready)
    return process


def _wait_for_file(process: Process, path: Path) -> None:
    """Until `path` has content. Raises Failed."""
    process.wait_until(lambda: path.exists() and path.stat().st_size > 0, f"writes {path.name}")


def _check_telemetry(sink: Process) -> None:
    """Raises Failed unless the sink got access records and spans: a figure without them would flatter us."""
    sink.stop()
    line = sink.log.read_text().strip().splitlines()[-1]
    counts = json.loads(line)
    if not counts["records"] or not counts["spans"]:
        raise Failed(f"the sink got {line}")
