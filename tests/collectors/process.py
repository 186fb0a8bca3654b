"""The collector as a child process."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from tests.collectors.authority import Doors


class Collector:
    """Starts it and waits until it serves; `ready` has its addresses. Leaves nothing behind."""

    def __init__(
        self, doors: Doors, state: Path, *flags: str, expect_ready: bool = True, pass_fds: tuple[int, ...] = ()
    ) -> None:
        read, write = os.pipe()
        command = [
            sys.executable, "-c", "import sys; from collectors.app import main; sys.exit(main())",
            "--state", str(state), "--control", doors.csr, "--control-ads", doors.ads,
            "--root", str(doors.directory / "root.pem"), "--token-file", str(doors.directory / "token"),
            "--ready-fd", str(write),
        ]  # fmt: skip
        ports = ["--forward", "--otlp-grpc", "--otlp-http", "--health"]
        command += [text for port in ports if port not in flags for text in (port, "127.0.0.1:0")]
        self.stderr_path = state / "collect.log"
        state.mkdir(exist_ok=True)
        with open(self.stderr_path, "ab") as log:
            self.process = subprocess.Popen([*command, *flags], pass_fds=(write, *pass_fds), stderr=log, stdout=log)
        os.close(write)
        with os.fdopen(read) as file:
            line = file.readline()
        self.ready: dict[str, str] = json.loads(line) if line else {}
        assert bool(line) == expect_ready, self.stderr()

    def stderr(self) -> str:
        return self.stderr_path.read_text()

    def address(self, name: str) -> tuple[str, int]:
        host, _, port = self.ready[name].rpartition(":")
        return host, int(port)

    def same_ports(self) -> list[str]:
        """Flags for a successor."""
        flags = []
        for name, address in self.ready.items():
            flags += ["--" + name.replace("_", "-"), address]
        return flags

    def kill(self) -> None:
        """As by the kernel: no time to say goodbye."""
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(10)

    def __enter__(self) -> "Collector":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.kill()
