"""Leading against an API server: taking over, giving up, losing touch; one leader at every moment."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

import pytest

from control.kubernetes.client import KubeClient
from control.kubernetes.leadership import Leadership
from control.kubernetes.lease import LeaseTerms
from mesh.clock import SystemClock
from mesh.lifecycle import TaskScope
from tests.kubernetes.api_server import FakeApiServer

Eventually = Callable[..., Awaitable[None]]
SHORT = LeaseTerms(lease_s=1, renew_deadline_s=0.6, retry_s=0.1)


def candidate(kube: KubeClient, name: str, terms: LeaseTerms = SHORT) -> Leadership:
    return Leadership(
        kube, SystemClock(), random.Random(1), namespace="default", name="control", identity=name, terms=terms
    )


def stored(server: FakeApiServer) -> dict[str, object]:
    spec: dict[str, object] = server.get("coordination.k8s.io/v1", "Lease", "control", "default")["spec"]
    return spec


async def test_one_of_two_leads_and_a_released_lease_is_taken_at_once(
    kube: KubeClient, api_server: FakeApiServer, eventually: Eventually
) -> None:
    terms = LeaseTerms(lease_s=30, renew_deadline_s=20, retry_s=10)
    one, two = candidate(kube, "one", terms), candidate(kube, "two", terms)
    async with TaskScope() as scope:
        leading = scope.spawn(one.run(), name="one")
        await eventually(lambda: one.leading, "one leads")
        scope.spawn(two.run(), name="two")
        await eventually(lambda: two.holder == "one", "two has seen who leads")
        assert not two.leading
        await eventually(lambda: api_server.faults.watching == 1, "two waits for one's end")
        leading.cancel()
        await one.release()
        assert not one.leading
        await eventually(lambda: two.leading, "two leads, ten seconds before it would look again", within=1)
    assert stored(api_server)["holderIdentity"] == "two"
    assert stored(api_server)["leaseTransitions"] == 1


SLACK_S = 0.5
"""Of a busy machine."""
SLOW = LeaseTerms(lease_s=2, renew_deadline_s=1.9, retry_s=1.5)
"""Polls are so far apart that by them alone nobody knows when it ends."""


async def followed_after_s(kube: KubeClient, api_server: FakeApiServer, eventually: Eventually) -> float:
    """From the end of a leader, which came at once after a renewal, to the next one's beginning."""
    clock = SystemClock()
    one, two = candidate(kube, "one", SLOW), candidate(kube, "two", SLOW)
    async with TaskScope() as scope:
        leading = scope.spawn(one.run(), name="one")
        await eventually(lambda: one.leading, "one leads")
        scope.spawn(two.run(), name="two")
        await eventually(lambda: two.holder == "one", "two has seen who leads")
        made = stored(api_server)["renewTime"]
        await eventually(lambda: stored(api_server)["renewTime"] != made, "one has renewed its lease")
        leading.cancel()
        gone = clock.monotonic()
        await eventually(lambda: two.leading, "two leads")
        assert not one.leading
        return clock.monotonic() - gone


async def test_a_leader_that_is_gone_is_followed_within_its_term(
    kube: KubeClient, api_server: FakeApiServer, eventually: Eventually
) -> None:
    took_s = await followed_after_s(kube, api_server, eventually)
    assert SLOW.lease_s - SLACK_S <= took_s < SLOW.lease_s + SLACK_S


async def test_who_waits_hears_of_renewals_and_does_not_ask(
    kube: KubeClient, api_server: FakeApiServer, eventually: Eventually
) -> None:
    terms = LeaseTerms(lease_s=3, renew_deadline_s=2, retry_s=0.2)
    one, two = candidate(kube, "one", terms), candidate(kube, "two", terms)
    async with TaskScope() as scope:
        scope.spawn(one.run(), name="one")
        await eventually(lambda: one.leading, "one leads")
        scope.spawn(two.run(), name="two")
        await eventually(lambda: api_server.faults.watching == 1, "two follows")
        api_server.asked.clear()
        seen: set[object] = set()

        def renewed_often() -> bool:
            seen.add(stored(api_server)["renewTime"])
            return len(seen) > 8

        await eventually(renewed_often, "one renews its lease")
        asked = [each.verb for each in api_server.asked]
        assert asked.count("update") >= 8
        # By polls it would be five; once or twice may be of a machine that stood still.
        assert len(asked) - asked.count("update") <= 2, asked


@pytest.mark.parametrize("fault", ["forbidden", "silent", "cut"])
async def test_without_a_watch_polls_are_left_and_one_leads_all_the_same(
    fault: str, kube: KubeClient, api_server: FakeApiServer, eventually: Eventually
) -> None:
    if fault == "forbidden":
        api_server.access.forbidden.add(("watch", "coordination.k8s.io", "leases"))
    api_server.faults.watches_are_silent = fault == "silent"
    clock = SystemClock()
    one, two = candidate(kube, "one"), candidate(kube, "two")
    async with TaskScope() as scope:
        leading = scope.spawn(one.run(), name="one")
        await eventually(lambda: one.leading, "one leads")
        scope.spawn(two.run(), name="two")
        await eventually(lambda: two.holder == "one", "two has seen who leads")
        api_server.asked.clear()

        def polled() -> int:
            if fault == "cut":
                api_server.faults.cut_watches()
            assert one.leading
            assert not two.leading
            return sum(each.verb == "get" for each in api_server.asked)

        await eventually(lambda: polled() > 5, "two polls, longer than the term")
        leading.cancel()
        gone = clock.monotonic()
        await eventually(lambda: two.leading, "two leads")
        assert clock.monotonic() - gone < SHORT.lease_s + SHORT.retry_s * (1 + SHORT.jitter) + SLACK_S


