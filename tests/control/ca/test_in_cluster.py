"""The root as a Secret: made once, read by all, rotated by the leader; kept through whatever happens to it."""

import asyncio
import base64
import json
import logging
import os
from collections.abc import Awaitable, Callable

import pytest

from control.ca.audit import AuditStream
from control.ca.errors import AuditUnavailable, BrokenAuthority
from control.ca.in_cluster import ClusterAuthority, RootSecret
from control.ca.root import new_roots
from control.ca.rotate import Step
from control.ca.template import DEFAULT_LIFETIMES
from control.kubernetes.client import KubeClient
from control.kubernetes.errors import ApiError
from control.kubernetes.resources import SECRETS
from tests.control.ca.conftest import TurnedClock
from tests.kubernetes.api_server import FakeApiServer

Eventually = Callable[..., Awaitable[None]]
SYSTEM = "remora-system"


@pytest.fixture(autouse=True)
def system_namespace(api_server: FakeApiServer) -> None:
    api_server.seed({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})


class Nowhere:
    async def append(self, record: dict[str, object]) -> None:
        raise AssertionError("no certificate is asked for here")


def replica(kube: KubeClient, clock: TurnedClock, *, leads: bool) -> ClusterAuthority:
    return ClusterAuthority(RootSecret(kube, SYSTEM), "cluster.local", clock, Nowhere(), lambda: leads)


async def opened(kube: KubeClient, clock: TurnedClock, *, leads: bool = True) -> ClusterAuthority:
    made = replica(kube, clock, leads=leads)
    await made.open()
    return made


def in_secret(server: FakeApiServer) -> dict[str, str]:
    data: dict[str, str] = server.get("v1", "Secret", "remora-ca", SYSTEM)["data"]
    return {name: base64.b64decode(value).decode() for name, value in data.items()}


async def test_the_leader_makes_the_root_and_the_others_read_it(kube: KubeClient, clock: TurnedClock) -> None:
    waiting = asyncio.ensure_future(opened(kube, clock, leads=False))
    leader = await opened(kube, clock)
    follower = await asyncio.wait_for(waiting, 5)
    assert follower.roots.pem == leader.roots.pem
    assert (await opened(kube, clock)).roots.pem == leader.roots.pem


async def test_ten_that_believe_to_lead_make_one_root(kube: KubeClient, clock: TurnedClock) -> None:
    several = await asyncio.gather(*(opened(kube, clock) for _ in range(10)))
    assert len({each.roots.pem for each in several}) == 1


async def test_a_rotation_is_the_leaders_and_everyone_trusts_both_before_the_new_one_signs(
    kube: KubeClient, clock: TurnedClock, api_server: FakeApiServer
) -> None:
    leader, follower = await opened(kube, clock), await opened(kube, clock, leads=False)
    told: list[str] = []
    follower.on_roots_changed.append(lambda: told.append("follower"))
    first = leader.roots.signer.certificate
    clock.pass_s(DEFAULT_LIFETIMES.root_s * 0.7)
    assert await follower.look() is Step.NOTHING
    assert await leader.look() is Step.INTRODUCE
    assert set(in_secret(api_server)) == {"root.key", "root.pem", "next.key"}
    await follower.look()
    assert len(follower.roots.trusted) == 2
    assert follower.roots.signer.certificate == first
    clock.pass_s(2 * DEFAULT_LIFETIMES.leaf_s)
    assert await leader.look() is Step.PROMOTE
    await follower.look()
    assert follower.roots.signer.certificate != first
    assert follower.roots.pem == leader.roots.pem == in_secret(api_server)["root.pem"]
    clock.pass_s(2 * DEFAULT_LIFETIMES.leaf_s)
    assert await leader.look() is Step.RETIRE
    await follower.look()
    assert first not in follower.roots.trusted
    assert told == ["follower"] * 3
    assert (await opened(kube, clock)).roots.pem == leader.roots.pem, "a restart finds what was left"


