"""The collector as a child process."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.collectors.authority import Doors

COLLECT = [sys.executable, "-c", "import sys; from collectors.app import main; sys.exit(main())"]


class Child:
    """Starts a collector and waits until it serves; `ready` has its addresses. Leaves nothing behind."""

    def __init__(
        self, command: Sequence[str], log: Path, *, expect_ready: bool = True, pass_fds: tuple[int, ...] = ()
    ) -> None:
        read, write = os.pipe()
        self._log = log
        with open(log, "ab") as file:
            self.process = subprocess.Popen(
                [*command, "--ready-fd", str(write)], pass_fds=(write, *pass_fds), stderr=file, stdout=file
            )
        os.close(write)
        with os.fdopen(read) as told:
            line = told.readline()
        self.ready: dict[str, str] = json.loads(line) if line else {}
        assert bool(line) == expect_ready, self.log()

    def log(self) -> str:
        return self._log.read_text()

    def address(self, name: str) -> tuple[str, int]:
        host, _, port = self.ready[name].rpartition(":")
        return host, int(port)

    def kill(self) -> None:
        """As by the kernel: no time to say goodbye."""
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.kill()


class Collector(Child):
    """Of a mesh, with an identity of its authority."""

    def __init__(
        self, doors: Doors, state: Path, *flags: str, expect_ready: bool = True, pass_fds: tuple[int, ...] = ()
    ) -> None:
        mesh = [
            "--state", str(state), "--control", doors.csr, "--control-ads", doors.ads,
            "--root", str(doors.directory / "root.pem"), "--token-file", str(doors.directory / "token"),
        ]  # fmt: skip
        ports = ["--forward", "--otlp-grpc", "--otlp-http", "--health"]
        listen = [text for port in ports if port not in flags for text in (port, "127.0.0.1:0")]
        state.mkdir(exist_ok=True)
        super().__init__(
            [*COLLECT, *mesh, *listen, *flags], state / "collect.log", expect_ready=expect_ready, pass_fds=pass_fds
        )

    def same_ports(self) -> list[str]:
        """Flags for a successor."""
        flags = []
        for name, address in self.ready.items():
            flags += ["--" + name.replace("_", "-"), address]
        return flags
