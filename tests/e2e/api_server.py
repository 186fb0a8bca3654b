"""A real API server for tests: etcd and kube-apiserver on loopback, without nodes and without controllers.

    python -m tests.e2e.api_server install          # builds both, once: ten minutes of one core, 3 GB of disk
    python -m tests.e2e.api_server run              # starts them, prints a kubeconfig's path, stops at Ctrl-C

Both are built from the Go module proxy into ~/.cache/remora-tests (or $REMORA_TEST_CACHE); docs/e2e.md says the steps.
What controllers do (EndpointSlices of Services, pods of Deployments, service accounts of namespaces), tests do.
"""

import argparse
import base64
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.integration.elasticsearch import cache
from tests.kubernetes.kubeconfigs import serving_files

VERSION = os.environ.get("REMORA_TEST_KUBERNETES_VERSION", "1.33.13")
INSTALL = "python -m tests.e2e.api_server install"
START_S = 120.0
ISSUER = "https://kubernetes.default.svc.cluster.local"


def directory(version: str = VERSION) -> Path:
    return cache() / f"kubernetes-{version}"


def installed(version: str = VERSION) -> bool:
    return all((directory(version) / "bin" / name).exists() for name in ("kube-apiserver", "etcd"))


def lacking() -> str:
    """Why there can be none on this machine, with the command that mends it; empty if there can."""
    return "" if installed() else f"kube-apiserver {VERSION} is not installed: {INSTALL}"


