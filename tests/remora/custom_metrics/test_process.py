"""`remora custom-metrics` beside an API server, asked as its aggregation layer asks."""

import base64
import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from collectors.records import Batch, Labels
from remora.install.objects import objects
from remora.install.parts.custom_metrics import own_rules
from remora.install.reading import load
from tests.collectors.build import durations, fill, labels, requests
from tests.kubernetes.api_server import FakeApiServer
from tests.kubernetes.kubeconfigs import serving_files

Eventually = Callable[..., Awaitable[None]]

_ROOT = "apis/custom.metrics.k8s.io"
_NAME = "remora-custom-metrics.remora-system.svc"


class Adapter:
    """The process, and what it takes to be believed by it."""

    def __init__(
        self, server: FakeApiServer, directory: Path, *flags: str, configured: bool = True, token: str = "admin"
    ) -> None:
        self.authority, chain, key = serving_files("127.0.0.1")  # its name: kube-apiserver
        (directory / "front-proxy.pem").write_bytes(chain + key)
        self.front_proxy = directory / "front-proxy.pem"
        server.seed(_config_map(self.authority if configured else "", ["kube-apiserver"]))
        for version in ("v1beta1", "v1beta2"):
            server.seed(_api_service(version))
        (directory / "kubeconfig").write_text(yaml.safe_dump(server.kubeconfig(token)))
        read, write = os.pipe()
        argv = [sys.executable, "-m", "remora", "custom-metrics", "--listen", "127.0.0.1:0", "--kubeconfig"]
        argv += [str(directory / "kubeconfig"), "--ready-fd", str(write), *flags]
        with open(directory / "log", "wb") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, pass_fds=(write,))
        os.close(write)
        self.ready = open(read)  # noqa: SIM115 - closed by stop
        self.log = directory / "log"
        self.server = server

    def client(self) -> httpx.AsyncClient:
        """The aggregation layer's: its certificate, and the bundle of the APIService."""
        address = json.loads(self.ready.readline())["address"]
        context = ssl.create_default_context(cadata=self.bundle())
        context.load_cert_chain(self.front_proxy)
        return httpx.AsyncClient(
            base_url=f"https://localhost:{address.rpartition(':')[2]}",
            verify=context,
            headers={"host": _NAME},
            timeout=10.0,
        )

    def bundle(self) -> str:
        found = self.server.get("apiregistration.k8s.io/v1", "APIService", "v1beta2.custom.metrics.k8s.io")
        return base64.b64decode(found["spec"].get("caBundle", "")).decode()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)


def _config_map(authority: str, names: list[str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
        "data": {"requestheader-client-ca-file": authority, "requestheader-allowed-names": json.dumps(names)},
    }


def _api_service(version: str) -> dict[str, Any]:
    service = {"name": "remora-custom-metrics", "namespace": "remora-system", "port": 6443}
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": f"{version}.custom.metrics.k8s.io"},
        "spec": {"group": "custom.metrics.k8s.io", "version": version, "service": service},
    }