async def test_two_leaders_do_not_take_one_step_twice(
    kube: KubeClient, clock: TurnedClock, api_server: FakeApiServer, eventually: Eventually
) -> None:
    one, two = await opened(kube, clock), await opened(kube, clock)
    clock.pass_s(DEFAULT_LIFETIMES.root_s * 0.7)
    hold = api_server.faults.hold(lambda asked: asked.verb == "update")
    both = [asyncio.ensure_future(each.look()) for each in (one, two)]
    await eventually(lambda: hold.waiting == 2, "both are about to write")
    hold.release()
    outcomes = await asyncio.gather(*both, return_exceptions=True)
    assert sum(isinstance(each, ApiError) and each.conflict for each in outcomes) == 1
    await one.look()
    await two.look()
    assert one.roots.pem == two.roots.pem
    assert len(one.roots.trusted) == 2


async def test_a_removed_secret_is_written_again_with_the_same_root(
    kube: KubeClient, clock: TurnedClock, api_server: FakeApiServer
) -> None:
    leader, follower = await opened(kube, clock), await opened(kube, clock, leads=False)
    api_server.remove("v1", "Secret", "remora-ca", SYSTEM)
    await follower.look()
    await leader.look()
    assert in_secret(api_server)["root.pem"] == leader.roots.pem == follower.roots.pem


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({}, "root.key and root.pem are needed"),
        ({"root.key": "%%%", "root.pem": ""}, "not base64"),
        ({"root.key": "eA==", "root.pem": "eA=="}, "holds no unencrypted private key"),
    ],
    ids=["empty", "no base64", "no key"],
)
async def test_a_broken_secret_stops_the_start_and_never_quotes_what_it_holds(
    kube: KubeClient, clock: TurnedClock, data: dict[str, str], said: str
) -> None:
    await kube.create(
        SECRETS,
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "remora-ca", "namespace": SYSTEM}, "data": data},
        SYSTEM,
    )
    with pytest.raises(BrokenAuthority, match=said) as caught:
        await opened(kube, clock)
    assert "remora-system/remora-ca" in str(caught.value)
    assert "eA==" not in str(caught.value)


async def test_what_is_known_goes_on_serving_while_the_secret_is_broken_or_cannot_be_read(
    kube: KubeClient, clock: TurnedClock, api_server: FakeApiServer
) -> None:
    leader = await opened(kube, clock)
    before = leader.roots.pem
    good = api_server.get("v1", "Secret", "remora-ca", SYSTEM)
    api_server.seed(dict(good) | {"data": {}})
    with pytest.raises(BrokenAuthority):
        await leader.look()
    assert leader.roots.pem == before
    api_server.access.forbidden.add(("get", "", "secrets"))
    with pytest.raises(ApiError):
        await leader.look()
    assert leader.roots.pem == before


async def test_an_api_server_that_is_away_is_waited_for_and_said_once(
    kube: KubeClient,
    clock: TurnedClock,
    api_server: FakeApiServer,
    eventually: Eventually,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    api_server.access.forbidden.add(("get", "", "secrets"))
    waiting = asyncio.ensure_future(opened(kube, clock))
    await eventually(lambda: len(api_server.asked) >= 2, "it goes on trying")
    api_server.access.forbidden.clear()
    await asyncio.wait_for(waiting, 5)
    said = [each.getMessage() for each in caplog.records if "cannot be read" in each.getMessage()]
    assert len(said) == 1
    assert 'grant verb "get" on resource "secrets"' in said[0]


async def test_records_of_certificates_are_lines_of_standard_output() -> None:
    reading, writing = os.pipe()
    with open(reading) as lines:
        await AuditStream(writing).append({"serial": "1f", "identity": "spiffe://a/ns/b/sa/c"})
        os.close(writing)
        assert json.loads(lines.readline()) == {
            "audit": "certificate", "serial": "1f", "identity": "spiffe://a/ns/b/sa/c",
        }  # fmt: skip
    with pytest.raises(AuditUnavailable):
        await AuditStream(writing).append({})


def test_the_key_of_a_root_is_not_in_its_representation() -> None:
    roots = new_roots("cluster.local", now=1_800_000_000, lifetimes=DEFAULT_LIFETIMES)
    assert "PRIVATE" not in repr(roots)
    assert "key" not in repr(roots.signer)
