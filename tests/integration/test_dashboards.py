"""Every expression of every dashboard, asked of a real Prometheus that scrapes a running mesh."""

import json
import random
import re
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from collectors.delivery.metrics import DeliveryMetrics
from dashboards.grafana.boards import BOARDS, reasons
from dashboards.grafana.evaluate import evaluate, fill, usual
from dashboards.grafana.model import Board, Query
from dashboards.grafana.prometheus import HttpPrometheus, PrometheusUnreachable
from remora.up.sockets import free_ports
from sidecar.agent.metric_names import HELP
from tests.integration import istio_dashboards as istio
from tests.integration.debian import program
from tests.integration.guests import client_of, running
from tests.integration.mesh import RunningMesh, until
from tests.integration.rules import ratings_fault

pytestmark = pytest.mark.mesh

WINDOW = "10s"
"""Of rates; Prometheus scrapes each second."""

ECHO = """
import asyncio, sys
async def echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()
async def main():
    await (await asyncio.start_server(echo, "127.0.0.1", int(sys.argv[1]))).serve_forever()
asyncio.run(main())
"""


@dataclass(frozen=True)
class Observed:
    """A mesh with traffic, and who scrapes it."""

    mesh: RunningMesh
    prometheus: HttpPrometheus

    def has(self, expr: str) -> bool:
        """Whether the expression finds a number."""
        return any(value == value for value in self.prometheus.query(expr))


