"""The worker runs on libuv's loop; so do its tests."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import uvloop

from tests.sidecar.worker.h2_peers import H2Client, H2Origin
from tests.sidecar.worker.peers import Client, Origin
from tests.sidecar.worker.proxy import Proxy, running_proxy


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """A worker without configuration."""
    async with running_proxy() as running:
        yield running


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    """An upstream that answers 200 unless told otherwise."""
    server = Origin()
    await server.start()
    yield server
    await server.close()


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """Opens connections and closes them at the end."""
    opened = Client()
    yield opened
    await opened.close()


@pytest.fixture
async def h2_client() -> AsyncIterator[H2Client]:
    """Opens HTTP/2 connections and closes them at the end."""
    opened = H2Client()
    yield opened
    await opened.close()


@pytest.fixture
async def make_h2_origin() -> AsyncIterator[Callable[..., Awaitable[H2Origin]]]:
    """HTTP/2 upstreams with these settings; they answer 200 unless told otherwise."""
    made: list[H2Origin] = []

    async def make(**settings: int) -> H2Origin:
        server = H2Origin(**settings)
        made.append(server)
        await server.start()
        return server

    yield make
    for server in made:
        await server.close()


@pytest.fixture
async def h2_origin(make_h2_origin: Callable[..., Awaitable[H2Origin]]) -> H2Origin:
    """One with the library's settings."""
    return await make_h2_origin()
