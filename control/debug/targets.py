"""`targets.json`: where each workload's metrics are, in the form that Prometheus reads (file_sd)."""

import asyncio
import json
import logging
from pathlib import Path

from control.api.world import World
from mesh.files import write_atomic

_log = logging.getLogger("control.debug")


def render_targets(world: World) -> bytes:
    """One group for each workload that has metrics."""
    groups = []
    for _, workload in sorted(world.workloads.items()):
        if not workload.metrics:
            continue
        labels = workload.effective_labels
        groups.append(
            {
                "targets": [workload.metrics],
                "labels": {
                    "workload": workload.name,
                    "namespace": workload.namespace,
                    "app": labels.get("app", ""),
                    "version": labels.get("version", ""),
                },
            }
        )
    return json.dumps(groups, indent=1).encode() + b"\n"


class TargetsFile:
    """Keeps the file equal to the World. `update` is quick; `run` writes."""

    def __init__(self, path: Path) -> None:
        self._path = path
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
            data = render_targets(self._wanted)
            if data == self._written:
                continue
            try:
                await asyncio.to_thread(write_atomic, self._path, data)
                self._written = data
            except OSError as error:
                _log.error("cannot write %s: %s", self._path, error)
