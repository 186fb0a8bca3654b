"""A clock that tests turn, and requests as a sidecar makes them."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from control.ca.authority import Applicant
from control.ca.on_disk import DiskAuthority
from mesh.spiffe import SpiffeId
from tests.control.ca.requests import REVIEWS


@dataclass
class TurnedClock:
    wall: float = 1_800_000_000.0
    steady: float = 1000.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.steady

    def pass_s(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
def authority(tmp_path: Path, clock: TurnedClock) -> DiskAuthority:
    made = DiskAuthority(tmp_path / "ca", "cluster.local", clock)
    made.open()
    return made


@pytest.fixture
def applicant() -> Applicant:
    return Applicant(SpiffeId.parse(REVIEWS), "token", "ipv4:127.0.0.1:4000", "default/reviews-v1")