def _pod(name: str, **of: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default", "labels": of}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [{"name": "app"}]}}


def _of_pod(pod: str, series: Labels) -> Labels:
    return tuple(sorted((*series, ("workload", pod), ("namespace", "default"))))


def _traffic(path: Path, now: float) -> None:
    """120 requests to one pod of reviews in the last minute, 30 of them failed; none to the other."""
    busy = [_of_pod("reviews-1", labels("a-v1", "reviews-v1", response_code=code)) for code in ("200", "503")]
    idle = _of_pod("reviews-2", labels("b-v1", "reviews-v1"))
    samples = [requests(now - 50, 0, busy[0]), requests(now - 1, 90, busy[0])]
    samples += [requests(now - 50, 0, busy[1]), requests(now - 1, 30, busy[1])]
    samples += [durations(now - 50, [], busy[0]), durations(now - 1, [8.0] * 90, busy[0])]
    samples += [requests(now - 50, 7, idle), requests(now - 1, 7, idle)]
    path.parent.mkdir(parents=True)
    fill(path, Batch(samples=samples), now=now)


def _installed(server: FakeApiServer) -> str:
    """The token of its account; from now on roles decide."""
    for each in objects(load([], ["customMetrics.enabled=true"])):
        if each["kind"] in ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"):
            server.seed(each)
    rules = [
        {
            "apiGroups": [""],
            "resources": ["configmaps"],
            "resourceNames": ["extension-apiserver-authentication"],
            "verbs": ["get", "list", "watch"],
        }
    ]
    metadata = {"name": "extension-apiserver-authentication-reader", "namespace": "kube-system"}
    server.seed({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": rules})
    server.access.rbac = True
    return server.access.issue("remora-system", "remora-collector")


@contextlib.asynccontextmanager
async def _running(
    tmp_path: Path, eventually: Eventually, *, restricted: bool = False
) -> AsyncIterator[tuple[FakeApiServer, Adapter, Any]]:
    """`restricted`: as the account, with the roles, that an installation gives it."""
    _traffic(tmp_path / "state" / "store" / "telemetry.sqlite", time.time())
    async with FakeApiServer() as server:
        server.seed(_pod("reviews-1", app="reviews"))
        server.seed(_pod("reviews-2", app="reviews"))
        server.seed(_pod("ratings-1", app="ratings"))
        token = _installed(server) if restricted else "admin"
        flags = ("--state", str(tmp_path / "state"), "--service", "localhost")
        adapter = Adapter(server, tmp_path, *flags, token=token)
        try:
            await eventually(lambda: adapter.bundle() or adapter.process.poll() is not None, "the bundle", within=20.0)
            assert adapter.process.poll() is None, adapter.log.read_text()
            async with adapter.client() as client:
                yield server, adapter, client
        finally:
            if adapter.process.poll() is None:
                adapter.process.kill()
            adapter.process.wait(10)
            adapter.ready.close()


async def test_what_an_installation_grants_it_is_what_it_asks_for(tmp_path: Path, eventually: Eventually) -> None:
    async with _running(tmp_path, eventually, restricted=True) as (server, adapter, client):
        path = f"/{_ROOT}/v1beta2/namespaces/default/pods/*/remora_requests_per_second"
        assert len((await client.get(path, params={"labelSelector": "app=reviews"})).json()["items"]) == 2
        granted = {
            (verb, group, resource)
            for rule in own_rules()
            for verb in rule["verbs"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
        }
        used = server.used_by("system:serviceaccount:remora-system:remora-collector")
        assert {each for each in used if each[2] != "configmaps"} == granted
        assert {each for each in used if each[2] == "configmaps"} <= {
            (verb, "", "configmaps") for verb in ("get", "list", "watch")
        }
        assert "forbidden" not in adapter.log.read_text()


async def test_an_autoscaler_finds_the_load_of_pods_workloads_and_services(
    tmp_path: Path, eventually: Eventually
) -> None:
    async with _running(tmp_path, eventually) as (_, adapter, client):
        listed = (await client.get(f"/{_ROOT}/v1beta2")).json()
        assert listed["groupVersion"] == "custom.metrics.k8s.io/v1beta2"
        assert "pods/remora_requests_per_second" in {each["name"] for each in listed["resources"]}

        async def items(what: str, version: str = "v1beta2", **params: str) -> list[dict[str, Any]]:
            answer = await client.get(f"/{_ROOT}/{version}/namespaces/default/{what}", params=params)
            assert answer.status_code == 200, answer.text
            return list(answer.json()["items"])

        pods = await items("pods/*/remora_requests_per_second", labelSelector="app=reviews")
        assert {each["describedObject"]["name"]: each["value"] for each in pods} == {"reviews-1": "2", "reviews-2": "0"}
        assert pods[0]["describedObject"] == {
            "kind": "Pod",
            "namespace": "default",
            "name": "reviews-1",
            "apiVersion": "v1",
        }
        assert pods[0]["metric"] == {"name": "remora_requests_per_second", "selector": None}
        assert pods[0]["windowSeconds"] == 60
        (ratio,) = await items("pods/*/remora_error_ratio", labelSelector="app=reviews")
        assert ratio["value"] == "250m", "of a pod that nothing came to there is no share"
        (older,) = await items("deployments.apps/reviews-v1/remora_requests_per_second", "v1beta1")
        assert older["metricName"] == "remora_requests_per_second"
        assert older["value"] == "2"
        (service,) = await items("services/reviews/remora_latency_p99_milliseconds")
        assert 5 < int(service["value"].removesuffix("m")) / 1000 <= 10
        assert adapter.stop() == 0


async def test_what_is_not_there_is_said_and_what_is_not_supported_is_refused(
    tmp_path: Path, eventually: Eventually
) -> None:
    async with _running(tmp_path, eventually) as (server, adapter, client):

        async def refused(path: str, status: int, why: str) -> None:
            answer = await client.get(f"/{_ROOT}/v1beta2/{path}")
            said = answer.json()
            assert (answer.status_code, said["kind"], said["code"]) == (status, "Status", status), said
            assert why in said["message"]

        await refused("namespaces/default/pods/ratings-1/remora_requests_per_second", 404, "nothing came")
        await refused("namespaces/default/pods/reviews-1/remora_moods", 404, "there are remora_requests_per_second")
        await refused("namespaces/default/moods/x/remora_error_ratio", 404, "there are of pods, services")
        await refused("nodes/x/remora_error_ratio", 404, "Not Found")
        await refused("namespaces/default/pods/*/remora_error_ratio?metricLabelSelector=a", 400, "not supported")
        await refused("namespaces/default/services/*/remora_error_ratio?labelSelector=a", 400, "name the object")
        await refused("namespaces/default/pods/*/remora_error_ratio?pretty=1", 400, "pretty")
        server.access.forbidden.add(("list", "", "pods"))
        await refused("namespaces/default/pods/*/remora_error_ratio", 503, 'grant verb "list" on resource "pods"')
        assert adapter.stop() == 0


async def test_nobody_but_the_aggregation_layer_is_answered(tmp_path: Path, eventually: Eventually) -> None:
    async with _running(tmp_path, eventually) as (_, adapter, client):
        assert (await client.get(f"/{_ROOT}/v1beta2")).status_code == 200
        address = client.base_url
        context = ssl.create_default_context(cadata=adapter.bundle())
        async with httpx.AsyncClient(verify=context) as anonymous:
            with pytest.raises(httpx.TransportError):
                await anonymous.get(f"{address}/{_ROOT}/v1beta2")
        _, chain, key = serving_files("127.0.0.1")  # of the same name, by another authority
        (tmp_path / "other.pem").write_bytes(chain + key)
        context.load_cert_chain(tmp_path / "other.pem")
        async with httpx.AsyncClient(verify=context) as stranger:
            with pytest.raises(httpx.TransportError):
                await stranger.get(f"{address}/{_ROOT}/v1beta2")


async def test_a_cluster_without_an_aggregation_layer_is_said(tmp_path: Path, eventually: Eventually) -> None:
    async with FakeApiServer() as server:
        adapter = Adapter(server, tmp_path, "--state", str(tmp_path), configured=False)
        await eventually(lambda: adapter.process.poll() is not None, "the end", within=20.0)
        adapter.ready.close()
        assert adapter.process.returncode == 1
        assert "aggregation layer is not configured" in adapter.log.read_text()
