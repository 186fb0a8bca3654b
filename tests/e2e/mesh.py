"""Pods of a cluster that run: network namespaces with a sidecar each, beside the API server and the control plane.

What a kubelet and controllers do, `Pods` does: it creates pods, lets webhooks change them, reports their addresses, and
starts the sidecar that was injected, with a token of its service account.
"""

import shutil
from typing import Any

from tests.e2e.cluster import Cluster, until
from tests.e2e.control import Control
from tests.netns.captured_mesh import CapturedMesh, Sidecar, request
from tests.netns.injected import InjectedPod
from tests.netns.namespaces import Namespace

Json = dict[str, Any]


class StoredPod(InjectedPod):
    """As the API server has it, which has asked the webhook."""

    def __init__(self, stored: Json, address: str, host: str) -> None:
        self.pod = stored | {"status": {"podIP": address, "hostIP": host}}


class Pods(CapturedMesh):
    """Their applications too. Everything is in namespace `default`."""

    def __init__(self, cluster: Cluster, control: Control, network: Any) -> None:
        super().__init__(network)
        self.cluster = cluster
        self.control = control

    def close(self) -> None:
        """But for the network, which is not ours alone."""
        for pod in self.network.pods.values():
            if pod is not self.hub:
                pod.close()
        self._stack.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def create(
        self, name: str, *, inject: bool, pod: Namespace | None = None, metadata: Json | None = None
    ) -> "tuple[Json, Namespace]":
        """In the API, with an address; not running. `metadata`: more of it."""
        cluster = self.cluster
        cluster.account("default", f"{name}-account")
        document: Json = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": "default",
                "labels": {"app": name, "sidecar.istio.io/inject": "true" if inject else "false"},
                **(metadata or {}),
            },
            "spec": {
                "serviceAccountName": f"{name}-account",
                "containers": [{"name": "app", "image": "app:1", "ports": [{"containerPort": 8080}]}],
            },
        }
        made = cluster.create(document)
        there = pod or self.network.pod(name)
        status = {"phase": "Running", "podIP": there.ipv4, "podIPs": [{"ip": there.ipv4}]}
        cluster.set_status("Pod", name, "default", status)
        return made, there

    def sidecar(self, name: str, metadata: Json | None = None) -> Sidecar:
        """Of a pod that is created here, captured and with its sidecar serving."""
        made, there = self.create(name, inject=True, metadata=metadata)
        containers = [*made["spec"].get("initContainers", ()), *made["spec"]["containers"]]
        assert "remora-proxy" in [each["name"] for each in containers], made
        until(lambda: self.cluster.find("ConfigMap", "remora-ca-root-cert", "default"), "the root is in default")
        root = self.cluster.get("ConfigMap", "remora-ca-root-cert", "default")["data"]["root.pem"]
        self.write("root.pem", root, 0, mode=0o644)
        token = self.cluster.token("default", f"{name}-account", "remora-ca", made)
        started = Sidecar(self, there, name, there.ipv4, token, StoredPod(made, there.ipv4, self.hub.ipv4))
        started.capture()
        started.start()
        return started

    def service(self, name: str, address: str, port: int = 80, target: int = 8080) -> None:
        """Its endpoints are the test's to write."""
        self.cluster.apply({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
            "spec": {"clusterIP": address, "ports": [{"name": "http", "port": port, "targetPort": target}]},
        })  # fmt: skip

    def endpoints(self, service: str, *addresses: str, port: int = 8080) -> None:
        """As the EndpointSlice controller would write them."""
        self.cluster.apply({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "name": f"{service}-1", "namespace": "default", "labels": {"kubernetes.io/service-name": service},
            },
            "endpoints": [{"addresses": [each], "conditions": {"ready": True}} for each in addresses],
            "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
        })  # fmt: skip

    def ask(self, client: Namespace, host: str, path: str = "/", authority: str = "") -> "tuple[int, str]":
        """Status, and the server that answered; empty where the sidecar did."""
        answer = request(client, host, 80, path, authority=authority)
        server = answer.seen["server"] if answer.body.startswith(b"{") else ""
        return answer.status, server
