"""The node agent may do what it does, and nothing more: its role is held against what it asked of the API server."""

import contextlib
import json
import os
import select
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from remora.install.names import NODE_NAMESPACE
from remora.install.objects import objects
from remora.install.parts.node_agent import NAME
from remora.install.reading import load
from tests.e2e.cluster import until
from tests.e2e.fake_server import FakeInThread
from tests.kubernetes.objects import INJECTED

USER = f"system:serviceaccount:{NODE_NAMESPACE}:{NAME}"
INSTALLED = [each for each in objects(load([], ["cni.enabled=true"])) if each["metadata"]["name"] == NAME]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FakeInThread]:
    made = FakeInThread(tmp_path / "server")
    made.start()
    for each in INSTALLED:
        if each["kind"] in ("ClusterRole", "ClusterRoleBinding"):
            made.do(lambda each=each: made.fake.seed(each))  # type: ignore[misc]
    made.fake.access.rbac = True
    yield made
    made.stop()


def pod(name: str, node: str) -> dict[str, Any]:
    """One that makes the agent write an event: it has neither of the two init containers."""
    containers = [{"name": each, "image": "a:1"} for each in ("app", "remora-proxy")]
    about = {"name": name, "namespace": "shop", "uid": str(uuid.uuid4()), "annotations": INJECTED}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": {"nodeName": node, "containers": containers}}


def granted() -> set[tuple[str, str, str]]:
    (role,) = (each for each in INSTALLED if each["kind"] == "ClusterRole")
    return {
        (verb, group, resource)
        for rule in role["rules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


@contextlib.contextmanager
def agent(kubeconfig: Path, proc: Path, log: Path) -> Iterator[None]:
    """One that runs, and knows its pods."""
    (proc / "1" / "ns").mkdir(parents=True)
    (proc / "1" / "ns" / "net").touch()
    reading, writing = os.pipe()
    flags = [f"--kubeconfig={kubeconfig}", f"--proc={proc}", "--node=node-1", "--listen=127.0.0.1:0"]
    argv = [sys.executable, "-P", "-m", "remora", "node-agent", *flags, f"--ready-fd={writing}"]
    with open(log, "wb") as file:
        process = subprocess.Popen(argv, stdout=file, stderr=file, pass_fds=(writing,))
    os.close(writing)
    try:
        with open(reading, "rb") as pipe:
            assert select.select([pipe], [], [], 20)[0], log.read_text()
            assert pipe.readline(), log.read_text()
        yield
    finally:
        process.terminate()
        assert process.wait(10) == 0, log.read_text()


def test_everything_that_it_does_is_granted_and_everything_that_is_granted_it_does(
    server: FakeInThread, tmp_path: Path
) -> None:
    for name, node in (("here", "node-1"), ("there", "node-2")):
        server.do(lambda name=name, node=node: server.fake.seed(pod(name, node)))  # type: ignore[misc]
    token = server.do(lambda: server.fake.access.issue(NODE_NAMESPACE, NAME))
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(json.dumps(server.fake.kubeconfig(token)))
    with agent(kubeconfig, tmp_path / "proc", tmp_path / "log"):

        def events() -> list[str]:
            return server.do(
                lambda: [each.object["involvedObject"]["name"] for each in server.fake.storage.all(("", "events"))]
            )

        until(lambda: granted() <= server.fake.used_by(USER), "all that is granted is used")
        until(events, "an event is written")
        assert events() == ["here"], "of its own node's pods"
    assert server.fake.used_by(USER) == granted()
    assert "forbidden" not in (tmp_path / "log").read_text()
