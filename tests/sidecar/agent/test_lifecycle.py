"""When a pod's sidecar leaves."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace

import pytest

from mesh.clock import SystemClock
from sidecar.agent.lifecycle import LAST_S, LAYER, Departure, layers
from sidecar.agent.outbound_activity import outbound_connections
from sidecar.config.endpoint import Address
from sidecar.config.listener import Direction, Listener
from sidecar.pod import Form, Pod, Stay

POD = Pod("web", "10.0.0.1", drain_s=0.05, grace_s=LAST_S + 5)
QUIET_S = 0.15


class Application:
    """Has sockets until it ends, and opens connections meanwhile."""

    def __init__(self) -> None:
        self.others: Mapping[str, int] = {"tcp": 1}
        self.opened = 0.0
        self.unreadable = False
        self.looks = 0

    def sockets(self) -> Mapping[str, int]:
        self.looks += 1
        if self.unreadable:
            raise FileNotFoundError(2, "No such file or directory")
        return self.others


@pytest.fixture
def application() -> Application:
    return Application()


def departure(application: Application, pod: Pod | None = POD) -> Departure:
    opened = lambda: application.opened  # noqa: E731
    return Departure(pod, application.sockets, opened, SystemClock(), quiet_s=QUIET_S, look_every_s=0.01)


async def left_after(leaving: Departure) -> float:
    began = time.monotonic()
    await asyncio.wait_for(leaving.wait(), 10)
    return time.monotonic() - began


async def leaves_within(leaving: Departure, seconds: float) -> bool:
    task = asyncio.get_running_loop().create_task(leaving.wait())
    done, _ = await asyncio.wait([task], timeout=seconds)
    task.cancel()
    await asyncio.wait([task])
    return bool(done)


@pytest.mark.parametrize(
    "pod", [pytest.param(None, id="no pod"), pytest.param(replace(POD, form=Form.NATIVE), id="native")]
)
async def test_who_is_told_last_leaves_at_once(pod: Pod | None, application: Application) -> None:
    leaving = departure(application, pod)
    assert not leaving.stays
    assert await left_after(leaving) < 0.1
    assert leaving.drain_s(5.0) == 5.0
    assert application.looks == 0


async def test_it_stays_while_the_application_has_a_socket(application: Application) -> None:
    leaving = departure(application)
    assert not await leaves_within(leaving, 0.4)
    application.others = {}
    assert QUIET_S <= await left_after(departure(application)) < 2


async def test_it_stays_while_the_application_opens_connections_that_nobody_sees(application: Application) -> None:
    application.others = {}
    leaving = departure(application)
    task = asyncio.get_running_loop().create_task(leaving.wait())
    for _ in range(6):
        done, _ = await asyncio.wait([task], timeout=QUIET_S / 2)
        assert not done
        application.opened += 1
    await asyncio.wait_for(task, 5)
    assert leaving.outlived is True


async def test_it_stays_for_the_drain_duration_at_least(application: Application) -> None:
    application.others = {}
    took_s = await left_after(departure(application, replace(POD, drain_s=0.5)))
    assert 0.5 <= took_s < 2


async def test_it_leaves_just_before_the_grace_period_ends(
    application: Application, caplog: pytest.LogCaptureFixture
) -> None:
    leaving = departure(application, replace(POD, grace_s=LAST_S + 0.3, drain_s=60))
    assert 0.3 <= await left_after(leaving) < 2
    assert leaving.outlived is False
    assert any("nearly over" in record.message and record.levelname == "WARNING" for record in caplog.records)
    # What is left is shared: half a second for requests, a second for records.
    assert 0.5 <= leaving.drain_s(5.0) < 0.6
    assert 1.0 <= leaving.flush_s(2.0) < 1.9


async def test_with_a_short_grace_period_it_leaves_at_once(application: Application) -> None:
    assert await left_after(departure(application, replace(POD, grace_s=1.0))) < 0.2


async def test_who_says_that_the_application_has_ended_is_believed(application: Application) -> None:
    leaving = departure(application)
    task = asyncio.get_running_loop().create_task(leaving.wait())
    await asyncio.wait([task], timeout=0.05)
    assert leaving.waiting
    leaving.go()
    await asyncio.wait_for(task, 1)
    assert not leaving.waiting
    assert await left_after(leaving) < 0.1, "and before it was asked to leave, too"


async def test_istios_way_is_to_be_had(application: Application) -> None:
    took_s = await left_after(departure(application, replace(POD, stay=Stay.DRAIN, drain_s=0.2)))
    assert 0.2 <= took_s < 1
    assert application.looks == 0


async def test_until_the_grace_period_ends_is_to_be_had(application: Application) -> None:
    application.others = {}
    leaving = departure(application, replace(POD, stay=Stay.GRACE, grace_s=LAST_S + 0.5))
    assert 0.5 <= await left_after(leaving) < 2


async def test_who_can_not_look_stays(application: Application, caplog: pytest.LogCaptureFixture) -> None:
    application.unreadable = True
    assert not await leaves_within(departure(application), 0.5)
    (said,) = [record.message for record in caplog.records if "cannot see" in record.message]
    assert said.startswith("cannot see the pod's sockets: [Errno 2] No such file or directory; staying until")


def test_connections_of_other_workloads_are_no_sign_of_life() -> None:
    inbound = Listener("virtualInbound", Address("10.0.0.1", 15006), Direction.INBOUND, ())
    outbound = Listener("virtualOutbound", Address("127.0.0.1", 15001), Direction.OUTBOUND, ())
    totals = [
        ("envoy_listener_downstream_cx_total", (("envoy_listener_address", "10.0.0.1_15006"),), 7.0),
        ("envoy_listener_downstream_cx_total", (("envoy_listener_address", "127.0.0.1_15001"),), 3.0),
        ("envoy_listener_downstream_cx_active", (("envoy_listener_address", "127.0.0.1_15001"),), 1.0),
    ]
    assert outbound_connections(totals, [inbound, outbound]) == 3.0


def test_only_a_job_asks_whether_it_has_ended() -> None:
    assert layers(replace(POD, job=True)) == {LAYER}
    assert layers(POD) == frozenset()
    assert layers(None) == frozenset()
