"""Two clusters, two API servers, one control plane: joined by what `remora multicluster add` prints, with roles in
force in both; away, back, and taken out again."""

import asyncio
import base64
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from mesh.clock import SystemClock
from remora.install.objects import objects
from remora.install.reading import load
from remora.multicluster.joining import join
from remora.multicluster.objects import READER, TOKEN_SECRET, reader_objects
from tests.control.ca.requests import uri
from tests.e2e.cluster import SYSTEM, Cluster, until
from tests.e2e.control import SHORT_TERM, LeastPrivileged
from tests.e2e.fake_server import FakeInThread
from tests.e2e.places import Here
from tests.e2e.test_identity import first_certificate
from tests.kubernetes.objects import Object, endpoint, endpoint_slice, node, pod, service

MESHED = {"security.istio.io/tlsMode": "istio"}


def members(number: int, region: str) -> list[Object]:
    """`web` with an instance at 10.NUMBER.0.1, a client of it, and the node of both."""
    address = f"10.{number}.0.1"
    ends = endpoint_slice("web-1", "web", endpoint(address, f"web-{number}"))
    client = pod(f"client-{number}", f"10.{number}.0.9", labels=MESHED)
    return [service("web"), ends, pod(f"web-{number}", address, labels=MESHED), client, node("node-1", region)]


def started(at: Path, number: int, region: str) -> FakeInThread:
    server = FakeInThread(at)
    server.start()
    for each in members(number, region):
        server.do(lambda each=each: server.fake.seed(each))  # type: ignore[misc]
    server.fake.access.rbac = True
    return server


@pytest.fixture(scope="module")
def east(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeInThread]:
    """Its token controller has been quick."""
    server = started(tmp_path_factory.mktemp("east"), 2, "eu")
    token = server.fake.access.issue(SYSTEM, READER)
    authority = server.fake.kubeconfig()["clusters"][0]["cluster"]["certificate-authority-data"]
    data = {"token": base64.b64encode(token.encode()).decode(), "ca.crt": authority}
    server.do(lambda: server.fake.seed({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token", "data": data,
        "metadata": {"name": TOKEN_SECRET, "namespace": SYSTEM},
    }))  # fmt: skip
    yield server
    server.stop()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    here = Here()
    with contextlib.ExitStack() as stack:
        stack.callback(here.close)
        made = Cluster(FakeInThread(tmp_path_factory.mktemp("home")), here)
        stack.callback(made.close)
        made.start()
        server = fake(made)
        for each in members(1, "us"):
            server.do(lambda each=each: server.fake.seed(each))  # type: ignore[misc]
        server.fake.access.rbac = True
        yield made


def fake(cluster: Cluster) -> FakeInThread:
    assert isinstance(cluster.server, FakeInThread)
    return cluster.server


@pytest.fixture(scope="module")
def control(home: Cluster, east: FakeInThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LeastPrivileged]:
    """Told of `east` before it starts."""
    home.namespace(SYSTEM)
    home.create(telling(east))
    made = Following(home, tmp_path_factory.mktemp("control") / "control", *SHORT_TERM, "--other-clusters")
    made.start()
    yield made
    assert made.end() == 0


class Following(LeastPrivileged):
    """With the permissions of an installation that joins other clusters."""

    def begin(self) -> None:
        for each in objects(load([], ["control.otherClusters=true"])):
            if each["kind"] == "Role" and each["metadata"]["name"] == "remora-control":
                self._cluster.apply(each)
        super().begin()


def telling(east: FakeInThread) -> Object:
    """As the command prints it for a cluster that has no control plane of its own."""

    async def made() -> Object:
        from control.kubernetes.credentials import connect

        client = await connect(SystemClock(), kubeconfig=str(east.kubeconfig))
        try:
            return await join(client, SystemClock(), "east", server="", shared=True)
        finally:
            await client.close()

    return asyncio.run(made())


def clusters(control: LeastPrivileged) -> dict[str, Any]:
    """By name."""
    return {each["name"]: each for each in control.get("/v1/status").json()["clusters"]}


def workloads(control: LeastPrivileged) -> list[str]:
    """Names of those that are configured."""
    return [each["workload"] for each in control.get("/v1/status").json()["proxies"]]


def endpoints(control: LeastPrivileged, client: str) -> list[str]:
    """Addresses that a client has of `web`."""
    found = control.get(f"/v1/config/default/{client}/endpoints").json()["resources"]
    (loads,) = (each for each in found if each["clusterName"] == "outbound|80||web.default.svc.cluster.local")
    return [
        end["endpoint"]["address"]["socketAddress"]["address"]
        for where in loads.get("endpoints", ())
        for end in where["lbEndpoints"]
    ]


def test_clients_of_both_clusters_are_configured_and_use_what_is_near(control: LeastPrivileged) -> None:
    assert clusters(control)["east"]["state"] == "joined"
    assert clusters(control)["east"]["pods"] == 2
    assert endpoints(control, "client-1") == ["10.1.0.1"]
    assert endpoints(control, "client-2") == ["10.2.0.1"]


def test_the_other_clusters_instances_are_used_while_there_are_none_here(
    control: LeastPrivileged, home: Cluster
) -> None:
    server = fake(home)
    server.do(lambda: server.fake.remove("discovery.k8s.io/v1", "EndpointSlice", "web-1", "default"))
    until(lambda: endpoints(control, "client-1") == ["10.2.0.1"], "the other cluster's are used")
    server.do(lambda: server.fake.seed(members(1, "us")[1]))
    until(lambda: endpoints(control, "client-1") == ["10.1.0.1"], "its own are used again")


def test_a_pod_of_the_other_cluster_proves_itself_by_its_own_api_server(
    control: LeastPrivileged, east: FakeInThread
) -> None:
    token = east.fake.access.issue("default", "default", ["remora-ca"], pod="client-2")
    expected = [uri("spiffe://cluster.local/ns/default/sa/default")]
    assert first_certificate(control, token, ClusterID="east", POD_NAME="client-2") == expected
    for metadata in ({}, {"ClusterID": "Kubernetes"}, {"ClusterID": "east", "POD_NAME": "client-1"}):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            first_certificate(control, token, **metadata)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert token not in control.said()


def test_with_just_the_permissions_that_the_command_gives(control: LeastPrivileged, east: FakeInThread) -> None:
    granted = {
        (verb, group, resource)
        for each in reader_objects(shared=True)
        for rule in each.get("rules", ())
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert east.fake.used_by(f"system:serviceaccount:{SYSTEM}:{READER}") == granted
    assert "forbidden" not in control.said()


def test_a_cluster_that_is_away_keeps_its_endpoints_and_is_marked_until_it_is_back(
    control: LeastPrivileged, east: FakeInThread
) -> None:
    east.stop_server()
    until(lambda: clusters(control)["east"]["state"] == "away", "it is marked")
    assert endpoints(control, "client-2") == ["10.2.0.1"]
    assert control.said().count("of cluster east does not answer as it should") == 1
    assert control.metric('remora_clusters{state="away"}') == 1
    east.start_server()
    until(lambda: clusters(control)["east"]["state"] == "joined", "it is back", within=30)


def test_without_its_secret_a_cluster_is_none_of_the_meshs(control: LeastPrivileged, home: Cluster) -> None:
    home.delete("Secret", "remora-cluster-east", SYSTEM)
    until(lambda: not clusters(control), "nothing is told of it")
    until(lambda: "client-2" not in workloads(control), "its pods are gone")
    assert endpoints(control, "client-1") == ["10.1.0.1"]
