"""Our collector as the bench runs it: outside of any mesh, one listener of the forward protocol."""

import json
import os
import sys
import urllib.request
from pathlib import Path
from typing import Any

from tests.bench.processes import Process

_SETTINGS = """\
receivers:
  forward:
    listeners: [{address: "127.0.0.1:0"}]
exporters:
  out: EXPORTER
routes:
  - match: {signals: [logs]}
    exporters: [out]
"""
_COLLECT = "import sys; from collectors.app import main; sys.exit(main())"


class Collector:
    """Serves when it is made."""

    def __init__(self, directory: Path, exporter: dict[str, Any], core: int) -> None:
        """Raises Failed."""
        config = directory / "collector.yaml"
        config.write_text(_SETTINGS.replace("EXPORTER", json.dumps(exporter)))
        read, write = os.pipe()
        self.state = directory / "state"
        flags = ["--state", str(self.state), "--config", str(config), "--health", "127.0.0.1:0"]
        self.process = Process(
            [sys.executable, "-c", _COLLECT, *flags, "--ready-fd", str(write)],
            core=core,
            log=directory / "collector.log",
            pass_fds=[write],
        )
        os.close(write)
        with os.fdopen(read) as file:
            line = file.readline()
        if not line:
            self.process.stop()
        self.process.check()
        self._ready: dict[str, str] = json.loads(line)

    @property
    def address(self) -> str:
        """host:port."""
        return self._ready["forward.0"]

    @property
    def undelivered_bytes(self) -> int:
        """In its buffers."""
        with urllib.request.urlopen(f"http://{self._ready['health']}/healthz", timeout=10) as answer:
            shown = json.load(answer)
        return sum(exporter["queue_bytes"] for exporter in shown.get("exporters", {}).values())
