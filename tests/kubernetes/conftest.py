from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.kubernetes.api_server import FakeApiServer
from tests.kubernetes.client import Client


@pytest.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    async with FakeApiServer() as server:
        yield server


@pytest.fixture
async def call(server: FakeApiServer) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as session:
        yield Client(server, session)
