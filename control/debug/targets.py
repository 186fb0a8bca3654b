"""`targets.json`: where each workload's metrics are, in the form that Prometheus reads (file_sd), and whose they are.

Labels that begin with `__meta_` are dropped by Prometheus. They are for the collector, which lets a workload's records
in only under that workload's certificate.
"""

import asyncio
import json
import logging
from pathlib import Path

from control.api.world import World
from control.translate.proxies import identity_of
from mesh.files import write_atomic

_log = logging.getLogger("control.debug")


def render_targets(world: World, trust_domain: str) -> bytes:
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
                    "workload": workload.name,
                    "namespace": workload.namespace,
                    "app": labels.get("app", ""),
                    "version": labels.get("version", ""),
                    "__meta_remora_principal": str(identity_of(workload, trust_domain)),
                    "__meta_remora_service": service,
                },
            }
        )
    return json.dumps(groups, indent=1).encode() + b"\n"


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
