"""Outlier detection of one live cluster: reads the clock, sweeps, says in the log who is out. The Detector decides.

One entry in the process's timer wheel for a whole cluster, and only while an endpoint is out or was lately.
"""

import logging
import random
from collections.abc import Callable, Iterable
from typing import Final

from sidecar.clusters.dial import Surroundings
from sidecar.clusters.outlier import Detector, Host
from sidecar.config.endpoint import Address
from sidecar.config.outlier import OutlierDetection
from sidecar.net.timers import NEVER

MAX_LINES: Final = 20
"""In the log between two sweeps of a cluster; of more their number is said."""

log = logging.getLogger(__name__)


class Monitor(Host):
    """One endpoint, to be told how requests there go. 101 and the answers of a CONNECT are answers as all others."""

    __slots__ = ("_ejections", "address")

    def __init__(self, ejections: "Ejections", address: Address) -> None:
        super().__init__()
        self._ejections = ejections
        self.address = address

    def answered(self, status: int) -> None:
        """By the endpoint. Of gRPC the status of HTTP that its own stands for."""
        if status >= 500:
            self._ejections.answered(self, status)
        elif self.failing:
            self.recovered()

    def failed(self, status: int, *, connected: bool) -> None:
        """No answer, or not all of it: 504 where time was up, else 503. `connected`: there was a connection."""
        self._ejections.failed(self, status, connected)


class Ejections:
    """What a cluster with outlier detection has besides."""

    def __init__(
        self,
        name: str,
        config: OutlierDetection,
        around: Surroundings,
        rng: random.Random,
        changed: Callable[[], None],
    ) -> None:
        """`changed`: endpoints went out or came back."""
        self.detector = Detector(config, rng)
        self._name = name
        self._around = around
        self._changed = changed
        self._monitors: set[Monitor] = set()
        self._lines = 0
        self.deadline = NEVER
        self.look_at = NEVER

    def follow(self, config: OutlierDetection, monitors: Iterable[Monitor]) -> None:
        """The cluster has these endpoints now."""
        self.detector.config = config
        present = set(monitors)
        for monitor in self._monitors - present:
            self.detector.remove(monitor)
        for monitor in present - self._monitors:
            self.detector.add(monitor)
        self._monitors = present

    def answered(self, monitor: Monitor, status: int) -> None:
        """With an error."""
        now = self._around.clock.monotonic()
        cause = self.detector.answered(monitor, status, now)
        if cause is not None:
            self._ejected(monitor, cause, now)

    def failed(self, monitor: Monitor, status: int, connected: bool) -> None:
        """No answer came."""
        now = self._around.clock.monotonic()
        cause = self.detector.failed(monitor, status, now, connected)
        if cause is not None:
            self._ejected(monitor, cause, now)

    def close(self) -> None:
        """The cluster is gone, or detects nothing any more."""
        self.deadline = NEVER

    def expired(self, now: float) -> None:
        """The wheel says that a sweep is due."""
        detector = self.detector
        if self._lines > MAX_LINES:
            log.info("cluster %s: and %d endpoints more", self._name, self._lines - MAX_LINES)
        self._lines = 0
        back = detector.sweep(now)
        for host in back:
            assert isinstance(host, Monitor)
            self._say(f"{host.address} is used again")
        self.deadline = NEVER
        if detector.busy:
            self._watch(now)
        if back:
            self._changed()

    def _ejected(self, monitor: Monitor, cause: str, now: float) -> None:
        detector = self.detector
        self._say(
            f"{monitor.address} is ejected for {detector.ejection_s(monitor):g} s by {cause},"
            f" {detector.active} of {detector.size} are out"
        )
        if self.deadline == NEVER:
            self._watch(now)
        self._changed()

    def _watch(self, now: float) -> None:
        self.deadline = now + self.detector.config.interval_s
        self._around.timers.watch(self, now)

    def _say(self, what: str) -> None:
        self._lines += 1
        if self._lines <= MAX_LINES:
            log.info("cluster %s: %s", self._name, what)
