"""A cluster of a test: an API server, real or fake, with what `remora install` puts there, and calls for tests."""

import asyncio
import base64
import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from control.api.kinds import KINDS
from control.kubernetes.apply import apply
from control.kubernetes.client import KubeClient
from control.kubernetes.credentials import connect
from control.kubernetes.resources import ApiResource, Call
from mesh.clock import SystemClock
from remora.install.crds.definitions import all_definitions
from remora.install.objects import objects
from remora.install.values import Values
from tests.e2e.api_server import ApiServer
from tests.e2e.fake_server import FakeInThread
from tests.e2e.given import Given
from tests.e2e.places import Place
from tests.manifests.programs import kubectl

T = TypeVar("T")
Json = dict[str, Any]
Server = ApiServer | FakeInThread | Given

SYSTEM = "remora-system"
ADDRESS = os.environ.get("REMORA_E2E_ADDRESS", "127.0.0.1")
"""Where the API server reaches this machine, for its webhooks."""

_INSTALLED = frozenset({
    "Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding",
    "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration",
})  # fmt: skip
"""Of an installation; nothing else of it does anything where there are no nodes."""


def _resource(group: str, version: str, plural: str, *, namespaced: bool = True) -> ApiResource:
    return ApiResource(group, version, plural, namespaced)


_RBAC = "rbac.authorization.k8s.io"
_ADMISSION = "admissionregistration.k8s.io"
RESOURCES = {
    "Namespace": _resource("", "v1", "namespaces", namespaced=False),
    "Pod": _resource("", "v1", "pods"),
    "Service": _resource("", "v1", "services"),
    "ServiceAccount": _resource("", "v1", "serviceaccounts"),
    "Secret": _resource("", "v1", "secrets"),
    "ConfigMap": _resource("", "v1", "configmaps"),
    "EndpointSlice": _resource("discovery.k8s.io", "v1", "endpointslices"),
    "Lease": _resource("coordination.k8s.io", "v1", "leases"),
    "Role": _resource(_RBAC, "v1", "roles"),
    "RoleBinding": _resource(_RBAC, "v1", "rolebindings"),
    "ClusterRole": _resource(_RBAC, "v1", "clusterroles", namespaced=False),
    "ClusterRoleBinding": _resource(_RBAC, "v1", "clusterrolebindings", namespaced=False),
    "MutatingWebhookConfiguration": _resource(_ADMISSION, "v1", "mutatingwebhookconfigurations", namespaced=False),
    "ValidatingWebhookConfiguration": _resource(_ADMISSION, "v1", "validatingwebhookconfigurations", namespaced=False),
    "CustomResourceDefinition": _resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False),
    **{
        kind.name: _resource(*kind.api_versions[0].split("/"), kind.plural)
        for kind in KINDS.values()
        if "/" in kind.api_versions[0]
    },
}


def until(condition: Callable[[], T], what: str, within: float = 10.0) -> T:
    """The first true answer."""
    deadline = time.monotonic() + within
    while not (result := condition()):
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        time.sleep(0.01)
    return result


