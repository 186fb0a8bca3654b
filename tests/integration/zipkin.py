"""Zipkin's real server for tests: the executable jar that its project publishes on Maven Central, storing in memory.

    python -m tests.integration.zipkin install [VERSION]

fetches it once, with Maven, into ~/.cache/remora-tests (or $REMORA_TEST_CACHE).
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from remora.up.sockets import free_ports
from tests.integration.elasticsearch import cache

VERSION = os.environ.get("REMORA_TEST_ZIPKIN_VERSION", "3.5.1")
INSTALL = "python -m tests.integration.zipkin install"

_ARTIFACT = "io.zipkin:zipkin-server:{version}:jar:exec"
_START_S = 120.0
_JVM = ("-Xms64m", "-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""Quick to start and small, rather than fast."""


def jar(version: str = VERSION) -> Path:
    """Where it is, or would be."""
    return cache() / f"zipkin-server-{version}-exec.jar"


def lacking() -> str:
    """Why there can be none on this machine, with the command that mends it; empty if there can."""
    if shutil.which("java") is None:
        return "java is not installed: apt-get install openjdk-17-jre-headless"
    if not jar().exists():
        return f"Zipkin {VERSION} is not installed: {INSTALL}"
    return ""


def install(version: str) -> Path:
    """Fetch. Raises SystemExit with what to do."""
    target = jar(version)
    if target.exists():
        return target
    if shutil.which("mvn") is None:
        raise SystemExit("mvn is not installed: apt-get install maven")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as directory:
        command = [
            "mvn", "--batch-mode", "--quiet", "dependency:copy", f"-Dartifact={_ARTIFACT.format(version=version)}",
            f"-DoutputDirectory={directory}",
        ]  # fmt: skip
        if subprocess.run(command, cwd=directory).returncode != 0:
            raise SystemExit(f"Maven cannot fetch {_ARTIFACT.format(version=version)}")
        os.replace(Path(directory, target.name), target)
    return target


class Zipkin:
    """A server that runs."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str) -> Any:
        """Parsed JSON. Raises OSError (urllib.error.HTTPError for what is not 2xx)."""
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return json.loads(answer.read())

    def trace(self, trace_id: str) -> list[dict[str, Any]]:
        """The spans of a trace, by time; empty while there is none."""
        try:
            spans = self.get(f"/api/v2/trace/{trace_id}")
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return []
            raise
        return sorted(spans, key=lambda span: (span["timestamp"], span["id"]))


@contextlib.contextmanager
def running(directory: Path) -> Iterator[Zipkin]:
    """Start it, wait until it is well, stop it."""
    (port,) = free_ports(1, random.Random())
    environment = os.environ | {
        "QUERY_PORT": str(port),
        "STORAGE_TYPE": "mem",
        "SELF_TRACING_ENABLED": "false",
        "JAVA_TOOL_OPTIONS": "",
    }
    server = Zipkin(f"http://127.0.0.1:{port}")
    log = directory / "zipkin.log"
    with open(log, "wb") as output:
        process = subprocess.Popen(
            ["java", *_JVM, "-jar", str(jar())], env=environment, cwd=directory, stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + _START_S
        while not _is_well(server):
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, f"Zipkin is not well after {_START_S} s: {log.read_text()[-3000:]}"
            time.sleep(0.1)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


def _is_well(server: Zipkin) -> bool:
    try:
        return bool(server.get("/health")["status"] == "UP")
    except (OSError, ValueError, KeyError):
        return False


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.integration.zipkin")
    parser.add_argument("action", choices=["install"])
    parser.add_argument("version", nargs="?", default=VERSION)
    print(install(parser.parse_args().version))


if __name__ == "__main__":
    main()
