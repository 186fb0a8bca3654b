"""A real Prometheus finds a running mesh by HTTP service discovery and judges it by our rules; a real Alertmanager is
told of an error budget that burns."""

import asyncio
import http.server
import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from dashboards.alerts.alertmanager import Receivers, render_alertmanager
from dashboards.alerts.files import files
from dashboards.alerts.objectives import Objectives
from dashboards.alerts.operations import ABSENT
from dashboards.alerts.recording import LEVELS
from remora.custom_metrics.load import Load, Loads, Subject
from remora.custom_metrics.sources import PrometheusSource
from tests.integration.mesh import REMORA, RunningMesh, until
from tests.integration.prometheus import Prometheus, Served, alertmanager, prometheus
from tests.integration.rules import ratings_fault

pytestmark = pytest.mark.mesh

SCALE = 1 / 60
"""Minutes are seconds."""
RATINGS = "http://ratings:9080/ratings/0"


class Pager:
    """A webhook: what Alertmanager posts to."""

    def __init__(self) -> None:
        self.alerts: list[dict[str, Any]] = []
        pager = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                pager.alerts += [{"receiver": body["receiver"], **alert} for alert in body["alerts"]]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def told(self, **labels: str) -> list[dict[str, Any]]:
        """Alerts with these labels."""
        return [alert for alert in list(self.alerts) if labels.items() <= alert["labels"].items()]


@pytest.fixture(scope="module")
def pager() -> Iterator[Pager]:
    pager = Pager()
    yield pager
    pager.server.shutdown()
    pager.server.server_close()