async def test_a_lease_that_is_deleted_is_made_anew(
    kube: KubeClient, api_server: FakeApiServer, eventually: Eventually
) -> None:
    terms = LeaseTerms(lease_s=30, renew_deadline_s=20, retry_s=10)
    api_server.seed({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "control", "namespace": "default"},
        "spec": {"holderIdentity": "somebody", "leaseDurationSeconds": 30},
    })  # fmt: skip
    one = candidate(kube, "one", terms)
    async with TaskScope() as scope:
        scope.spawn(one.run(), name="one")
        await eventually(lambda: api_server.faults.watching == 1, "one follows somebody")
        api_server.remove("coordination.k8s.io/v1", "Lease", "control", "default")
        await eventually(lambda: one.leading, "one leads, ten seconds before it would look again", within=1)


async def test_a_leader_that_cannot_renew_ceases_before_another_may_take_over(
    kube: KubeClient, api_server: FakeApiServer, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "control.leader")
    changes: list[bool] = []
    one = candidate(kube, "one")
    one.on_change.append(changes.append)
    async with TaskScope() as scope:
        scope.spawn(one.run(), name="one")
        await eventually(lambda: one.leading, "one leads")
        hold = api_server.faults.hold(lambda asked: asked.resource == "leases")
        began = SystemClock().monotonic()
        await eventually(lambda: not one.leading, "one has ceased to lead")
        assert SystemClock().monotonic() - began < SHORT.renew_deadline_s + 1
        await eventually(lambda: changes == [True, False], "those who asked are told")
        hold.release()
        await eventually(lambda: one.leading, "one leads again")
    errors = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert [each.getMessage() for each in errors] == ["the lease default/control: no answer in time"]
    assert "can be read and written again" in caplog.text


async def test_a_lease_taken_by_force_ends_the_leadership_at_once(
    kube: KubeClient, api_server: FakeApiServer, eventually: Eventually
) -> None:
    one = candidate(kube, "one", LeaseTerms(lease_s=30, renew_deadline_s=20, retry_s=0.1))
    async with TaskScope() as scope:
        scope.spawn(one.run(), name="one")
        await eventually(lambda: one.leading, "one leads")
        lease = api_server.get("coordination.k8s.io/v1", "Lease", "control", "default")
        api_server.seed(lease | {"spec": dict(lease["spec"]) | {"holderIdentity": "somebody"}})
        await eventually(lambda: not one.leading, "one has ceased to lead", within=2)
        assert one.holder == "somebody"


async def test_without_permission_nobody_leads_and_the_missing_verb_is_said_once(
    kube: KubeClient, api_server: FakeApiServer, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    api_server.access.forbidden.add(("update", "coordination.k8s.io", "leases"))
    api_server.seed({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "control", "namespace": "default"}, "spec": {"holderIdentity": ""},
    })  # fmt: skip
    one = candidate(kube, "one")
    async with TaskScope() as scope:
        scope.spawn(one.run(), name="one")
        await eventually(lambda: len(api_server.asked) > 5, "it goes on trying")
        assert not one.leading
        said = [each.getMessage() for each in caplog.records if "grant verb" in each.getMessage()]
        assert len(said) == 1
        assert '"update" on resource "leases" of API group "coordination.k8s.io" in namespace default' in said[0]
        api_server.access.forbidden.clear()
        await eventually(lambda: one.leading, "one leads")


async def test_two_that_create_it_at_the_same_time_are_one_leader(kube: KubeClient, eventually: Eventually) -> None:
    several = [candidate(kube, f"c{number}") for number in range(4)]
    async with TaskScope() as scope:
        for number, each in enumerate(several):
            scope.spawn(each.run(), name=f"candidate {number}")
        await eventually(lambda: any(each.leading for each in several), "somebody leads")
        for _ in range(20):
            assert sum(each.leading for each in several) == 1
            await asyncio.sleep(0.02)


async def test_giving_up_waits_for_no_server(
    kube: KubeClient, api_server: FakeApiServer, eventually: Eventually
) -> None:
    one = candidate(kube, "one")
    async with TaskScope() as scope:
        leading = scope.spawn(one.run(), name="one")
        await eventually(lambda: one.leading, "one leads")
        leading.cancel()
        await api_server.stop()
        async with asyncio.timeout(3):
            await one.release()
        assert not one.leading


async def test_who_was_outrun_at_the_start_knows_the_leader_and_waits_for_its_end(
    kube: KubeClient, api_server: FakeApiServer, eventually: Eventually
) -> None:
    terms = LeaseTerms(lease_s=30, renew_deadline_s=20, retry_s=10)
    one, two = candidate(kube, "one", terms), candidate(kube, "two", terms)
    hold = api_server.faults.hold(lambda asked: asked.verb == "create")
    async with TaskScope() as scope:
        both = [scope.spawn(each.run(), name="candidate") for each in (one, two)]
        await eventually(lambda: hold.waiting == 2, "both are about to make it")
        hold.release()
        await eventually(lambda: one.leading or two.leading, "one of them leads")
        leader, other = (one, two) if one.leading else (two, one)
        await eventually(lambda: api_server.faults.watching == 1, "the other waits for its end")
        assert other.holder == ("one" if leader is one else "two")
        both[0 if leader is one else 1].cancel()
        await leader.release()
        await eventually(lambda: other.leading, "the other leads", within=1)
