"""A real Elasticsearch for tests: one node on loopback, of the package that Elastic publishes for integration tests on
Maven Central. It has the server, data streams and Elasticsearch's own lifecycle of them; ILM and the mapping types of
plugins are not in it.

    python -m tests.integration.elasticsearch install [VERSION]

fetches it once, with Maven, into ~/.cache/remora-tests (or $REMORA_TEST_CACHE). $REMORA_TEST_ELASTICSEARCH_VERSION says
which version tests start; $REMORA_TEST_ELASTICSEARCH_URL names one that runs already, which they use and never stop.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

from remora.up.sockets import free_ports

VERSION = os.environ.get("REMORA_TEST_ELASTICSEARCH_VERSION", "8.19.21")
RUNNING = os.environ.get("REMORA_TEST_ELASTICSEARCH_URL", "").rstrip("/")
INSTALL = "python -m tests.integration.elasticsearch install"

_ARTIFACT = "org.elasticsearch.distribution.integ-test-zip:elasticsearch:{version}:zip"
_START_S = 300.0
_JVM = "-XX:-AlwaysPreTouch -XX:-UseG1GC -XX:+UseSerialGC -XX:TieredStopAtLevel=1"
"""Quick to start and small, rather than fast."""


def cache() -> Path:
    """Where what tests fetch is kept."""
    return Path(os.environ.get("REMORA_TEST_CACHE", "~/.cache/remora-tests")).expanduser()


def installed(version: str = VERSION) -> Path | None:
    """The unpacked server."""
    path = cache() / f"elasticsearch-{version}"
    return path if (path / "bin" / "elasticsearch").exists() else None


def lacking(version: str = VERSION) -> str:
    """Why there can be none on this machine, with the command that mends it; empty if there can."""
    if RUNNING:
        return ""
    if shutil.which("java") is None and "ES_JAVA_HOME" not in os.environ:
        return "java is not installed: apt-get install openjdk-17-jre-headless"
    if installed(version) is None:
        return f"Elasticsearch {version} is not installed: {INSTALL}"
    return ""


def install(version: str) -> Path:
    """Fetch and unpack. Raises SystemExit with what to do."""
    if shutil.which("mvn") is None:
        raise SystemExit("mvn is not installed: apt-get install maven")
    target = cache() / f"elasticsearch-{version}"
    if installed(version) is not None:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as directory:
        command = [
            "mvn", "--batch-mode", "--quiet", "dependency:copy", f"-Dartifact={_ARTIFACT.format(version=version)}",
            f"-DoutputDirectory={directory}", "-Dmdep.stripVersion=true",
        ]  # fmt: skip
        if subprocess.run(command, cwd=directory).returncode != 0:
            raise SystemExit(f"Maven cannot fetch {_ARTIFACT.format(version=version)}")
        with zipfile.ZipFile(Path(directory, "elasticsearch.zip")) as archive:
            for entry in archive.infolist():
                # zipfile forgets modes, and the launcher is a script.
                path = Path(archive.extract(entry, directory))
                if mode := entry.external_attr >> 16 & 0o777:
                    path.chmod(mode)
        unpacked = Path(directory, f"elasticsearch-{version}")
        try:
            unpacked.rename(target)
        except OSError:
            if installed(version) is None:
                raise
    return target


class Queries:
    """What tests ask any Elasticsearch."""

    def __init__(self, url: str) -> None:
        self.url = url

    def request(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        """A parsed answer. Raises OSError (urllib.error.HTTPError for what is not 2xx)."""
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = "application/x-ndjson" if isinstance(body, bytes) else "application/json"
        made = urllib.request.Request(self.url + path, data, {"content-type": kind, **(headers or {})}, method=method)
        with urllib.request.urlopen(made, timeout=30) as answer:
            content = answer.read()
        return json.loads(content) if content else None

    def documents(self, target: str, query: dict[str, Any] | None = None, size: int = 10_000) -> list[dict[str, Any]]:
        """Sources of what is found, refreshed before, in order of time and number."""
        self.request("POST", f"/{target}/_refresh")
        body = {
            "query": query or {"match_all": {}},
            "size": size,
            "sort": [{"@timestamp": "asc"}, {"event.sequence": {"order": "asc", "unmapped_type": "long"}}],
        }
        return [hit["_source"] for hit in self.request("POST", f"/{target}/_search", body)["hits"]["hits"]]

    def count(self, target: str) -> int:
        """Documents, refreshed before; 0 where there is no such stream."""
        try:
            self.request("POST", f"/{target}/_refresh")
            return int(self.request("GET", f"/{target}/_count")["count"])
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return 0
            raise


class Elasticsearch(Queries):
    """One node with a directory and a port of its own, which it keeps when it is started again. It knows no users."""

    def __init__(self, version: str = VERSION, *, heap_mib: int = 512) -> None:
        home = installed(version)
        assert home is not None, lacking(version)
        self.version = version
        self._jvm = f"-Xms{heap_mib}m -Xmx{heap_mib}m {_JVM}"
        self.directory = Path(tempfile.mkdtemp(prefix="remora-elasticsearch-"))
        self._home = self.directory / "home"
        # The node's user may not look into the cache; links cost nothing.
        shutil.copytree(home, self._home, copy_function=_link)
        (self.port, self._transport_port) = free_ports(2, random.Random())
        super().__init__(f"http://127.0.0.1:{self.port}")
        self._write_configuration()
        self._process: subprocess.Popen[bytes] | None = None
        self.log = self.directory / "elasticsearch.log"

    def _write_configuration(self) -> None:
        data = self.directory / "state"
        for path in (data, data / "tmp"):
            path.mkdir()
        configuration = {
            "cluster.name": "remora-tests",
            "node.name": "test",
            "discovery.type": "single-node",
            "network.host": "127.0.0.1",
            "http.port": self.port,
            "transport.port": self._transport_port,
            "path.data": str(data / "data"),
            "path.logs": str(data / "logs"),
            "cluster.routing.allocation.disk.threshold_enabled": False,
            # A third of the time that it takes to start, and what keeps API keys is not in this package.
            "xpack.security.enabled": False,
        }
        lines = [f"{name}: {json.dumps(value)}\n" for name, value in configuration.items()]
        path = self._home / "config" / "elasticsearch.yml"
        path.unlink()
        path.write_text("".join(lines))
        if os.getuid() == 0:
            # It refuses to run as root.
            self.directory.chmod(0o755)
            for directory in (data, self._home / "config", self._home / "logs"):
                for one in (directory, *directory.rglob("*")):
                    os.chown(one, _NOBODY, _NOBODY)

    def start(self) -> None:
        """Return when it answers."""
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Begin to start."""
        command = [str(self._home / "bin" / "elasticsearch")]
        if os.getuid() == 0:
            # Ended with us, however we end.
            command = [
                "setpriv",
                f"--reuid={_NOBODY}",
                f"--regid={_NOBODY}",
                "--clear-groups",
                "--pdeathsig=TERM",
                *command,
            ]
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("ES_", "JAVA_"))}
        environment |= {
            "ES_JAVA_OPTS": self._jvm,
            "ES_TMPDIR": str(self.directory / "state" / "tmp"),
            "LC_ALL": "C.UTF-8",
        }
        environment["ES_JAVA_HOME"] = os.environ.get("ES_JAVA_HOME") or _java_home()
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def wait(self) -> None:
        """Return when it answers."""
        assert self._process is not None
        deadline = time.monotonic() + _START_S
        while True:
            try:
                if self.request("GET", "/_cluster/health?wait_for_status=yellow&timeout=1s")["status"] != "red":
                    return
            except OSError:
                pass
            assert self._process.poll() is None, self.log.read_text()[-4000:]
            assert time.monotonic() < deadline, f"not up within {_START_S} s: {self.log.read_text()[-4000:]}"
            time.sleep(0.1)  # the interval of a condition that is polled

    def stop(self) -> None:
        """As an operator does; what was acknowledged is on disk."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)
            self._process = None

    def kill(self) -> None:
        """As the kernel does, launcher and server."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)
            self._process = None

    def close(self) -> None:
        """Nothing is left."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


_NOBODY = 65534


def _java_home() -> str:
    java = shutil.which("java")
    assert java is not None
    return str(Path(java).resolve().parent.parent)


def _link(source: str, target: str) -> object:
    try:
        os.link(source, target)
    except OSError:
        return shutil.copy2(source, target)
    return target


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.integration.elasticsearch")
    parser.add_argument("command", choices=["install"])
    parser.add_argument("version", nargs="?", default=VERSION)
    asked = parser.parse_args()
    print(install(asked.version))
    sys.exit(0)
