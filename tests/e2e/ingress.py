"""A pod of the ingress gateway that runs: as the installation describes it, in a network namespace."""

import base64
import os
import ssl
from pathlib import Path
from typing import Any

from remora.install.names import GATEWAY
from remora.install.objects import objects
from remora.install.reading import load
from tests.e2e.cluster import SYSTEM, until
from tests.e2e.mesh import Pods
from tests.netns.captured_mesh import POD_ENVIRONMENT, PROXY, PYTHON, connect

Json = dict[str, Any]
SECRET = "shop-tls"


class Ingress:
    """`start` it. Its Service has the ports of the installation, 80 and 443."""

    def __init__(self, pods: Pods) -> None:
        self.pods = pods
        self.cluster = pods.cluster
        found = {(each["kind"], each["metadata"]["name"]): each for each in self._installed()}
        self._template: Json = found["Deployment", GATEWAY]["spec"]["template"]
        self._service: Json = found["Service", GATEWAY]
        self.there = pods.network.pod("ingress")
        self.name = f"{GATEWAY}-1"
        self.pid = 0

    def _installed(self) -> list[Json]:
        return objects(load([], [f"gateway.tlsSecrets={{{SECRET}}}", "collector.enabled=false"]))

    def start(self) -> None:
        """Until it serves."""
        for each in self._installed():
            if each["kind"] == "Role" and each["metadata"]["name"] == "remora-control":
                self.cluster.apply(each)
        pod = self.cluster.create({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {**self._template["metadata"], "name": self.name, "namespace": SYSTEM},
            "spec": self._template["spec"],
        })  # fmt: skip
        own = {"podIP": self.there.ipv4, "hostIP": self.pods.hub.ipv4}
        self.cluster.set_status("Pod", self.name, SYSTEM, {"phase": "Running", "podIPs": [{"ip": own["podIP"]}], **own})
        self._behind_its_service()
        self._run(pod | {"status": own}, self.cluster.token(SYSTEM, GATEWAY, "remora-ca", pod))

    def _behind_its_service(self) -> None:
        self.cluster.apply(self._service)
        ports = [
            {"name": each["name"], "port": each["targetPort"], "protocol": "TCP"}
            for each in self._service["spec"]["ports"]
        ]
        target = {"kind": "Pod", "name": self.name, "namespace": SYSTEM}
        self.cluster.apply({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "name": f"{GATEWAY}-1", "namespace": SYSTEM, "labels": {"kubernetes.io/service-name": GATEWAY},
            },
            "endpoints": [{"addresses": [self.there.ipv4], "conditions": {"ready": True}, "targetRef": target}],
            "ports": ports,
        })  # fmt: skip

    def _run(self, pod: Json, token: str) -> None:
        """As a kubelet would, but for names that nobody resolves here."""
        (container,) = pod["spec"]["containers"]
        for each in pod["spec"]["securityContext"]["sysctls"]:
            self.there.setting(each["name"].replace(".", "/"), each["value"])
        described = self.pods.directory / self.name
        described.mkdir()
        until(lambda: self.cluster.find("ConfigMap", "remora-ca-root-cert", SYSTEM), "the root is in remora-system")
        root = self.cluster.get("ConfigMap", "remora-ca-root-cert", SYSTEM)["data"]["root.pem"]
        self.pods.write(f"{self.name}/root.pem", root, PROXY, mode=0o644)
        self.pods.write(f"{self.name}/token", token, PROXY)
        for field in ("labels", "annotations"):
            lines = "\n".join(f'{key}="{value}"' for key, value in sorted(pod["metadata"][field].items()))
            self.pods.write(f"{self.name}/{field}", lines, PROXY, mode=0o644)
        environment = {key: os.environ[key] for key in POD_ENVIRONMENT if key in os.environ} | {"HOME": "/"}
        for each in container["env"]:
            value: Any = each.get("value", pod)
            for step in each.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath", "").split("."):
                value = value[step] if step else value
            environment[each["name"]] = value
        environment["REMORA_POD_DIRECTORY"] = str(described)
        args = [each.replace("remora-control.remora-system.svc", self.pods.hub.ipv4) for each in container["args"]]
        argv = [*PYTHON, *args, "--root", str(described / "root.pem"), "--token-file", str(described / "token")]
        self.pods.ready(self.there, argv, self.name, uid=PROXY, environment=environment)
        self.pid = self.there.processes[-1].pid

    # What a client outside does.

    def ask(self, host: str, tls: ssl.SSLContext | None = None, path: str = "/") -> tuple[int, str]:
        """Status and body's beginning; by HTTPS with `tls`. Raises OSError."""
        raw = connect(self.pods.hub, self.there.ipv4, 443 if tls else 80, uid=0)
        with raw, tls.wrap_socket(raw, server_hostname=host) if tls is not None else raw as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode())
            answer = b""
            while data := client.recv(65_536):
                answer += data
        if not answer:
            raise ConnectionResetError("closed without an answer")
        head, _, body = answer.decode().partition("\r\n\r\n")
        return int(head.split()[1]), body

    def certificate(self, host: str, tls: ssl.SSLContext) -> str:
        """The serial of what it shows, in hexadecimal. Raises OSError."""
        raw = connect(self.pods.hub, self.there.ipv4, 443, uid=0)
        with raw, tls.wrap_socket(raw, server_hostname=host) as client:
            shown = client.getpeercert()
        assert shown
        return str(shown["serialNumber"])


def tls_secret(name: str, chain: bytes, key: bytes, authority: bytes = b"") -> Json:
    """Of type kubernetes.io/tls, in remora-system."""
    data = {"tls.crt": chain, "tls.key": key} | ({"ca.crt": authority} if authority else {})
    return {
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": name, "namespace": SYSTEM},
        "data": {entry: base64.b64encode(value).decode() for entry, value in data.items()},
    }  # fmt: skip


def trusting(authority: bytes, directory: Path | None = None, *pair: bytes) -> ssl.SSLContext:
    """A client's; with certificate and key it shows them."""
    context = ssl.create_default_context(cadata=authority.decode())
    if directory is not None:
        path = directory / "client.pem"
        path.write_bytes(b"".join(pair))
        context.load_cert_chain(path)
    return context
