"""Logs, spans and metrics of a cluster's pods, in the collector's store: every process with its flags as installed."""

import asyncio
import contextlib
import http.client
import json
import os
import subprocess
from dataclasses import dataclass

import pytest

from collectors.store.reader import Reader
from mesh.clock import SystemClock
from remora.custom_metrics.load import Subject
from remora.custom_metrics.sources import StoreSource
from tests.e2e.cluster import until
from tests.e2e.collecting import Collector, behind, instance, system_service
from tests.e2e.control import PYTHON, LeastPrivileged
from tests.e2e.mesh import Pods
from tests.netns.captured_mesh import Sidecar, connect

LEDGER = "10.96.7.20"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
REQUESTS = 20


@dataclass
class Collected:
    """A client and a server, Deployments' pods both, that have talked."""

    pods: Pods
    collector: Collector
    client: str
    server: str
    sidecar: Sidecar

    def ask(self) -> int:
        connection = http.client.HTTPConnection(LEDGER, 80)
        connection.sock = connect(self.sidecar.pod, LEDGER, 80)
        with contextlib.closing(connection):
            connection.request("GET", "/", headers={"host": "ledger", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"})
            response = connection.getresponse()
            response.read()
            return response.status


@pytest.fixture(scope="module")
def collected(pods: Pods) -> Collected:
    system_service(pods, "remora-control", "10.96.7.21", grpc_xds=15012, https_rest=15014)
    system_service(pods, "remora-collector", "10.96.7.22", forward=24224, grpc_otlp=4317)
    collector = Collector(pods)
    collector.start()
    server, behind_it = instance(pods, "ledger-v1", port=8080)
    pods.service("ledger", LEDGER)
    behind(pods, "ledger", server, behind_it.pod.ipv4)
    client, sidecar = instance(pods, "till-v1")
    made = Collected(pods, collector, client, server, sidecar)
    until(lambda: made.ask() == 200, "requests arrive")
    for _ in range(REQUESTS):
        assert made.ask() == 200
    return made  # the collector goes with the hub, after the sidecars, which send it their last records


def test_the_collector_is_told_its_targets_by_the_control_plane(collected: Collected, control: LeastPrivileged) -> None:
    groups = {each["labels"]["workload"]: each for each in json.loads(collected.collector.targets.read_text())}
    assert groups[collected.server]["labels"]["__meta_remora_owner"] == "ledger-v1"
    assert groups["control"]["targets"] == [f"{collected.pods.hub.ipv4}:15014"]
    assert control.metric("remora_control_targets_streams") == 1.0


def test_access_logs_of_both_pods_are_stored_in_their_deployments_names(collected: Collected) -> None:
    def logs(reader: Reader, workload: str) -> list[dict[str, object]]:
        return [entry.body for entry in reader.logs(workload=workload, limit=100)]

    def served(reader: Reader, _: float) -> list[dict[str, object]]:
        found = logs(reader, "ledger-v1")
        return found if sum(each["path"] == "/" for each in found) >= REQUESTS else []

    inbound = collected.collector.found(served, "the server's access log")
    outbound = collected.collector.found(lambda reader, _: logs(reader, "till-v1"), "the client's access log")
    client = f"spiffe://cluster.local/ns/default/sa/{collected.client}-account"
    # What came before the server's sidecar had heard of the Service went past it as bytes.
    requests = [each for each in inbound if each["path"] == "/"]
    assert len(requests) >= REQUESTS
    assert {(each["direction"], each["source_principal"]) for each in requests} == {("inbound", client)}
    assert {each["direction"] for each in outbound} == {"outbound"}


def test_spans_of_both_pods_are_one_trace(collected: Collected) -> None:
    def services(reader: Reader, _: float) -> bool:
        return {"ledger", "till"} <= {span.service.partition(".")[0] for span in reader.trace(TRACE)}

    collected.collector.found(services, "spans of both")


def test_the_graph_has_their_edge_with_mutual_tls(collected: Collected) -> None:
    edge_wanted = ("default/till-v1", "default/ledger-v1", True)

    def edge(reader: Reader, now: float) -> list[object]:
        collected.ask()
        edges = reader.graph(now, 60).edges
        return [each for each in edges if (each.source, each.destination, each.mtls) == edge_wanted]

    collected.collector.found(edge, "the edge")


def test_an_autoscaler_finds_the_pod_s_load(collected: Collected) -> None:
    def load(reader: Reader, _: float) -> bool:
        collected.ask()
        path = collected.collector.state / "store" / "telemetry.sqlite"
        source = StoreSource(lambda: Reader.open(path), SystemClock(), 60.0)
        try:
            loads = asyncio.run(source.loads(Subject.POD))
        finally:
            source.close()
        return ("default", collected.server) in loads and loads["default", collected.server].requests_per_s > 0

    collected.collector.found(load, "the load of the server's pod")


def test_the_command_in_the_collector_s_pod_shows_metrics_and_graph(collected: Collected) -> None:
    def shows(word: str, *flags: str) -> str:
        collected.ask()
        argv = [*PYTHON, word, *flags, "--state", str(collected.collector.state), "-o", "json"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False, env=os.environ)
        return done.stdout + done.stderr

    until(lambda: '"ledger-v1"' in shows("metrics", "--workloads"), "the server in `remora metrics`")
    assert '"till-v1"' in shows("graph")


def test_the_mesh_s_own_processes_are_scraped_too(collected: Collected) -> None:
    for name in ("remora_control_targets_streams", "remora_collector_targets_following"):
        collected.collector.found(lambda reader, now, name=name: reader.series(name, {}, since=now - 60), name)  # type: ignore[misc]
