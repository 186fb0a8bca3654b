"""Where clients meant to go: one endpoint each, made when it is wanted, forgotten when it is not, never too many."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from mesh.lifecycle import TaskScope
from sidecar.clusters import original
from sidecar.clusters.cluster import LiveCluster
from sidecar.clusters.dial import Surroundings
from sidecar.clusters.original import MAX_DESTINATIONS, OriginalCluster
from sidecar.config.cluster import Cluster, Discovery, Protocol, Thresholds
from sidecar.config.endpoint import Address
from sidecar.net.outbox import Outbox
from sidecar.net.timers import TimerWheel
from tests.sidecar.telemetry.conftest import FakeClock

CONFIG = Cluster("PassthroughCluster", discovery=Discovery.ORIGINAL, cleanup_s=5.0)
HERE = Address("10.0.0.1", 80)
THERE = Address("10.0.0.2", 80)


class Ground:
    """A cluster on a clock that the test turns."""

    def __init__(self, scope: TaskScope) -> None:
        loop = asyncio.get_running_loop()
        self.clock = FakeClock()
        self.wheel = TimerWheel(loop, self.clock)
        around = Surroundings(loop, scope, self.clock, self.wheel, Outbox(loop))
        self.cluster = OriginalCluster(CONFIG, None, around, random.Random(1))

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.wheel.advance(self.clock.monotonic())

    def known(self) -> set[Address]:
        return {endpoint.config.address for endpoint in self.cluster.endpoints}


@pytest.fixture
async def ground() -> AsyncIterator[Ground]:
    async with TaskScope() as scope:
        made = Ground(scope)
        yield made
        made.wheel.close()


def to(ground: Ground, destination: Address, *, http2: bool = False) -> LiveCluster:
    found = ground.cluster.to(destination, http2)
    assert found is not None
    return found


async def test_a_destination_is_one_endpoint_the_same_each_time(ground: Ground) -> None:
    one = to(ground, HERE).pick()
    assert one is not None
    assert one.config.address == HERE
    assert to(ground, HERE).pick() is one
    assert to(ground, THERE).pick() is not one
    assert ground.cluster.pick() is None


async def test_limits_and_counters_are_those_of_the_whole(ground: Ground) -> None:
    assert to(ground, HERE).counts is to(ground, THERE).counts is ground.cluster.counts


async def test_a_client_that_chose_http2_gets_its_own_where_the_client_chooses(ground: Ground) -> None:
    assert to(ground, HERE, http2=True) is to(ground, HERE)
    ground.cluster.update(
        Cluster("PassthroughCluster", discovery=Discovery.ORIGINAL, protocol=Protocol.DOWNSTREAM), None
    )
    assert to(ground, HERE, http2=True).config.protocol is Protocol.HTTP2
    assert to(ground, HERE).config.protocol is Protocol.HTTP1


async def test_what_nobody_has_used_for_a_while_is_forgotten(ground: Ground) -> None:
    to(ground, HERE)
    ground.pass_time(5.1)  # it was used since the last look
    assert ground.known() == {HERE}
    to(ground, THERE)
    ground.pass_time(5.1)
    assert ground.known() == {THERE}


async def test_what_is_in_use_is_not_forgotten(ground: Ground) -> None:
    endpoint = to(ground, HERE).pick()
    assert endpoint is not None
    endpoint.active += 1
    for _ in range(5):
        ground.pass_time(5.1)
    assert ground.known() == {HERE}
    endpoint.active -= 1
    ground.pass_time(5.1)
    assert not ground.known()


async def test_other_settings_hold_for_destinations_that_are_there(ground: Ground) -> None:
    there = to(ground, HERE)
    config = Cluster("PassthroughCluster", discovery=Discovery.ORIGINAL, thresholds=Thresholds(max_requests=7))
    ground.cluster.update(config, None)
    assert there.config.thresholds.max_requests == 7


async def test_there_are_never_more_than_so_many(ground: Ground) -> None:
    everywhere = [Address(f"10.1.{at // 256}.{at % 256}", 80) for at in range(MAX_DESTINATIONS)]
    busy = [to(ground, each).pick() for each in everywhere]
    for endpoint in busy:
        assert endpoint is not None
        endpoint.active += 1
    assert ground.cluster.to(HERE, False) is None
    assert ground.cluster.counts.rq_overflow == 1
    busy[0].active -= 1  # type: ignore[union-attr]
    ground.pass_time(original._SWEEP_S)
    assert ground.cluster.to(HERE, False) is not None
    assert len(ground.known()) == MAX_DESTINATIONS
    for endpoint in busy[1:]:
        endpoint.active -= 1  # type: ignore[union-attr]
