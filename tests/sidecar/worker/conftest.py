"""The worker runs on libuv's loop; so do its tests."""

import asyncio
from collections.abc import AsyncIterator, Callable

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
async def h2_origin() -> AsyncIterator[H2Origin]:
    """An HTTP/2 upstream that answers 200 unless told otherwise."""
    server = H2Origin()
    await server.start()
    yield server
    await server.close()