@pytest.fixture(scope="module")
def told(pager: Pager, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """An Alertmanager that tells the pager soon."""
    receivers = Receivers(f"{pager.url}/page", f"{pager.url}/ticket", group_wait_s=0.2, group_interval_s=1)
    with alertmanager(tmp_path_factory.mktemp("alertmanager"), render_alertmanager(receivers)) as served:
        yield served


@pytest.fixture(scope="module")
def judging(mesh: RunningMesh, told: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus with the configuration that the command makes, and rules whose minutes are seconds."""
    directory = tmp_path_factory.mktemp("prometheus")
    made = directory / "made"
    address = told.url.removeprefix("http://")
    command(mesh, "prometheus-config", "--to", str(made), "--interval", "1s", "--alertmanager", address)
    for name, text in files(Objectives(scale=SCALE), Receivers()).items():
        if (made / "rules" / name).exists():
            (made / "rules" / name).write_text(text)
    config = (made / "prometheus.yml").read_text()
    with prometheus(directory, config, "--enable-feature=exemplar-storage") as served:
        yield served


def command(mesh: RunningMesh, *argv: str) -> str:
    """Standard output of `remora metrics`."""
    result = subprocess.run(
        [*REMORA, "metrics", *argv, "--state", str(mesh.state)], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def visit(mesh: RunningMesh, times: int = 10) -> None:
    """Requests through the mesh; by the gateway, and from a workload."""
    for _ in range(times):
        mesh.get("/productpage")
        mesh.get_as("productpage-v1", RATINGS)


def test_an_autoscaler_s_figures_come_out_of_it(mesh: RunningMesh, judging: Prometheus) -> None:
    async def loads(subject: Subject) -> Loads:
        async with httpx.AsyncClient(base_url=f"{judging.url}/") as http:
            return await PrometheusSource(http, 60).loads(subject)

    wanted = {Subject.POD: "details-v1", Subject.WORKLOAD: "details-v1", Subject.SERVICE: "details"}
    for subject, name in wanted.items():

        def busy(subject: Subject = subject, name: str = name) -> Load | None:
            visit(mesh, 2)
            load = asyncio.run(loads(subject)).get(("default", name))
            return load if load is not None and load.requests_per_s > 0 and load.p99_ms else None

        load = until(busy, f"{name} has figures", within=40)
        assert load.error_ratio == 0
        assert 0 < (load.p50_ms or 0) <= (load.p99_ms or 0)


def test_everything_in_the_mesh_is_found_by_http_service_discovery(mesh: RunningMesh, judging: Prometheus) -> None:
    def up() -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for each in judging.query("up == 1"):
            found.setdefault(each["metric"]["job"], set()).add(each["metric"].get("workload", ""))
        return found

    expected = {*mesh.info["workloads"], mesh.info["gateway"]["workload"]}
    until(lambda: up().get("remora-sidecar", set()) >= expected and len(up()) == 4, "every target is up", within=40)
    assert set(up()) == {"remora-sidecar", "remora-control", "remora-collector", "node"}
    assert judging.query("node_memory_MemAvailable_bytes")
    assert not judging.query("up == 0")


def test_every_rule_is_evaluated_and_finds_data(mesh: RunningMesh, judging: Prometheus) -> None:
    visit(mesh)
    names = {rule["name"] for rule in judging.rules() if rule["type"] == "recording"}
    assert len(names) > 60
    wanted = {name for name in names if "istio_tcp" not in name}  # nothing speaks TCP here

    def recorded() -> bool:
        visit(mesh, 2)
        found = judging.query('count by (__name__) (last_over_time({__name__=~".+:.+"}[2m]))')
        return wanted <= {each["metric"]["__name__"] for each in found}

    until(recorded, "every recorded series is there", within=60)
    rules = judging.rules()
    assert {rule["health"] for rule in rules} == {"ok"}, [rule for rule in rules if rule["health"] != "ok"]
    for level in LEVELS:
        assert judging.query(f"{level}:istio_requests:rate5m > 0"), level
    quantile = judging.query(
        'service:istio_request_duration_milliseconds:p99_rate5m{destination_service_name="ratings"}'
    )
    assert all(0 < float(each["value"][1]) < 60_000 for each in quantile)


def test_alerts_speak_of_metrics_that_there_are(mesh: RunningMesh, judging: Prometheus) -> None:
    visit(mesh, 2)
    alerts = {rule["name"]: rule["query"] for rule in judging.rules() if rule["type"] == "alerting"}
    names = {
        name: set(re.findall(r"\b(?:istio|remora|envoy|pilot|citadel)_[a-z0-9_]+", query))
        for name, query in alerts.items()
    }
    asked = set().union(*names.values()) - ABSENT.keys() - {"envoy_cluster_name"}  # the last is a label
    # Of exporters with a buffer, which this mesh has none of; tests/dashboards/alerts looks at these.
    asked = {name for name in asked if not name.startswith("remora_collector_exporter_")}
    assert len(asked) > 15

    def there() -> bool:
        found = judging.query('count by (__name__) ({__name__=~"(istio|remora|envoy|pilot|citadel)_.+"})')
        return asked <= {each["metric"]["__name__"] for each in found}

    until(there, f"all of {sorted(asked)}", within=20)
    firing = [each["metric"]["alertname"] for each in judging.query('ALERTS{alertstate="firing"}')]
    assert firing == [], "a healthy mesh tells nothing"


def test_an_exemplar_leads_to_its_trace(mesh: RunningMesh, judging: Prometheus) -> None:
    def trace_ids() -> list[str]:
        visit(mesh, 1)
        query = 'istio_request_duration_milliseconds_bucket{destination_service_name="ratings"}'
        found = judging.ask("/api/v1/query_exemplars", query=query, start=time.time() - 600, end=time.time() + 60)
        return [each["labels"]["trace_id"] for series in found["data"] for each in series["exemplars"]]

    trace_id = until(trace_ids, "a bucket names a trace", within=30)[-1]
    until(lambda: mesh.attempt("traces", trace_id).returncode == 0, f"trace {trace_id} is in the store", within=20)
    assert "ratings" in mesh.remora("traces", trace_id)


def test_an_error_burst_burns_the_budget_and_somebody_is_told(
    mesh: RunningMesh, judging: Prometheus, pager: Pager
) -> None:
    labels = {"alertname": "RemoraErrorBudgetBurn", "severity": "page", "destination_service_name": "ratings"}

    def burst() -> list[dict[str, Any]]:
        for _ in range(5):
            assert mesh.get_as("productpage-v1", RATINGS, headers={"end-user": "jason"}).status_code == 500
        return pager.told(**labels)

    fault = ratings_fault("abort", "jason")
    with mesh.applied(fault):
        (alert, *_) = until(burst, "the pager rings", within=60)
    assert alert["receiver"] == "page"
    assert alert["status"] == "firing"
    assert alert["labels"]["destination_service_namespace"] == "default"
    assert alert["annotations"]["summary"].startswith("default/ratings: ")
    assert "remora traces --errors" in alert["annotations"]["description"]
    assert not pager.told(destination_service_name="details"), "others are not to blame"


def test_the_worst_labels_are_shown(mesh: RunningMesh) -> None:
    visit(mesh, 2)

    def report() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(command(mesh, "cardinality", "-o", "json"))["collector"]
        return found if found["metrics"] else {}

    found = until(report, "the collector has scraped")
    assert found["series"] > 50
    worst = found["metrics"][0]
    assert worst["labels"][0]["values"] >= worst["labels"][-1]["values"] >= 1
    table = command(mesh, "cardinality", "--limit", "3")
    assert worst["name"] in table
    assert "EXAMPLES" in table


def test_prometheus_token_opens_the_targets_alone(mesh: RunningMesh) -> None:
    rest = json.loads((mesh.state / "control.json").read_text())["rest"]
    token = (mesh.state / "prometheus.token").read_text()
    with httpx.Client(trust_env=False, verify=False, headers={"authorization": f"Bearer {token}"}) as client:
        assert client.get(f"{rest}/v1/prometheus/targets").status_code == 200
        assert client.get(f"{rest}/v1/status").status_code == 401


def test_the_configuration_is_what_promtool_accepts(mesh: RunningMesh, tmp_path: Path) -> None:
    from tests.integration.debian import program

    argv = ["--to", str(tmp_path), "--node-exporter", "127.0.0.1:9100", "--kube-state-metrics", "127.0.0.1:8080"]
    command(mesh, "prometheus-config", *argv)
    config = tmp_path / "prometheus.yml"
    result = subprocess.run(
        [program("promtool"), "check", "config", str(config)], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "3 rule files found" in result.stdout
    text = config.read_text()
    assert "kube-state-metrics" in text
    assert (mesh.state / "prometheus.token").read_text() not in text, "a secret is named, not shown"
