"""Debian's Prometheus and Alertmanager, as tests use them."""

import contextlib
import random
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx

from remora.up.sockets import free_ports
from tests.integration.debian import program

READY_S = 30.0


@dataclass
class Served:
    """A program with an HTTP interface and a directory of its own; it can be stopped and started again."""

    argv: list[str]
    port: int
    directory: Path
    process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """Without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Returns when it is ready."""
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(self.argv, stdout=log, stderr=log)
        deadline = time.monotonic() + READY_S
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/-/ready", trust_env=False, timeout=2).status_code == 200:
                    return
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)

    def stop(self) -> None:
        """As an operator does."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)
            self.process = None

    def log(self) -> str:
        """What it said."""
        return (self.directory / "log").read_text()

    def ask(self, path: str, **parameters: str | float) -> Any:
        """The JSON of a GET; it must succeed."""
        answer = httpx.get(f"{self.url}{path}", params=parameters, trust_env=False, timeout=10)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Prometheus(Served):
    """A Prometheus server."""

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an instant query; an error fails."""
        found: list[dict[str, Any]] = self.ask("/api/v1/query", query=expression)["data"]["result"]
        return found

    def samples(self, selector: str, seconds: int = 3600) -> dict[str, list[tuple[float, float]]]:
        """Raw samples of the last so many seconds, by the label `instance`."""
        return {
            each["metric"].get("instance", ""): [(at, float(value)) for at, value in each["values"]]
            for each in self.query(f"{selector}[{seconds}s]")
        }

    def rules(self) -> list[dict[str, Any]]:
        """Every rule with its health."""
        groups = self.ask("/api/v1/rules")["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]


def prometheus(directory: Path, config: str, *flags: str) -> Prometheus:
    """Not yet started."""
    (port,) = free_ports(1, random.Random())
    (directory / "prometheus.yml").write_text(config)
    argv = [
        program("prometheus"),
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        *flags,
    ]
    return Prometheus(argv, port, directory)


@contextlib.contextmanager
def alertmanager(directory: Path, config: str) -> Iterator[Served]:
    """A running one, without a cluster."""
    (port,) = free_ports(1, random.Random())
    (directory / "alertmanager.yml").write_text(config)
    argv = [
        program("prometheus-alertmanager"),
        f"--config.file={directory / 'alertmanager.yml'}",
        f"--storage.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    with Served(argv, port, directory) as served:
        yield served
