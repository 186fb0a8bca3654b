"""Istio's metrics with exactly Istio's labels, as Prometheus itself reads them."""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from mesh.records import HTTP_LABELS
from remora.up.sockets import free_ports
from tests.integration.debian import program
from tests.integration.mesh import RunningMesh, until

pytestmark = pytest.mark.mesh

HISTOGRAMS = ("istio_request_duration_milliseconds", "istio_request_bytes", "istio_response_bytes")


def _metrics(mesh: RunningMesh, workload: str) -> str:
    with httpx.Client(trust_env=False, timeout=10) as client:
        return client.get(mesh.info["workloads"][workload]["metrics"]).text


def _samples(mesh: RunningMesh, workload: str, name: str) -> list[tuple[dict[str, str], float]]:
    return [
        (dict(sample.labels), sample.value)
        for family in text_string_to_metric_families(_metrics(mesh, workload))
        for sample in family.samples
        if sample.name == name
    ]


def _growth(mesh: RunningMesh, workload: str, **labels: str) -> float:
    return sum(
        value for found, value in _samples(mesh, workload, "istio_requests_total") if labels.items() <= found.items()
    )


def test_both_reporters_count_a_request_with_exactly_istios_labels(mesh: RunningMesh) -> None:
    # An answer that nobody else of the mesh asks for: what others count a second late does not disturb.
    url = "http://details:9080/details/no-number"
    source = {"reporter": "source", "destination_workload": "details-v1", "response_code": "400"}
    destination = {"reporter": "destination", "source_workload": "productpage-v1", "response_code": "400"}
    before = _growth(mesh, "productpage-v1", **source), _growth(mesh, "details-v1", **destination)
    for _ in range(7):
        assert mesh.get_as("productpage-v1", url).status_code == 400
    until(lambda: _growth(mesh, "productpage-v1", **source) == before[0] + 7, "the source counted 7")
    until(lambda: _growth(mesh, "details-v1", **destination) == before[1] + 7, "the destination counted 7")

    for workload, wanted in (("productpage-v1", source), ("details-v1", destination)):
        found = [
            labels for labels, _ in _samples(mesh, workload, "istio_requests_total") if wanted.items() <= labels.items()
        ]
        assert len(found) == 1, found
        labels = found[0]
        assert set(labels) == set(HTTP_LABELS)
        assert labels == labels | {
            "source_workload": "productpage-v1",
            "source_canonical_service": "productpage",
            "source_canonical_revision": "v1",
            "source_workload_namespace": "default",
            "source_principal": "spiffe://cluster.local/ns/default/sa/bookinfo-productpage",
            "source_app": "productpage",
            "source_version": "v1",
            "destination_workload": "details-v1",
            "destination_workload_namespace": "default",
            "destination_principal": "spiffe://cluster.local/ns/default/sa/bookinfo-details",
            "destination_app": "details",
            "destination_version": "v1",
            "destination_service": "details.default.svc.cluster.local",
            "destination_canonical_service": "details",
            "destination_canonical_revision": "v1",
            "destination_service_name": "details",
            "destination_service_namespace": "default",
            "request_protocol": "http",
            "response_flags": "-",
            "connection_security_policy": "mutual_tls" if labels["reporter"] == "destination" else "unknown",
        }


@pytest.mark.parametrize("name", HISTOGRAMS)
def test_histograms_have_the_labels_too(mesh: RunningMesh, name: str) -> None:
    mesh.get_as("productpage-v1", "http://details:9080/details/0")
    for workload in ("productpage-v1", "details-v1"):
        buckets = until(lambda workload=workload: _samples(mesh, workload, f"{name}_bucket"), f"{name} of {workload}")
        assert {frozenset(labels) for labels, _ in buckets} == {frozenset((*HTTP_LABELS, "le"))}


def test_promtool_finds_nothing_wrong(mesh: RunningMesh) -> None:
    mesh.get("/productpage")
    texts = {workload: _metrics(mesh, workload) for workload in mesh.info["workloads"]}
    rest = json.loads((mesh.state / "control.json").read_text())["rest"]
    with httpx.Client(trust_env=False, verify=False) as client:
        texts["control"] = client.get(f"{rest}/metrics").text
    for name, text in texts.items():
        argv = [program("promtool"), "check", "metrics"]
        result = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=30, check=False)
        # Istio's own names break two rules of style, which tools rely on: milliseconds as the unit, cardinality. One of
        # Envoy's breaks a third: a gauge that ends as counters do.
        theirs = ("istio_", "envoy_cluster_membership_total ")
        complaints = [line for line in (result.stdout + result.stderr).splitlines() if not line.startswith(theirs)]
        assert complaints == [], f"{name}: {complaints}"
        assert result.returncode in (0, 3), f"{name}: {result.stderr}"


@pytest.fixture
def prometheus(mesh: RunningMesh, tmp_path: Path) -> Iterator[str]:
    """Debian's Prometheus, told of the workloads by the file that the mesh keeps for it."""
    import random

    port = free_ports(1, random.Random())[0]
    config = tmp_path / "prometheus.yml"
    config.write_text(f"""
global: {{scrape_interval: 1s}}
scrape_configs:
- job_name: remora
  metrics_path: /metrics
  file_sd_configs:
  - files: [{mesh.state / "targets.json"}]
    refresh_interval: 1s
""")
    argv = [program("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'data'}"]
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen([*argv, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)


def test_debians_prometheus_scrapes_every_workload(mesh: RunningMesh, prometheus: str) -> None:
    query = 'sum by (reporter) (istio_requests_total{destination_service_name="reviews"})'

    def answered() -> dict[str, float]:
        mesh.get("/productpage")
        time.sleep(0.2)
        try:
            with httpx.Client(trust_env=False, timeout=5) as client:
                answer = client.get(f"{prometheus}/api/v1/query?query={quote(query)}").json()
        except httpx.HTTPError:
            return {}
        found = {each["metric"]["reporter"]: float(each["value"][1]) for each in answer["data"]["result"]}
        return found if set(found) == {"source", "destination"} else {}

    assert min(until(answered, "requests by both reporters in Prometheus", within=60).values()) > 0

    def targets() -> list[dict[str, Any]]:
        with httpx.Client(trust_env=False, timeout=5) as client:
            answer = client.get(f"{prometheus}/api/v1/targets?state=active").json()
        found: list[dict[str, Any]] = answer["data"]["activeTargets"]
        return found if all(target["health"] != "unknown" for target in found) else []

    scraped = until(targets, "every target was scraped once", within=30)
    assert {target["labels"]["workload"] for target in scraped} >= set(mesh.info["workloads"])
    assert {target["health"] for target in scraped} == {"up"}, [target["lastError"] for target in scraped]