class Cluster:
    """`start` before anything else."""

    def __init__(self, server: Server, place: Place) -> None:
        self.server = server
        self.place = place
        self.real = not isinstance(server, FakeInThread)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._live, name="cluster's client", daemon=True)
        self._client: KubeClient | None = None
        self._kubectl_cache = tempfile.TemporaryDirectory(prefix="remora-e2e-kubectl-")

    def _live(self) -> None:
        with self.place.entered():
            self._loop.run_forever()

    def start(self) -> None:
        with self.place.entered():
            self.server.start()
        self._thread.start()
        self._client = self.run(connect(SystemClock(), kubeconfig=str(self.server.kubeconfig)))

    def close(self) -> None:
        if self._client is not None:
            self.run(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        self.server.stop()
        self._kubectl_cache.cleanup()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """In the client's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    @property
    def client(self) -> KubeClient:
        assert self._client is not None
        return self._client

    # Objects. Each raises ApiError.

    def apply(self, document: Json) -> Json:
        """By server-side apply, as kubectl does."""
        return self.run(apply(self.client, RESOURCES[document["kind"]], document, manager="e2e"))

    def create(self, document: Json) -> Json:
        namespace = document["metadata"].get("namespace", "")
        return self.run(self.client.create(RESOURCES[document["kind"]], document, namespace))

    def get(self, kind: str, name: str, namespace: str = "") -> Json:
        return self.run(self.client.get(RESOURCES[kind], name, namespace))

    def find(self, kind: str, name: str, namespace: str = "") -> Json | None:
        return self.run(self.client.find(RESOURCES[kind], name, namespace))

    def delete(self, kind: str, name: str, namespace: str = "") -> None:
        self.run(self.client.delete(RESOURCES[kind], name, namespace))

    def set_status(self, kind: str, name: str, namespace: str, status: Json) -> None:
        """As a controller or a kubelet would."""
        self.run(self.client.patch(RESOURCES[kind], name, {"status": status}, namespace, subresource="status"))

    def namespace(self, name: str, **labels: str) -> str:
        """One with its default account, which a controller would make."""
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        self.account(name, "default")
        return name

    def account(self, namespace: str, name: str) -> None:
        self.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}})

    def token(self, namespace: str, account: str, audience: str = "", pod: Json | None = None) -> str:
        """As the kubelet asks for one, bound to a pod if it is for one."""
        spec: Json = {"audiences": [audience] if audience else [], "expirationSeconds": 3600}
        if pod is not None:
            metadata = pod["metadata"]
            spec["boundObjectRef"] = {
                "apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"],
            }  # fmt: skip
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        call = Call("create", RESOURCES["ServiceAccount"], namespace, account, "token")
        answer = self.run(self.client.call("POST", call, body=body))
        return str(answer["status"]["token"])

    def kubeconfig_of(self, token: str, at: Path) -> Path:
        """For another user of the same server."""
        config = json.loads(self.server.kubeconfig.read_text())
        config["users"] = [{"name": each["name"], "user": {"token": token}} for each in config["users"]]
        at.touch(0o600)
        at.write_text(json.dumps(config))
        return at

    def kubectl(self, *arguments: str, text: str = "") -> "subprocess.CompletedProcess[str]":
        """Its outcome, whatever it is; without kubectl, or with an old one, the test skips."""
        # What it remembers of a server is this one's alone: ports come again.
        command = [kubectl(), "--kubeconfig", str(self.server.kubeconfig), *arguments]
        command += ["--cache-dir", self._kubectl_cache.name]
        with self.place.entered():
            return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)

    # What is installed.

    def install(self, webhook_port: int) -> None:
        """What `remora install` prints, as far as it matters without nodes, with webhooks at this machine."""
        for document in all_definitions():
            self.apply(document)
        for document in objects(Values()):
            if document["kind"] in _INSTALLED:
                self.apply(_at_this_machine(document, webhook_port))
        for document in all_definitions():
            name = document["metadata"]["name"]
            until(lambda name=name: self._established(name), f"{name} is served")  # type: ignore[misc]

    def _established(self, name: str) -> bool:
        conditions = self.get("CustomResourceDefinition", name).get("status", {}).get("conditions", [])
        return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)

    def webhooks_trusted(self) -> bool:
        """Whether the leader has told the API server whom to trust."""
        names = (("Mutating", "remora-injector"), ("Validating", "remora-validator"))
        found = [self.get(f"{kind}WebhookConfiguration", name) for kind, name in names]
        return all(webhook["clientConfig"].get("caBundle") for each in found for webhook in each["webhooks"])


def _at_this_machine(document: Json, webhook_port: int) -> Json:
    for webhook in document.get("webhooks", ()):
        path = webhook["clientConfig"]["service"]["path"]
        webhook["clientConfig"] = {"url": f"https://{ADDRESS}:{webhook_port}{path}"}
    return document


def decoded(secret: Json, key: str) -> str:
    """Of a Secret's data."""
    return base64.b64decode(secret["data"][key]).decode()
