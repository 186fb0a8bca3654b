"""A real Elasticsearch for tests, and a real OpenSearch: one node on loopback, of the package that either publishes for
integration tests on Maven Central. Elasticsearch's has the server, data streams and its own lifecycle of them; ILM and
the mapping types of plugins are not in it. OpenSearch's has no plugins, and so no ISM.

    python -m tests.integration.elasticsearch install [elasticsearch-VERSION] [opensearch-VERSION]

fetches them once, with Maven, into ~/.cache/remora-tests (or $REMORA_TEST_CACHE). $REMORA_TEST_ENGINES says which of
them tests start, one after the other; $REMORA_TEST_ELASTICSEARCH_URL names one that runs already, which they use and
never stop. $ES_JAVA_HOME is the Java; else one is found that is new enough.
"""

import argparse
import contextlib
import json
import os
import random
import re
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
from typing import Any, NamedTuple, get_args

from collectors.exporters.elasticsearch.engine import Engine
from remora.up.sockets import free_ports
from tests.integration import elasticsearch_parts

RUNNING = os.environ.get("REMORA_TEST_ELASTICSEARCH_URL", "").rstrip("/")
INSTALL = "python -m tests.integration.elasticsearch install"


class Release(NamedTuple):
    """What can be installed and started."""

    engine: Engine
    version: str

    def __str__(self) -> str:
        return f"{self.engine}-{self.version}"

    @classmethod
    def parse(cls, text: str) -> "Release":
        """Raises SystemExit."""
        for engine in get_args(Engine):
            if text.startswith(f"{engine}-"):
                return cls(engine, text.removeprefix(f"{engine}-"))
        raise SystemExit(f"{text} is no release; write elasticsearch-VERSION or opensearch-VERSION")

    @property
    def artifact(self) -> str:
        """For Maven, of what is packaged."""
        return f"org.{self.engine}.distribution.integ-test-zip:{self.engine}:{self.version}:zip"

    @property
    def is_packaged(self) -> bool:
        """Otherwise it is put together from its libraries."""
        return self.engine == "opensearch" or self._major < 9

    @property
    def java(self) -> str:
        """Debian's package of the oldest that it runs on, but for those older than Debian's oldest."""
        newest = self._major >= {"elasticsearch": 9, "opensearch": 3}[self.engine]
        return f"openjdk-{21 if newest else 17}-{'jre' if self.is_packaged else 'jdk'}-headless"

    @property
    def _major(self) -> int:
        return int(self.version.partition(".")[0])


ELASTICSEARCH = Release("elasticsearch", "8.19.21")
_ENGINES = os.environ.get("REMORA_TEST_ENGINES", f"{ELASTICSEARCH} elasticsearch-9.5.3 opensearch-2.19.6")
RELEASES = tuple(Release.parse(each) for each in _ENGINES.split())

_START_S = 300.0
_JVM = "-XX:-AlwaysPreTouch -XX:-UseG1GC -XX:+UseSerialGC -XX:TieredStopAtLevel=1"
"""Quick to start and small, rather than fast."""


def cache() -> Path:
    """Where what tests fetch is kept."""
    return Path(os.environ.get("REMORA_TEST_CACHE", "~/.cache/remora-tests")).expanduser()


def installed(release: Release) -> Path | None:
    """The unpacked server."""
    path = cache() / str(release)
    if release.is_packaged:
        return path if (path / "bin" / release.engine).exists() else None
    return path if elasticsearch_parts.is_assembled(release.version, path) else None


def lacking(release: Release = ELASTICSEARCH) -> str:
    """Why there can be none on this machine, with the command that mends it; empty if there can."""
    if RUNNING:
        return ""
    if _java_home(release) is None:
        return f"{release} has no Java: apt-get install {release.java} or a later one, or name it in ES_JAVA_HOME"
    if installed(release) is None:
        return f"{release} is not installed: {INSTALL} {release}"
    return ""


def install(release: Release) -> Path:
    """Fetch and unpack. Raises SystemExit with what to do."""
    if shutil.which("mvn") is None:
        raise SystemExit("mvn is not installed: apt-get install maven")
    target = cache() / str(release)
    if installed(release) is not None:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as directory:
        unpacked = _fetched(release, directory)
        try:
            unpacked.rename(target)
        except OSError:
            if installed(release) is None:
                raise
    return target