def install(version: str) -> None:
    """Build both. Raises SystemExit with what to do."""
    if shutil.which("go") is None:
        raise SystemExit("go is not installed: kube-apiserver is built from its Go module, with Go 1.24 or later")
    if installed(version):
        return
    target = directory(version)
    (target / "bin").mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "GOFLAGS": "-mod=mod -buildvcs=false -p=1"}

    def go(*arguments: str) -> str:
        command = ["nice", "-n", "19", "go", *arguments]
        done = subprocess.run(command, cwd=target, env=environment, stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise SystemExit(f"go {arguments[0]} failed in {target}")
        return done.stdout

    downloaded = json.loads(go("mod", "download", "-json", f"k8s.io/kubernetes@v{version}"))
    (target / "go.mod").write_text(_module(Path(downloaded["GoMod"]).read_text(), version))
    shutil.copy(Path(downloaded["Dir"], "go.sum"), target / "go.sum")
    (target / "go.sum").chmod(0o644)
    major, minor, _ = version.split(".")
    known = {"gitVersion": f"v{version}", "gitMajor": major, "gitMinor": minor}
    flags = " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in known.items())
    go("build", "-ldflags", f"-s -w {flags}", "-o", "bin/kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver")
    go("build", "-ldflags", "-s -w", "-o", "bin/etcd", "go.etcd.io/etcd/server/v3")


def _module(of_kubernetes: str, version: str) -> str:
    """A module that needs Kubernetes, with its parts from where they are published: `go install` refuses a module that
    replaces them by directories of its own."""
    published = version.replace("1.", "0.", 1)
    parts = [line.split()[0] for line in of_kubernetes.splitlines() if "=> ./staging/" in line]
    replaced = "\n".join(f"\t{part} => {part} v{published}" for part in parts)
    return f"module remora-tests\n\ngo 1.24.0\n\nrequire k8s.io/kubernetes v{version}\n\nreplace (\n{replaced}\n)\n"


class ApiServer:
    """etcd and kube-apiserver in a directory of their own. `start` before anything else."""

    def __init__(self, at: Path) -> None:
        self._at = at
        self._etcd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._ports = _free_ports(3)
        self._token = secrets.token_urlsafe(24)
        self._authority = ""

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._ports[0]}"

    @property
    def kubeconfig(self) -> Path:
        return self._at / "kubeconfig"

    @property
    def log(self) -> Path:
        return self._at / "kube-apiserver.log"

    def start(self) -> None:
        """Return when it is ready."""
        self._at.mkdir(parents=True, exist_ok=True)
        self._write_credentials()
        _, client, peer = self._ports
        with open(self._at / "etcd.log", "ab") as log:
            self._etcd = subprocess.Popen(
                [
                    directory() / "bin" / "etcd", "--data-dir", self._at / "etcd", "--unsafe-no-fsync",
                    "--listen-client-urls", f"http://127.0.0.1:{client}",
                    "--advertise-client-urls", f"http://127.0.0.1:{client}",
                    "--listen-peer-urls", f"http://127.0.0.1:{peer}",
                    "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
                    "--initial-cluster", f"default=http://127.0.0.1:{peer}", "--log-level", "warn",
                ],
                stdout=log, stderr=log,
            )  # fmt: skip
        self.start_server()

    def start_server(self) -> None:
        """kube-apiserver alone, on the port of before."""
        at = self._at
        with open(self.log, "ab") as log:
            self._server = subprocess.Popen(
                [
                    directory() / "bin" / "kube-apiserver", "--etcd-servers", f"http://127.0.0.1:{self._ports[1]}",
                    "--bind-address", "127.0.0.1", "--secure-port", str(self._ports[0]),
                    "--advertise-address", "192.0.2.1", "--endpoint-reconciler-type", "none",
                    "--tls-cert-file", at / "server.pem", "--tls-private-key-file", at / "server.key",
                    "--token-auth-file", at / "tokens.csv", "--authorization-mode", "RBAC",
                    "--service-account-issuer", ISSUER, "--service-account-key-file", at / "sa.pub",
                    "--service-account-signing-key-file", at / "sa.key",
                    "--service-cluster-ip-range", "10.96.0.0/16", "--cert-dir", at / "certs",
                    "--shutdown-delay-duration", "0s", "--profiling=false",
                ],
                stdout=log, stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + START_S
        while not self._ready():
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"kube-apiserver does not start: {self.log.read_text()[-3000:]}")
            time.sleep(0.1)

    def stop_server(self, how: signal.Signals = signal.SIGKILL) -> None:
        """kube-apiserver alone; etcd keeps what it holds."""
        _end(self._server, how)
        self._server = None

    def stop(self) -> None:
        self.stop_server()
        _end(self._etcd, signal.SIGKILL)
        self._etcd = None

    def compact(self) -> None:
        """Have etcd forget every revision before this one."""
        revision = json.loads(self._etcd_call("range", {"key": base64.b64encode(b"/").decode()}))["header"]["revision"]
        self._etcd_call("compaction", {"revision": revision, "physical": True})

    def _etcd_call(self, what: str, body: dict[str, Any]) -> bytes:
        url = f"http://127.0.0.1:{self._ports[1]}/v3/kv/{what}"
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode()), timeout=10) as answer:
            return bytes(answer.read())

    def _ready(self) -> bool:
        context = ssl.create_default_context(cadata=self._authority)
        request = urllib.request.Request(f"{self.url}/readyz", headers={"authorization": f"Bearer {self._token}"})
        try:
            with urllib.request.urlopen(request, timeout=5, context=context) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _write_credentials(self) -> None:
        at = self._at
        self._authority, chain, key = serving_files("127.0.0.1")
        (at / "server.pem").write_bytes(chain)
        (at / "server.key").write_bytes(key)
        account = rsa.generate_private_key(65537, 2048)
        private = account.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        (at / "sa.key").write_bytes(private)
        public = account.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (at / "sa.pub").write_bytes(public)
        (at / "tokens.csv").write_text(f'{self._token},admin,admin,"system:masters"\n')
        cluster = {
            "server": self.url,
            "certificate-authority-data": base64.b64encode(self._authority.encode()).decode(),
        }
        self.kubeconfig.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "e2e", "cluster": cluster}],
                    "users": [{"name": "admin", "user": {"token": self._token}}],
                    "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": "admin"}}],
                    "current-context": "e2e",
                }
            )
        )


def _end(process: "subprocess.Popen[bytes] | None", how: signal.Signals) -> None:
    if process is not None:
        process.send_signal(how)
        process.wait(30)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextlib.contextmanager
def running() -> Iterator[ApiServer]:
    """In a directory that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="remora-e2e-") as at:
        server = ApiServer(Path(at))
        try:
            server.start()
            yield server
        finally:
            server.stop()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.api_server")
    parser.add_argument("what", choices=("install", "run"))
    parser.add_argument("version", nargs="?", default=VERSION)
    arguments = parser.parse_args()
    if arguments.what == "install":
        install(arguments.version)
        print(directory(arguments.version))
        return 0
    if lacking():
        raise SystemExit(lacking())
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background process ignores SIGINT otherwise
        signal.signal(number, signal.default_int_handler)
    with running() as server, contextlib.suppress(KeyboardInterrupt):
        print(f"export KUBECONFIG={server.kubeconfig}", flush=True)
        signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main())
