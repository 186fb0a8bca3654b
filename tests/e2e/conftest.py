"""One cluster for all of these tests: the fake API server, or with REMORA_E2E=1 (`make test-e2e`) a real one."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.api_server import ApiServer, lacking
from tests.e2e.cluster import Cluster, until
from tests.e2e.control import SHORT_TERM, LeastPrivileged
from tests.e2e.fake_server import FakeInThread
from tests.e2e.given import Given
from tests.e2e.mesh import Pods
from tests.e2e.places import Here
from tests.e2e.scene import Scene
from tests.netns.namespaces import Network
from tests.netns.namespaces import lacking as lacking_namespaces

REAL = os.environ.get("REMORA_E2E") == "1"
GIVEN = REAL and bool(os.environ.get("KUBECONFIG"))
"""Otherwise nobody's KUBECONFIG is touched."""


@pytest.fixture(scope="package")
def network() -> Iterator[Network | None]:
    """None where there can be no namespaces, or where the API server is elsewhere."""
    if GIVEN or lacking_namespaces():
        yield None
        return
    made = Network("e")
    try:
        made.pod("first")  # the hub has an address once there is a pod
        yield made
    finally:
        made.close()


@pytest.fixture(scope="package")
def cluster(network: Network | None) -> Iterator[Cluster]:
    if REAL and not GIVEN and lacking():
        pytest.fail(f"no API server: give KUBECONFIG of one that may be changed, or: {lacking()}")
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="remora-e2e-")))
        directory.chmod(0o755)
        server = Given() if GIVEN else ApiServer(directory / "server") if REAL else FakeInThread(directory / "server")
        here = Here()
        stack.callback(here.close)
        made = Cluster(server, network.hub if network is not None else here)
        stack.callback(made.close)
        made.start()
        if isinstance(server, FakeInThread):
            server.fake.access.rbac = True
        yield made


@pytest.fixture(scope="package")
def control(cluster: Cluster, network: Network | None) -> Iterator[LeastPrivileged]:
    """The control plane, installed, serving, leading."""
    with tempfile.TemporaryDirectory(prefix="remora-e2e-control-") as directory:
        settings = Path(directory) / "injector.yaml"
        host = network.hub.ipv4 if network is not None else "127.0.0.1"
        settings.write_text(
            f"controlAddress: {host}:15012\ncaAddress: {host}:15011\n"
            f"collectorForwardAddress: {host}:24224\ncollectorOtlpAddress: {host}:4317\n"
        )
        flags = ["--injector-settings", str(settings), *(() if REAL else SHORT_TERM)]
        made = LeastPrivileged(cluster, Path(directory) / "control", *flags)
        try:
            made.start()
            yield made
        finally:
            if made.process is not None and made.process.poll() is None:
                made.end()


@pytest.fixture(scope="package")
def pods(cluster: Cluster, control: LeastPrivileged, network: Network | None) -> Iterator[Pods]:
    if network is None:
        pytest.skip(lacking_namespaces() or "pods need an API server on this machine: make test-e2e without KUBECONFIG")
    made = Pods(cluster, control, network)
    try:
        cluster.namespace("default")
        yield made
    finally:
        made.close()


@pytest.fixture(scope="package")
def scene(pods: Pods) -> Scene:
    made = Scene(pods)
    until(lambda: made.answered_by() == (200, "one"), f"requests arrive, not {made.answered_by()}")
    return made