@contextmanager
def _prometheus(mesh: RunningMesh, directory: Path) -> Iterator[HttpPrometheus]:
    (port,) = free_ports(1, random.Random())
    rest = json.loads((mesh.state / "control.json").read_text())["rest"].removeprefix("https://")
    health = json.loads((mesh.state / "collector.json").read_text())["health"]
    config = directory / "prometheus.yml"
    config.write_text(f"""
global: {{scrape_interval: 1s}}
scrape_configs:
- job_name: sidecars
  file_sd_configs:
  - {{files: ["{mesh.state / "targets.json"}"], refresh_interval: 1s}}
- job_name: control
  scheme: https
  tls_config: {{ca_file: "{mesh.state / "ca" / "root.pem"}"}}
  static_configs: [{{targets: ["{rest}"]}}]
- job_name: collector
  static_configs: [{{targets: ["{health}"]}}]
""")
    argv = [program("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={directory / 'data'}"]
    with open(directory / "log", "wb") as log:
        process = subprocess.Popen([*argv, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
        client = HttpPrometheus(f"http://127.0.0.1:{port}")
        try:
            yield client
        finally:
            client.close()
            process.terminate()
            process.wait(20)


@contextmanager
def _traffic(mesh: RunningMesh, echo_port: int) -> Iterator[None]:
    """Requests that succeed and that fail, and connections of bytes, until the block ends."""
    ended = threading.Event()
    failed: list[Exception] = []

    def visit() -> None:
        import socket

        with httpx.Client(trust_env=False, timeout=20, cookies={"session": ""}) as client:
            while not ended.wait(0.2):
                try:
                    client.get(f"{mesh.ingress}/productpage")
                    mesh.get_as("reviews-v2", "http://ratings:9080/ratings/0", headers={"end-user": "jason"})
                    with socket.create_connection(("127.0.0.1", echo_port), timeout=10) as connection:
                        connection.sendall(b"hello")
                        connection.recv(5)
                except (OSError, httpx.HTTPError) as error:
                    failed.append(error)

    thread = threading.Thread(target=visit)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(30)
    assert len(failed) < 3, failed[:3]


@pytest.fixture(scope="module")
def observed(mesh: RunningMesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    program("prometheus")
    (port,) = free_ports(1, random.Random())
    command = (sys.executable, "-c", ECHO, str(port))
    flags = ("--port", str(port), "--service-port", "7", "--protocol", "tcp")
    with ExitStack() as stack:
        stack.enter_context(running(mesh, "echo", *flags, command=command))
        local = stack.enter_context(client_of(mesh, "echo:7"))
        prometheus = stack.enter_context(_prometheus(mesh, tmp_path_factory.mktemp("prometheus")))
        stack.enter_context(_traffic(mesh, local))
        found = Observed(mesh, prometheus)
        until(lambda: _is_warm(found), "Prometheus knows every part of the mesh", within=60)
        # While Prometheus looks: a change that is pushed and acknowledged, and requests that fail.
        stack.enter_context(mesh.applied(ratings_fault("abort", "jason")))
        yield found


def _assert_found(observed: Observed, asked: Iterable[str]) -> None:
    """Each finds something once; Istio's `irate` is of the last second alone, in which nobody may have come."""
    pending = list(asked)

    def none_left() -> bool:
        pending[:] = [expr for expr in pending if not observed.has(expr)]
        return not pending

    try:
        until(none_left, "every expression finds something", within=30)
    except AssertionError:
        pytest.fail("nothing found for:\n" + "\n".join(pending))


def _is_warm(observed: Observed) -> bool:
    """Two scrapes of everything that has traffic, so that rates are there."""
    wanted = (
        'rate(istio_requests_total{reporter="destination",destination_workload="ratings-v1"}[10s])',
        'rate(istio_tcp_sent_bytes_total{reporter="destination",destination_workload="echo-v1"}[10s])',
        "rate(remora_collector_stored_records_total[10s])",
        "rate(pilot_xds_pushes[10s])",
    )
    try:
        return all(observed.has(expr) for expr in wanted)
    except PrometheusUnreachable:
        return False


def test_every_panel_of_every_dashboard_finds_data_or_says_why_not(observed: Observed) -> None:
    found = evaluate(observed.prometheus, BOARDS, window=WINDOW)
    assert [finding for finding in found if finding.why.startswith("no valid")] == []
    _assert_found(observed, [finding.expr for finding in found])


def test_what_may_be_empty_is_found_where_it_happens(observed: Observed) -> None:
    """The reasons that this mesh's traffic takes away: requests failed, proxies answered, bytes were relayed, rules
    changed."""
    gone = {reasons.NO_BYTES, reasons.NO_FAILURE, reasons.NO_LOCAL_FAILURE, reasons.NO_CHANGE}
    asked = [fill(query.expr, usual(board, window="2m")) for board, query in _queries() if query.may_be_empty in gone]
    assert len(asked) > 20
    _assert_found(observed, asked)


def _queries() -> Iterator[tuple[Board, Query]]:
    for board in BOARDS:
        for _, query in board.queries():
            yield board, query


def test_no_expression_names_a_metric_that_nobody_shows(observed: Observed) -> None:
    """A name that is misspelt finds nothing, which `may_be_empty` would excuse."""
    known = observed.prometheus.names() | HELP.keys()
    # Of clusters with outlier detection, which this mesh's rules do not ask for.
    known |= {"envoy_cluster_outlier_detection_ejections_active", "remora_control_streams_refused_total"}
    known |= {f"remora_collector_{name}_total" for name in ("foreign_records", "lost_records", "closed_connections")}
    # Of back ends besides the store, which this mesh has none of.
    for family in DeliveryMetrics([], lambda: 0.0).collect():
        known |= {family.name, f"{family.name}_total"}
    for board, query in _queries():
        named = set(re.findall(r"\b(?:istio|envoy|pilot|citadel|remora|process)_[a-z_]+\b(?!=)", query.expr))
        assert named - _labels() <= known, f"{board.title}: {sorted(named - known)}"


def _labels() -> set[str]:
    return {"envoy_cluster_name", "envoy_listener_address"}


def test_every_choice_at_the_top_of_a_board_has_values(observed: Observed) -> None:
    for board in BOARDS:
        chosen = usual(board, window=WINDOW)
        for variable in board.variables:
            if variable.values:
                continue
            match = re.fullmatch(r"label_values\((?P<selector>.*), (?P<label>\w+)\)", variable.query)
            assert match is not None, variable.query
            expr = f"group by ({match['label']}) ({fill(match['selector'], chosen)})"
            values = {labels.get(match["label"], "") for labels in observed.prometheus.labels(expr)}
            assert values - {"", "unknown"}, f"{board.title}: {variable.name}"


def test_a_click_on_a_series_leads_to_a_board_with_something_chosen(observed: Observed) -> None:
    for board in BOARDS:
        for panel in board.panels():
            if panel.link is None:
                continue
            wanted = re.findall(r"\$\{__(?:field\.labels|data\.fields)\.(\w+)\}", panel.link.address)
            for query in panel.queries:
                expr = fill(query.expr, usual(board, window=WINDOW))
                for labels in observed.prometheus.labels(expr):
                    assert all(labels.get(name) for name in wanted), f"{board.title}: {panel.title}: {labels}"


VARIABLES = {
    "__rate_interval": WINDOW,
    "qrep": "source|destination",
    "service": ".*",
    "srcwl": ".*",
    "srcns": ".*",
    "dstwl": ".*",
    "dstns": ".*",
    "dstsvc": ".*",
    "namespace": ".*",
    "workload": ".*",
}


@pytest.mark.parametrize(
    ("expressions", "chosen"),
    [
        pytest.param(istio.MESH, {}, id="mesh"),
        pytest.param(istio.MESH_TCP, {}, id="mesh, bytes"),
        pytest.param(istio.SERVICE, {"service": "reviews.default.svc.cluster.local"}, id="service"),
        pytest.param(istio.SERVICE_TCP, {"service": "echo.default.svc.cluster.local"}, id="service, bytes"),
        pytest.param(istio.WORKLOAD, {"namespace": "default", "workload": "reviews-v2"}, id="workload"),
        pytest.param(istio.WORKLOAD_TCP, {"namespace": "default"}, id="workload, bytes"),
        pytest.param(istio.CONTROL_PLANE, {}, id="control plane"),
    ],
)
def test_istios_public_dashboards_find_data(observed: Observed, expressions: list[str], chosen: dict[str, str]) -> None:
    _assert_found(observed, [fill(expr, VARIABLES | chosen) for expr in expressions])
