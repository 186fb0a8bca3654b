"""A control plane's gRPC side for a test, and a fake cluster with a client of it."""

from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from control.kubernetes.client import KubeClient
from control.kubernetes.credentials import connect
from mesh.clock import SystemClock
from tests.control.served import Served, served
from tests.kubernetes.api_server import FakeApiServer


@pytest.fixture
async def plane_served(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path / "state") as made:
        yield made


@pytest.fixture
async def api_server() -> AsyncIterator[FakeApiServer]:
    async with FakeApiServer() as server:
        yield server


@pytest.fixture
async def kube(api_server: FakeApiServer, tmp_path: Path) -> AsyncIterator[KubeClient]:
    """The administrator's client of `api_server`."""
    config = tmp_path / "kubeconfig"
    config.write_bytes(orjson.dumps(api_server.kubeconfig()))
    client = await connect(SystemClock(), kubeconfig=str(config))
    yield client
    await client.close()