def _fetched(release: Release, directory: str) -> Path:
    if not release.is_packaged:
        return elasticsearch_parts.assemble(release.version, Path(directory))
    command = [
        "mvn", "--batch-mode", "--quiet", "dependency:copy", f"-Dartifact={release.artifact}",
        f"-DoutputDirectory={directory}", "-Dmdep.stripVersion=true",
    ]  # fmt: skip
    if subprocess.run(command, cwd=directory).returncode != 0:
        raise SystemExit(f"Maven cannot fetch {release.artifact}")
    with zipfile.ZipFile(Path(directory, f"{release.engine}.zip")) as archive:
        for entry in archive.infolist():
            # zipfile forgets modes, and the launcher is a script.
            path = Path(archive.extract(entry, directory))
            if mode := entry.external_attr >> 16 & 0o777:
                path.chmod(mode)
    return Path(directory, str(release))


class Queries:
    """What tests ask any Elasticsearch or OpenSearch."""

    def __init__(self, url: str, engine: Engine | None = None) -> None:
        """It is asked what it is, unless that is said."""
        self.url = url
        if engine is None:
            with urllib.request.urlopen(f"{url}/_cluster/health", timeout=30) as answer:
                engine = "elasticsearch" if "x-elastic-product" in answer.headers else "opensearch"
        self.engine: Engine = engine

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

    def __init__(self, release: Release = ELASTICSEARCH, *, heap_mib: int = 512) -> None:
        home = installed(release)
        assert home is not None, lacking(release)
        self.release = release
        self._jvm = f"-Xms{heap_mib}m -Xmx{heap_mib}m {_JVM}"
        self.directory = Path(tempfile.mkdtemp(prefix="remora-elasticsearch-"))
        self._home = self.directory / "home"
        # The node's user may not look into the cache; links cost nothing.
        shutil.copytree(home, self._home, copy_function=_link)
        if not release.is_packaged:
            elasticsearch_parts.put_node(self._home)
        (self.port, self._transport_port) = free_ports(2, random.Random())
        super().__init__(f"http://127.0.0.1:{self.port}", release.engine)
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
        }
        if self.engine == "elasticsearch" and self.release.is_packaged:
            # A third of the time that it takes to start, and what keeps API keys is not in this package.
            configuration["xpack.security.enabled"] = False
        lines = [f"{name}: {json.dumps(value)}\n" for name, value in configuration.items()]
        path = self._home / "config" / f"{self.engine}.yml"
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
        java = _java_home(self.release)
        assert java is not None, lacking(self.release)
        command = [str(self._home / "bin" / self.engine)]
        if not self.release.is_packaged:
            command = elasticsearch_parts.command(java, self._jvm, self._home)
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
        others = ("ES_", "OPENSEARCH_", "JAVA_")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(others)}
        said = {"JAVA_OPTS": self._jvm, "TMPDIR": str(self.directory / "state" / "tmp"), "JAVA_HOME": str(java)}
        prefix = {"elasticsearch": "ES", "opensearch": "OPENSEARCH"}[self.engine]
        environment |= {"LC_ALL": "C.UTF-8"} | {f"{prefix}_{name}": value for name, value in said.items()}
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


def _java_home(release: Release) -> Path | None:
    """Of the first that is new enough, the one on the PATH before others."""
    _, least, kind, _ = release.java.split("-")
    program = "javac" if kind == "jdk" else "java"
    if "ES_JAVA_HOME" in os.environ:
        return Path(os.environ["ES_JAVA_HOME"])
    on_path = shutil.which("java")
    homes = [Path(on_path).resolve().parent.parent] if on_path is not None else []
    homes += sorted(Path("/usr/lib/jvm").glob("*"))
    for home in homes:
        with contextlib.suppress(OSError):
            said = re.search(r'^JAVA_VERSION="(\d+)', (home / "release").read_text(), re.MULTILINE)
            if said is not None and int(said[1]) >= int(least) and (home / "bin" / program).exists():
                return home
    return None


def _link(source: str, target: str) -> object:
    try:
        os.link(source, target)
    except OSError:
        return shutil.copy2(source, target)
    return target


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.integration.elasticsearch")
    parser.add_argument("command", choices=["install"])
    parser.add_argument("releases", nargs="*", metavar="RELEASE")
    failures = []
    for each in [Release.parse(text) for text in parser.parse_args().releases] or RELEASES:
        try:
            print(install(each))
        except SystemExit as error:
            failures.append(str(error))
    sys.exit("\n".join(failures) or 0)
