"""`remora control --kubernetes` as a process, and what a test asks it."""

import json
import os
import random
import select
import signal
import ssl
import subprocess
import sys
from pathlib import Path

import httpx

from remora.up.sockets import free_ports
from tests.control.app.control_process import Reach
from tests.e2e.cluster import SYSTEM, Cluster, decoded, until
from tests.e2e.places import Here

PYTHON = (sys.executable, "-P", "-m", "remora")
READY_S = 60.0
USUAL_PORTS = {"ads": 15012, "csr": 15011, "rest": 15014, "webhook": 15017}
SHORT_TERM = ("--lease-duration", "2", "--renew-deadline", "1.5", "--retry-period", "0.3")
"""Of the Lease, where nobody wants to wait for the usual one of 15 s."""


class Control(Reach):
    """At ports of its own; started again, at the same ones."""

    def __init__(self, cluster: Cluster, directory: Path, kubeconfig: Path, *flags: str, host: str = "0.0.0.0") -> None:
        super().__init__(directory)
        directory.mkdir(parents=True)
        self._cluster = cluster
        self._kubeconfig = kubeconfig
        self._flags = flags
        self._host = host
        with cluster.place.entered():
            self.ports = dict(zip(USUAL_PORTS, free_ports(4, random.Random()), strict=True))
        self.log = directory / "control.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._reading = -1
        self._root = b""

    def begin(self) -> None:
        """Without waiting."""
        reading, writing = os.pipe()
        argv = [*PYTHON, "control", "--kubernetes", "--kubeconfig", str(self._kubeconfig), "--host", self._host]
        for name, port in self.ports.items():
            argv += [f"--{name}-port", str(port)]
        argv += ["--state", str(self.state / "state"), *self._flags, "--ready-fd", str(writing)]
        with open(self.log, "ab") as log:
            self.process = self._cluster.place.start(argv, log=log, pass_fds=(writing,))
        os.close(writing)
        self._reading = reading

    def await_ready(self) -> None:
        with open(self._reading, "rb") as pipe:
            line = pipe.readline() if select.select([pipe], [], [], READY_S)[0] else b""
        assert line, f"not ready: {self.said()}"
        self.ready = json.loads(line)
        self.root_pem()

    def start(self) -> None:
        self.begin()
        self.await_ready()

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(10)

    def said(self) -> str:
        return self.log.read_text()

    def root_pem(self) -> bytes:
        """Kept: it does not change here, and it is asked for while the API server is away, too."""
        if not self._root:
            self._root = decoded(self._cluster.get("Secret", "remora-ca", SYSTEM), "root.pem").encode()
        return self._root

    def get(self, path: str) -> httpx.Response:
        """Of its REST interface."""
        token = (self.state / "state" / "admin.token").read_text()
        trust = ssl.create_default_context(cadata=self.root_pem().decode())
        headers = {"authorization": f"Bearer {token}"}
        url = f"https://127.0.0.1:{self.ports['rest']}{path}"
        with self._cluster.place.entered(), httpx.Client(verify=trust, trust_env=False, timeout=20) as client:
            return client.get(url, headers=headers)

    def forget_root(self) -> None:
        """It is another now."""
        self._root = b""

    def command(self, *words: str, text: str = "") -> "subprocess.CompletedProcess[str]":
        """`remora` in this process's pod."""
        argv = [*PYTHON, *words, "--state", str(self.state / "state")]
        with self._cluster.place.entered():
            return subprocess.run(argv, input=text, capture_output=True, text=True, timeout=30, check=False)

    def metric(self, line: str) -> float:
        """The value of a line of /metrics that begins so; 0 where there is none."""
        lines = self.get("/metrics").text.splitlines()
        return next((float(each.rpartition(" ")[2]) for each in lines if each.startswith(line)), 0.0)


class LeastPrivileged(Control):
    """As the installation has it: as its own service account, with the roles that were installed for that."""

    def __init__(self, cluster: Cluster, directory: Path, *flags: str) -> None:
        super().__init__(cluster, directory, directory / "kubeconfig", *flags)
        if not isinstance(cluster.place, Here):
            self.ports = dict(USUAL_PORTS)  # nobody else is there, and sidecars look for them

    def start(self) -> None:
        self._cluster.install(self.ports["webhook"])
        self._cluster.kubeconfig_of(self._cluster.token(SYSTEM, "remora-control"), self._kubeconfig)
        super().start()
        until(self._cluster.webhooks_trusted, f"the API server knows whom to trust: {self.said()}", within=20)
