"""A store that follows the fake API server."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable

import pytest
from prometheus_client import CollectorRegistry

from control.api.world import World
from control.stores.kubernetes import KubernetesStore
from mesh.clock import SystemClock
from mesh.lifecycle import TaskScope
from tests.control.kubernetes.reflecting import QUICK, client_of
from tests.kubernetes.api_server import FakeApiServer
from tests.kubernetes.objects import our_crds


class Followed:
    """A store, the Worlds that it gave, and whether it leads."""

    def __init__(self) -> None:
        self.leads = True
        self.worlds: list[World] = []
        self.registry = CollectorRegistry()
        self.store: KubernetesStore

    @property
    def world(self) -> World:
        return self.store.world

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


Follow = Callable[..., contextlib.AbstractAsyncContextManager[Followed]]


@pytest.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    async with FakeApiServer() as server:
        for each in our_crds():
            server.seed(each)
        yield server


@pytest.fixture
def follow(server: FakeApiServer) -> Follow:
    @contextlib.asynccontextmanager
    async def following(*, wait: bool = True, leads: bool = True, **more: str) -> AsyncIterator[Followed]:
        made = Followed()
        made.leads = leads
        async with client_of(server) as client, TaskScope() as scope:
            made.store = KubernetesStore(
                client,
                SystemClock(),
                random.Random(1),
                made.registry,
                may_write=lambda: made.leads,
                pace=QUICK,
                **more,
            )
            made.store.start(scope)

            async def collect() -> None:
                await made.store.synced()
                made.worlds.append(made.world)
                async for event in made.store.watch():
                    assert event.world is not None
                    made.worlds.append(event.world)

            scope.spawn(collect(), name="collect")
            if wait:
                async with asyncio.timeout(10):
                    await made.store.synced()
            yield made

    return following
