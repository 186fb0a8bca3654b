"""Two control planes and one Lease: handed over at once by SIGTERM, within its term after SIGKILL."""

import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import SYSTEM, Cluster, until
from tests.e2e.conftest import REAL
from tests.e2e.control import SHORT_TERM, Control, LeastPrivileged

LEASE = "remora-control-handover"
TERM_S, RETRY_S = (15.0, 2.0) if REAL else (2.0, 0.3)
SLACK_S = 0.5
"""Of a busy machine, in which the round trips are lost."""


@pytest.fixture
def two(cluster: Cluster, control: LeastPrivileged) -> Iterator[list[Control]]:
    """A revision of their own, so that nobody else's Lease is concerned."""
    flags = ("--revision", "handover", *(() if REAL else SHORT_TERM))
    with tempfile.TemporaryDirectory(prefix="remora-e2e-lease-") as directory:
        made = [Control(cluster, Path(directory, str(n)), cluster.server.kubeconfig, *flags) for n in range(2)]
        for each in made:
            each.begin()
        for each in made:
            each.await_ready()
        yield made
        for each in made:
            if each.process is not None and each.process.poll() is None:
                each.end()


def holder(cluster: Cluster) -> str:
    return str(cluster.get("Lease", LEASE, SYSTEM)["spec"].get("holderIdentity") or "")


def test_the_lease_is_handed_over(cluster: Cluster, two: list[Control]) -> None:
    def leaders() -> list[Control]:
        running = [each for each in two if each.process is not None and each.process.poll() is None]
        return [each for each in running if each.metric("remora_control_leading") == 1]

    until(lambda: len(leaders()) == 1, "one of them leads")
    (leader,) = leaders()
    (follower,) = (each for each in two if each is not leader)
    first = holder(cluster)
    time_s = {}

    began = time.monotonic()
    assert leader.process is not None
    leader.process.send_signal(signal.SIGTERM)
    until(lambda: holder(cluster) not in ("", first), "the other leads", within=TERM_S)
    time_s["SIGTERM"] = time.monotonic() - began
    assert leader.process.wait(10) == 0
    assert leaders() == [follower]
    assert "gave up the lease" in leader.said()

    leader.start()
    assert leaders() == [follower], "who comes back waits"
    second = holder(cluster)
    began = time.monotonic()
    follower.end(signal.SIGKILL)
    until(lambda: holder(cluster) not in ("", second), "the first leads again", within=2 * TERM_S)
    time_s["SIGKILL"] = time.monotonic() - began
    assert leaders() == [leader]

    print("handed over after", ", ".join(f"{how} {took:.2f} s" for how, took in time_s.items()))
    assert time_s["SIGTERM"] < 1.5, time_s
    # The last renewal was up to a retry before the end, and was told at once.
    assert TERM_S - RETRY_S - SLACK_S <= time_s["SIGKILL"] < TERM_S + SLACK_S, time_s
