"""The collector as a child process, outside of any mesh, with a settings file."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

COLLECT = [sys.executable, "-c", "import sys; from collectors.app import main; sys.exit(main())"]


class Standalone:
    """Starts it and waits until it serves; `ready` has its addresses. Leaves nothing behind."""

    def __init__(
        self, directory: Path, settings: str, *flags: str, expect_ready: bool = True, within: Sequence[str] = ()
    ) -> None:
        """`within`: a program that starts it, such as unshare."""
        self.directory = directory
        self.config = directory / "collector.yaml"
        self.config.write_text(settings)
        read, write = os.pipe()
        state = ["--state", str(directory / "state"), "--config", str(self.config), "--health", "127.0.0.1:0"]
        with open(directory / "collect.log", "ab") as log:
            self.process = subprocess.Popen(
                [*within, *COLLECT, *state, "--ready-fd", str(write), *flags], pass_fds=(write,), stderr=log, stdout=log
            )
        os.close(write)
        with os.fdopen(read) as file:
            line = file.readline()
        self.ready: dict[str, str] = json.loads(line) if line else {}
        assert bool(line) == expect_ready, self.log()

    def log(self) -> str:
        return (self.directory / "collect.log").read_text()

    def address(self, name: str) -> tuple[str, int]:
        host, _, port = self.ready[name].rpartition(":")
        return host, int(port)

    def with_same_ports(self, settings: str) -> str:
        """The settings with the ports that port 0 became, for a successor."""
        found = iter([address for name, address in self.ready.items() if name != "health"])
        return re.sub(r"127\.0\.0\.1:0", lambda _: next(found), settings)

    def kill(self) -> None:
        """As by the kernel: no time to say goodbye."""
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(10)

    def __enter__(self) -> "Standalone":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.kill()
