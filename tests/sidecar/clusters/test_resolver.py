"""What DNS says of a cluster's names, but for addresses that would be this sidecar's own machine."""

import asyncio
import logging
import random
import socket
from dataclasses import replace
from typing import Any

import pytest

from mesh.lifecycle import TaskScope
from sidecar.clusters.cluster import LiveCluster
from sidecar.clusters.dial import Surroundings
from sidecar.clusters.resolver import Resolver
from sidecar.config.cluster import Cluster, Discovery
from sidecar.config.endpoint import Address, Endpoint
from sidecar.net.outbox import Outbox
from sidecar.net.timers import TimerWheel
from tests.sidecar.telemetry.conftest import FakeClock


class Dns:
    """In the place of the loop: it says of every name what it was told to say."""

    def __init__(self, *answers: str) -> None:
        self._answers = answers

    async def getaddrinfo(self, _name: str, port: int, **_more: Any) -> list[tuple[Any, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answer, port)) for answer in self._answers]


async def resolved(name: str, *answers: str) -> list[str]:
    loop = asyncio.get_running_loop()
    clock = FakeClock()
    wheel = TimerWheel(loop, clock)
    async with TaskScope() as scope:
        around = Surroundings(loop, scope, clock, wheel, Outbox(loop))
        config = Cluster("c", discovery=Discovery.DNS, endpoints=(Endpoint(Address(name, 80)),))
        cluster = LiveCluster(config, None, around, random.Random(1))
        resolver = Resolver(replace(around, loop=Dns(*answers)))  # type: ignore[arg-type]
        resolver.follow([cluster])
        await resolver.settled(5)
        resolver.follow([])
    wheel.close()
    return [each.config.address.host for each in cluster.endpoints]


async def test_a_name_that_leads_to_this_machine_leads_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    ours = ["127.0.0.1", "::1", "0.0.0.0", "169.254.169.254", "fe80::1%eth0", "::ffff:127.0.0.1"]
    assert await resolved("rebound.test", "192.0.2.1", *ours) == ["192.0.2.1"]
    assert [each for each in ours if f"rebound.test leads to {each}, which is left out" not in caplog.text] == []


@pytest.mark.parametrize("name", ["localhost", "db.localhost", "127.0.0.1", socket.gethostname()])
async def test_who_names_this_machine_gets_it(name: str) -> None:
    assert await resolved(name, "127.0.0.1") == ["127.0.0.1"]
