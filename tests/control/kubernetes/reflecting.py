"""Reflectors against the fake API server, at a pace for tests."""

import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any

from control.kubernetes.client import Cluster, KubeClient
from control.kubernetes.outages import ApiHealth, ReflectorMetrics
from control.kubernetes.reflector import Pace, Surroundings
from mesh.clock import SystemClock
from tests.kubernetes.api_server import FakeApiServer

QUICK = Pace(
    page_objects=3,
    idle_s=20.0,
    first_retry_s=0.01,
    most_retry_s=0.05,
    forbidden_retry_s=0.05,
    missing_retry_s=0.05,
)
"""Everything soon, so that no test waits."""


@contextlib.asynccontextmanager
async def client_of(server: FakeApiServer, token: str = "admin") -> AsyncIterator[KubeClient]:
    async def authorization() -> str:
        return f"Bearer {token}"

    client = KubeClient(Cluster(server.url, None, authorization), SystemClock())
    try:
        yield client
    finally:
        await client.close()


def around(client: KubeClient, pace: Pace = QUICK, **more: Any) -> Surroundings:
    clock = SystemClock()
    health = ApiHealth(client.host, clock)
    return Surroundings(client, clock, random.Random(1), health, ReflectorMetrics(), pace=pace, **more)
