"""Where metrics are, in the form that Prometheus reads: of workloads as `targets.json` (file_sd), and of all that the
mesh has as the answer of its service discovery by HTTP (http_sd). And whose they are.

Labels that begin with `__meta_` are dropped by Prometheus. They are for relabelling, and for the collector, which lets
a workload's records in only under that workload's certificate.
https://prometheus.io/docs/prometheus/latest/http_sd/
"""

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from control.api.derived import WorkloadKey
from control.api.services import Port
from control.api.workload import Workload
from control.api.world import World
from control.translate.proxies import identity_of
from mesh.files import write_atomic

_log = logging.getLogger("control.debug")

SYSTEM_NAMESPACE = "remora-system"
MAX_COLLECTOR_FILE_BYTES = 64 * 1024
POD_METRICS_PORT = 15020
"""Of every sidecar and gateway in a pod, and of the collector's (docs/pods.md)."""
REST_PORT = 15014
"""Of a control plane in a cluster: its metrics, too."""

Group = dict[str, Any]


def metrics_address(workload: Workload) -> str:
    """Where its sidecar shows metrics; empty: nowhere. A pod's is found by its address alone."""
    if workload.metrics:
        return workload.metrics
    meshed = workload.capture or workload.kind == "gateway"
    return (
        _at(workload.addresses[0], POD_METRICS_PORT) if workload.addresses and meshed and not workload.finished else ""
    )


def _at(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def workload_groups(world: World, trust_domain: str) -> list[Group]:
    """One group for each workload that has metrics."""
    groups = (_workload_group(workload, trust_domain) for _, workload in sorted(world.workloads.items()))
    return [group for group in groups if group is not None]


def _workload_group(workload: Workload, trust_domain: str) -> Group | None:
    address = metrics_address(workload)
    if not address:
        return None
    labels = workload.effective_labels
    service = labels.get("service.istio.io/canonical-name") or workload.service or labels.get("app", "")
    about = {
        "job": "remora-sidecar",
        "workload": workload.name,
        "namespace": workload.namespace,
        "app": labels.get("app", ""),
        "version": labels.get("version", ""),
        "__meta_remora_principal": str(identity_of(workload, trust_domain)),
        "__meta_remora_service": service,
    }
    # A pod's records are in the name of its Deployment, or what else it is an instance of.
    owned = {"__meta_remora_owner": workload.owner} if workload.owner else {}
    return {"targets": [address], "labels": about | owned}


def component_groups(world: World) -> list[Group]:
    """The mesh's own processes in a cluster, found as everybody finds them: behind their Services."""
    groups = []
    for (namespace, name), service in world.services.items():
        if namespace != SYSTEM_NAMESPACE:
            continue
        hosts = sorted({host for port in service.ports for host in _hosts(port)})
        if name == "remora-control" or name.startswith("remora-control-"):
            groups += [_component("control", _at(host, REST_PORT), {"__scheme__": "https"}) for host in hosts]
        elif name == "remora-collector":
            groups += [_component("collector", _at(host, POD_METRICS_PORT), {}) for host in hosts]
    return groups


def control_planes(world: World) -> list[str]:
    """HOST:PORT of every control plane's REST interface in a cluster: each knows the sidecars that came to it."""
    groups = (group for group in component_groups(world) if group["labels"]["job"] == "remora-control")
    return [target for group in groups for target in group["targets"]]


def _hosts(port: Port) -> Iterator[str]:
    """Addresses of a Service's instances."""
    for workload, _ in port.members:
        yield from workload.addresses[:1]
    for each in port.others:
        yield each.host


class TargetList:
    """`targets.json` of one World after another, at the cost of what has changed: one line for each workload."""

    def __init__(self, trust_domain: str) -> None:
        self._trust_domain = trust_domain
        self._lines: dict[WorkloadKey, tuple[Workload, str]] = {}

    def render(self, world: World) -> bytes:
        """One JSON document."""
        lines: dict[WorkloadKey, tuple[Workload, str]] = {}
        for key, workload in world.workloads.items():
            known = self._lines.get(key)
            lines[key] = known if known is not None and known[0] is workload else (workload, self._line(workload))
        self._lines = lines
        texts = [text for _, (_, text) in sorted(lines.items(), key=lambda item: item[0]) if text]
        texts += [json.dumps(group) for group in component_groups(world)]
        return ("[\n" + ",\n".join(texts) + "\n]\n").encode() if texts else b"[]\n"

    def _line(self, workload: Workload) -> str:
        group = _workload_group(workload, self._trust_domain)
        return "" if group is None else json.dumps(group)


def discovered(world: World, trust_domain: str, rest: str, collector: Path) -> list[Group]:
    """Everything: workloads, control planes, collector. In a cluster by Services; elsewhere this control plane at
    `rest` (https://HOST:PORT), and the collector of this state directory, as its file says while it runs."""
    groups = [*workload_groups(world, trust_domain), *component_groups(world)]
    if not any(group["labels"]["job"] == "remora-control" for group in groups):
        scheme, _, address = rest.partition("://")
        groups.append(_component("control", address, {"__scheme__": scheme}))
    for address, labels in _collector_targets(collector):
        groups.append(_component("collector", address, labels))
    return groups


def _component(name: str, address: str, labels: dict[str, str]) -> Group:
    about = {"job": f"remora-{name}", "workload": name, "namespace": SYSTEM_NAMESPACE}
    return {"targets": [address], "labels": {**about, **labels}}


def _collector_targets(path: Path) -> list[tuple[str, dict[str, str]]]:
    """A file that is not there, or is none, is a collector that does not run."""
    try:
        if path.stat().st_size > MAX_COLLECTOR_FILE_BYTES:
            raise ValueError(f"more than {MAX_COLLECTOR_FILE_BYTES} bytes")
        said = json.loads(path.read_bytes())
        address = str(said["health"])
        found: list[tuple[str, dict[str, str]]] = [(address, {})]
        if said.get("node"):
            # Under node exporter's names, so under the job that its dashboards look for.
            found.append((address, {"job": "node", "__metrics_path__": str(said["node"])}))
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        _log.warning("%s is not read: %s", path, error)
        return []
    return found


class TargetsFile:
    """Keeps the file equal to the World. `update` is quick; `run` writes."""

    def __init__(self, path: Path, trust_domain: str) -> None:
        self._path = path
        self._targets = TargetList(trust_domain)
        self._wanted: World | None = None
        self._changed = asyncio.Event()
        self._written: bytes | None = None

    def update(self, world: World) -> None:
        self._wanted = world
        self._changed.set()

    async def run(self) -> None:
        """Write, for ever. A full disk is logged, and tried again with the next change."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._wanted is None:
                continue
            data = self._targets.render(self._wanted)
            if data == self._written:
                continue
            try:
                await asyncio.to_thread(write_atomic, self._path, data)
                self._written = data
            except OSError as error:
                _log.error("cannot write %s: %s", self._path, error)
