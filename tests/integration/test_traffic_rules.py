"""Rules in Istio's YAML do what they say, everywhere, at once, and without a request lost."""

import asyncio
import math
import statistics
import time
from typing import Any

import httpx
import pytest

from remora.documents import Document
from remora.up import samples
from tests.integration import rules
from tests.integration.mesh import RunningMesh, until
from tests.integration.traffic import Client, podname

pytestmark = pytest.mark.mesh

REVIEWS = "http://reviews:9080/reviews/0"
Z_999 = 3.2905
"""Standard deviations that hold 99.9 % of a normal distribution, both sides."""


async def test_weights_split_traffic_and_a_header_decides_alone(mesh: RunningMesh) -> None:
    count, share = 2000, 0.8
    with mesh.applied(rules.split_with_jason(80, 20)):
        proxy = mesh.outbound("productpage-v1")
        split = await Client(proxy, podname).send(REVIEWS, count)
        jason = await Client(proxy, podname).send(REVIEWS, 200, headers={"end-user": "jason"})
    assert split.statuses == {200: count}, str(split)
    allowed = Z_999 * math.sqrt(count * share * (1 - share))
    assert abs(split.bodies["reviews-v1"] - count * share) <= allowed, split.bodies
    assert set(split.bodies) == {"reviews-v1", "reviews-v3"}
    assert jason.bodies == {"reviews-v2": 200}


def test_signing_in_as_jason_shows_black_stars_to_jason_alone(mesh: RunningMesh) -> None:
    with mesh.applied(rules.split_with_jason(100, 0)):
        cookie = _sign_in(mesh, "jason")
        assert 'class="stars black"' in mesh.get("/productpage", headers={"cookie": cookie}).text
        assert "★" not in mesh.get("/productpage").text


def _sign_in(mesh: RunningMesh, user: str) -> str:
    with httpx.Client(trust_env=False, timeout=20) as client:
        answer = client.post(f"{mesh.ingress}/login", data={"username": user})
    assert answer.status_code == 302
    return str(answer.headers["set-cookie"]).split(";")[0]


def test_a_change_is_live_on_every_sidecar_within_a_second_of_apply(mesh: RunningMesh) -> None:
    """Asked of the control plane as `remora status` asks, without the time that a command takes to start."""
    took = []
    with mesh.applied(rules.all_to("reviews", "v1")), mesh.control() as control:
        for version in ("v2", "v3", "v1", "v2", "v3"):
            control.apply([Document("change.yaml", rules.all_to("reviews", version))])
            began = time.monotonic()
            status = until(lambda: _synced(control.status()), "every sidecar is synced")
            took.append(time.monotonic() - began)
            assert mesh.get_as("productpage-v1", REVIEWS).json()["podname"] == f"reviews-{version}"
            assert {proxy["version"] for proxy in status["proxies"]} == {status["version"]}
        assert {proxy["state"] for proxy in mesh.status()["proxies"]} == {"synced"}
    assert statistics.median(took) < 1.0, f"{took} s"


def _synced(status: dict[str, Any]) -> dict[str, Any]:
    return status if all(proxy["state"] == "synced" for proxy in status["proxies"]) else {}


async def test_a_hundred_changes_under_load_fail_no_request(mesh: RunningMesh) -> None:
    proxy = mesh.outbound("productpage-v1")
    details, reviews = Client(proxy), Client(proxy, podname)
    done = asyncio.Event()
    with mesh.applied(rules.split(50, 50)):
        load = (
            asyncio.create_task(details.keep_up("http://details:9080/details/0", 250, done)),
            asyncio.create_task(reviews.keep_up(REVIEWS, 250, done)),
        )
        began = time.monotonic()
        with mesh.control() as control:
            for change in range(100):
                text = rules.split(change, 100 - change)
                await asyncio.to_thread(control.apply, [Document("change.yaml", text)])
                await asyncio.sleep(0.05)
        took = time.monotonic() - began
        done.set()
        outcomes = await asyncio.gather(*load)
    for outcome in outcomes:
        assert outcome.failed == 0, str(outcome)
    total = sum(outcome.total for outcome in outcomes)
    assert total >= 0.9 * 500 * took, f"only {total} requests in {took:.1f} s: the load was not 500 a second"


def test_a_fault_is_injected_for_the_user_it_names(mesh: RunningMesh) -> None:
    with mesh.applied(rules.ratings_fault("abort", "jason")):
        refused = mesh.get_as("reviews-v3", "http://ratings:9080/ratings/0", headers={"end-user": "jason"})
        assert (refused.status_code, refused.text) == (500, "fault filter abort")
        assert mesh.get_as("reviews-v3", "http://ratings:9080/ratings/0").status_code == 200


def test_a_fault_delays_and_a_timeout_cuts(mesh: RunningMesh) -> None:
    with mesh.applied(rules.ratings_fault("delay", "jason")):
        began = time.monotonic()
        assert mesh.get_as("reviews-v3", "http://ratings:9080/ratings/0", headers={"end-user": "jason"}).is_success
        assert time.monotonic() - began >= 1.0


def test_unknown_services_are_refused_not_guessed(mesh: RunningMesh) -> None:
    answer = mesh.get_as("productpage-v1", "http://nowhere.example:9080/")
    assert answer.status_code == 502


def test_a_service_can_be_called_by_each_of_its_names(mesh: RunningMesh) -> None:
    for host in ("details", "details.default", "details.default.svc", "details.default.svc.cluster.local", "DETAILS"):
        assert mesh.get_as("productpage-v1", f"http://{host}:9080/details/0").status_code == 200, host


def test_istios_bookinfo_rules_apply_unmodified(mesh: RunningMesh) -> None:
    """The forms that the public sample uses: old API versions, `percent`, trailing separators, unused subsets."""
    for text, kinds in rules.PUBLIC_FORMS:
        output = mesh.apply(text)
        assert [line.split("/")[0] for line in output.splitlines()] == kinds
        mesh.wait_synced()
        assert mesh.get("/productpage").status_code == 200
    mesh.remora("delete", "-f", "-", stdin=rules.PUBLIC_SERVICES)
    mesh.apply("\n---\n".join(rule.text for rule in samples.rules()))
    mesh.wait_synced()
