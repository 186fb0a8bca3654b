"""The REST interface in this process, without sockets: a store in a directory, the whole pipeline behind it."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from control.laptop import Laptop
from control.options import Options
from control.plane import Plane
from control.rest.workloads import Addresses
from mesh.clock import SystemClock
from mesh.lifecycle import TaskScope


@pytest.fixture
def options(tmp_path: Path) -> Options:
    return Options(state=tmp_path / "state", laptop=True)


@pytest.fixture
async def plane(options: Options) -> AsyncIterator[Plane]:
    clock = SystemClock()
    stored = Laptop(options, clock).stored
    made = Plane(options, stored, clock)
    await made.publisher.start(stored.store.world)
    async with TaskScope() as scope:
        scope.spawn(made.publisher.run(), name="publisher")
        yield made
    stored.store.close()


@pytest.fixture
def transport(plane: Plane) -> httpx.ASGITransport:
    return httpx.ASGITransport(plane.rest_app(Addresses("127.0.0.1:1", "127.0.0.1:2", "https://127.0.0.1:3")))


@pytest.fixture
async def rest(plane: Plane, transport: httpx.ASGITransport) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {plane.stored.admin_token}"}
    async with httpx.AsyncClient(transport=transport, base_url="https://127.0.0.1:3", headers=headers) as client:
        yield client
