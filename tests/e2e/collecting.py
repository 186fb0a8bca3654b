"""The collector of a cluster: as `remora install` starts it, at the hub's address, and what its store has."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from collectors.store.reader import Reader
from remora.install.objects import objects
from remora.install.values import Values
from tests.e2e.cluster import SYSTEM, until
from tests.e2e.control import PYTHON
from tests.e2e.mesh import Json, Pods

T = TypeVar("T")


class Collector:
    """Runs in the hub, as pod remora-collector-0 of remora-system. Where a container has volumes mounted, this machine
    has directories; where a cluster has names, the hub has its address. Nothing else of its flags is changed."""

    def __init__(self, pods: Pods) -> None:
        self._pods = pods
        self.state = pods.directory / "collector-state"
        self.state.mkdir()
        pods.write("collector-root.pem", pods.control.root_pem().decode(), 0, mode=0o644)
        pods.write("collector.token", pods.cluster.token(SYSTEM, "remora-collector", "remora-ca"), 0)

    def start(self) -> None:
        """Until it serves."""
        self._pods.ready(self._pods.hub, self._argv(), "collector")

    def _argv(self) -> list[str]:
        found = objects(Values.model_validate({"collector": {"scrapeIntervalSeconds": 1}}))
        (settings,) = (each for each in found if each["metadata"]["name"] == "remora-collector-settings")
        (stateful_set,) = (each for each in found if each["kind"] == "StatefulSet")
        pod = stateful_set["spec"]["template"]["spec"]
        (container,) = (each for each in pod["containers"] if each["name"] == "collector")
        (file, text), *_ = settings["data"].items()
        self._pods.write(file, text, 0, mode=0o644)
        here = {
            "/var/lib/remora": str(self.state),
            f"/etc/remora/collector/{file}": str(self._pods.directory / file),
            "/var/run/secrets/remora/root.pem": str(self._pods.directory / "collector-root.pem"),
            "/var/run/secrets/tokens/remora-token": str(self._pods.directory / "collector.token"),
            "remora-control.remora-system.svc": self._pods.hub.ipv4,
        }
        words = []
        for word in container["args"]:
            for there, instead in here.items():
                word = word.replace(there, instead)
            words.append(word)
        return [*PYTHON, *words]

    @contextlib.contextmanager
    def store(self) -> Iterator[Reader]:
        with contextlib.closing(Reader.open(self.state / "store" / "telemetry.sqlite")) as reader:
            yield reader

    def found(self, ask: Callable[[Reader, float], T], what: str) -> T:
        """The first true answer of the store; `ask` is given the time."""

        def look() -> T:
            with self.store() as reader:
                return ask(reader, time.time())

        return until(look, f"{what}; the collector: {self._pods.log_of('collector')}", within=20)

    @property
    def targets(self) -> Path:
        return self.state / "targets.json"


def instance(pods: Pods, deployment: str, *, port: int = 0) -> tuple[str, Any]:
    """A Deployment's pod with its sidecar serving, and the application if there is a `port`: its name, its sidecar."""
    name = f"{deployment}-5d4f8c7b9-x2x7q"
    owner = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": f"{deployment}-5d4f8c7b9",
        "uid": f"{deployment}-uid",
        "controller": True,
    }
    metadata: Json = {
        "ownerReferences": [owner],
        "labels": {"app": deployment.rpartition("-")[0], "version": deployment.rpartition("-")[2],
                   "pod-template-hash": "5d4f8c7b9", "sidecar.istio.io/inject": "true"},
    }  # fmt: skip
    sidecar = pods.sidecar(name, metadata)
    if port:
        pods.http_server(sidecar.pod, port, deployment)
    return name, sidecar


def behind(pods: Pods, service: str, pod: str, address: str, port: int = 8080) -> None:
    """An EndpointSlice as the controller writes it, which says whose address it is."""
    pods.cluster.apply({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": f"{service}-1", "namespace": "default", "labels": {"kubernetes.io/service-name": service},
        },
        "endpoints": [{
            "addresses": [address], "conditions": {"ready": True},
            "targetRef": {"kind": "Pod", "name": pod, "namespace": "default"},
        }],
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
    })  # fmt: skip


def system_service(pods: Pods, name: str, address: str, **ports: int) -> None:
    """One of the mesh's own Services, with the hub behind it."""
    pods.cluster.apply({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": SYSTEM},
        "spec": {"clusterIP": address, "ports": [
            {"name": each.replace("_", "-"), "port": port, "targetPort": port} for each, port in ports.items()]},
    })  # fmt: skip
    pods.cluster.apply({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": f"{name}-1", "namespace": SYSTEM, "labels": {"kubernetes.io/service-name": name}},
        "endpoints": [{"addresses": [pods.hub.ipv4], "conditions": {"ready": True}}],
        "ports": [{"name": each.replace("_", "-"), "port": port, "protocol": "TCP"} for each, port in ports.items()],
    })  # fmt: skip
