"""Workloads that tests add to a running mesh, as a user does: `remora run`."""

import contextlib
import random
import subprocess
from collections.abc import Iterator, Sequence

from remora.up.sockets import free_ports
from tests.integration.mesh import REMORA, RunningMesh, until


@contextlib.contextmanager
def running(mesh: RunningMesh, service: str, *flags: str, command: Sequence[str]) -> Iterator[None]:
    """A workload of `service` while the block runs, its sidecar connected and in step."""
    argv = [*REMORA, "run", "--state", str(mesh.state), "--service", service, *flags, "--", *command]
    process = subprocess.Popen(argv)
    try:
        until(lambda: _synced(mesh, f"{service}-v1", process), f"{service} is in the mesh", within=30)
        yield
    finally:
        process.terminate()
        process.wait(20)


def _synced(mesh: RunningMesh, workload: str, process: "subprocess.Popen[bytes]") -> bool:
    assert process.poll() is None, f"`remora run` ended with {process.returncode}"
    found = [proxy for proxy in mesh.status()["proxies"] if proxy["workload"] == workload]
    assert not any(proxy["rejections"] for proxy in found), found
    return bool(found) and found[0]["state"] == "synced"


@contextlib.contextmanager
def client_of(mesh: RunningMesh, upstream: str, *, name: str = "caller") -> Iterator[int]:
    """A workload that only calls: the local port at which it finds `SERVICE:PORT`."""
    (port,) = free_ports(1, random.Random())
    with running(mesh, name, "--tcp-upstream", f"{upstream}={port}", command=("sleep", "600")):
        yield port
