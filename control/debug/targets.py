"""Where metrics are, in the form that Prometheus reads: of workloads as `targets.json` (file_sd), and of all that the
mesh has as the answer of its service discovery by HTTP (http_sd). And whose they are.

Labels that begin with `__meta_` are dropped by Prometheus. They are for relabelling, and for the collector, which lets
a workload's records in only under that workload's certificate.
https://prometheus.io/docs/prometheus/latest/http_sd/
"""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

from control.api.world import World
from control.translate.proxies import identity_of
from mesh.files import write_atomic

_log = logging.getLogger("control.debug")

SYSTEM_NAMESPACE = "remora-system"
MAX_COLLECTOR_FILE_BYTES = 64 * 1024

Group = dict[str, Any]


def workload_groups(world: World, trust_domain: str) -> list[Group]:
    """One group for each workload that has metrics."""
    groups = []
    for _, workload in sorted(world.workloads.items()):
        if not workload.metrics:
            continue
        labels = workload.effective_labels
        service = labels.get("service.istio.io/canonical-name") or workload.service or labels.get("app", "")
        groups.append(
            {
                "targets": [workload.metrics],
                "labels": {
                    "job": "remora-sidecar",
                    "workload": workload.name,
                    "namespace": workload.namespace,
                    "app": labels.get("app", ""),
                    "version": labels.get("version", ""),
                    "__meta_remora_principal": str(identity_of(workload, trust_domain)),
                    "__meta_remora_service": service,
                },
            }
        )
    return groups


def render_targets(world: World, trust_domain: str) -> bytes:
    """`targets.json`."""
    return json.dumps(workload_groups(world, trust_domain), indent=1).encode() + b"\n"


def discovered(world: World, trust_domain: str, rest: str, collector: Path) -> list[Group]:
    """Everything: workloads, this control plane at `rest` (https://HOST:PORT), and the collector of this state
    directory, as its file says while it runs."""
    scheme, _, address = rest.partition("://")
    own = {"__scheme__": scheme}
    groups = [*workload_groups(world, trust_domain), _component("control", address, own)]
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
        self._trust_domain = trust_domain
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
            data = render_targets(self._wanted, self._trust_domain)
            if data == self._written:
                continue
            try:
                await asyncio.to_thread(write_atomic, self._path, data)
                self._written = data
            except OSError as error:
                _log.error("cannot write %s: %s", self._path, error)
