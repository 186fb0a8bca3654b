"""A node of a cluster: network namespaces as pods, their processes, a fake API server, and a real node agent.

Processes and network namespaces are real. The kernel's view of them is a directory with the same entries as /proc, in
which the control groups are those that a kubelet would have made.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import urllib.request
import uuid
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.fake_server import FakeInThread
from tests.netns.injected import InjectedPod
from tests.netns.namespaces import Namespace, as_user

PYTHON = (sys.executable, "-P", "-m", "remora")
READY_S = 20.0
NAME = "node-1"

SYSTEMD = (
    "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{dashless}.slice/cri-containerd-{id}.scope\n"
)
CGROUPFS = "4:memory:/kubepods/burstable/pod{uid}/{id}\n1:name=systemd:/kubepods/burstable/pod{uid}/{id}\n0::/\n"


@dataclass
class NodesPod:
    """One that was scheduled to the node."""

    node: "Node"
    there: Namespace
    document: dict[str, Any]
    injected: InjectedPod
    processes: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.document["metadata"]["name"])

    def run(self, cgroup: str = SYSTEMD, containers: int = 1) -> None:
        """As a container runtime does: a process for each container."""
        uid = self.document["metadata"]["uid"]
        for _ in range(containers):
            process = self.there.start(["sleep", "600"])
            self.processes.append(process)
            text = cgroup.format(uid=uid, dashless=uid.replace("-", "_"), id=uuid.uuid4().hex)
            self.node.show(process.pid, text)

    def validation(self, seconds: int | None = None) -> "subprocess.Popen[str]":
        """Its init container, running; `seconds` for what the injector gives it."""
        words, user = self.injected.validation
        if seconds is not None:
            words = [f"--validate={seconds}" if each.startswith("--validate") else each for each in words]
        with self.there.entered():
            return subprocess.Popen(
                [*as_user(user), *PYTHON, *words],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "NODE_NAME": NAME},
            )

    def end(self) -> None:
        """Its processes are killed and it is deleted."""
        for process in self.processes:
            process.kill()
            process.wait()
            self.node.hide(process.pid)
        self.node.server.do(lambda: self.node.server.fake.remove("v1", "Pod", self.name, "default"))


class Node:
    """Everything that it started is gone after `close`."""

    def __init__(self, own: Namespace) -> None:
        """`own` is the node's network."""
        self.directory = Path(tempfile.mkdtemp(prefix="remora-node-"))
        self.proc = self.directory / "proc"
        (self.proc / "1" / "ns").mkdir(parents=True)
        (self.proc / "1" / "ns" / "net").symlink_to(own.path)
        self.server = FakeInThread(self.directory / "server")
        self.server.start()
        self.agent: subprocess.Popen[bytes] | None = None
        self.address = ""

    def close(self) -> None:
        self.stop_agent()
        self.server.stop()
        subprocess.run(["rm", "-rf", str(self.directory)], check=True)

    def show(self, pid: int, cgroup: str) -> None:
        """A process, in /proc."""
        at = self.proc / str(pid)
        (at / "ns").mkdir(parents=True)
        (at / "cgroup").write_text(cgroup)
        (at / "stat").symlink_to(f"/proc/{pid}/stat")
        (at / "ns" / "net").symlink_to(f"/proc/{pid}/ns/net")

    def show_as_it_is(self, pid: int) -> None:
        """As the kernel has it, its control group too."""
        (self.proc / str(pid)).symlink_to(f"/proc/{pid}")

    def hide(self, pid: int) -> None:
        """It has ended."""
        subprocess.run(["rm", "-rf", str(self.proc / str(pid))], check=True)

    def schedule(self, there: Namespace, injected: InjectedPod, **changed: Any) -> NodesPod:
        """The API server has it; nothing runs yet. `changed` are fields of its spec."""
        document = deepcopy(injected.pod)
        document["metadata"]["uid"] = str(uuid.uuid4())
        document["spec"] = {**document["spec"], "nodeName": NAME, **changed}
        document["status"] = {"phase": "Pending"}
        self.server.do(lambda: self.server.fake.seed(document))
        return NodesPod(self, there, document, injected)

    def start_agent(self, before: Sequence[str] = ()) -> None:
        """Until it knows the node's pods. `before` goes before its command."""
        reading, writing = os.pipe()
        argv = [*before, *PYTHON, "node-agent", "--node", NAME, "--proc", str(self.proc)]
        argv += ["--listen", "127.0.0.1:0"]
        argv += ["--kubeconfig", str(self.server.kubeconfig), "--ready-fd", str(writing)]
        with open(self.directory / "agent.log", "ab") as log:
            self.agent = subprocess.Popen(argv, stdout=log, stderr=log, pass_fds=(writing,))
        os.close(writing)
        with open(reading, "rb") as pipe:
            line = pipe.readline() if select.select([pipe], [], [], READY_S)[0] else b""
        assert line, f"the node agent is not ready: {self.said()}"
        self.address = json.loads(line)["address"]

    def stop_agent(self, how: int = signal.SIGTERM) -> int | None:
        """Its exit status; None: there was none."""
        if self.agent is None:
            return None
        with contextlib.suppress(ProcessLookupError):
            self.agent.send_signal(how)
        status, self.agent = self.agent.wait(10), None
        return status

    def said(self) -> str:
        """The agent's log."""
        return (self.directory / "agent.log").read_text()[-6000:]

    def metrics(self) -> dict[str, float]:
        """By name and labels."""
        with urllib.request.urlopen(f"http://{self.address}/metrics", timeout=5) as answer:
            lines: Sequence[str] = answer.read().decode().splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}

    def events(self) -> list[dict[str, Any]]:
        """On its pods."""
        return self.server.do(lambda: [each.object for each in self.server.fake.storage.all(("", "events"))])
