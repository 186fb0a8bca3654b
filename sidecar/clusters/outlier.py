"""Which endpoints of a cluster fail again and again, and for how long they are left out. Pure: told the time.

Follows Envoy's outlier detection by consecutive failures: an endpoint is ejected at the last of so many failures one
behind the other, if not too many are out; every `interval_s` those come back whose time is over. Each further ejection
lasts longer, and each interval in service makes the next one shorter again.
https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/outlier
"""

import random
from typing import Final

from sidecar.config.outlier import OutlierDetection

CONSECUTIVE_5XX: Final = "consecutive_5xx"
CONSECUTIVE_GATEWAY: Final = "consecutive_gateway_failure"
CONSECUTIVE_LOCAL: Final = "consecutive_local_origin_failure"
CAUSES: Final = (CONSECUTIVE_5XX, CONSECUTIVE_GATEWAY, CONSECUTIVE_LOCAL)
"""As Envoy's statistics name them."""

_SLACK_S: Final = 0.001
"""Envoy counts whole milliseconds: a sweep that is this much early by rounding is in time."""


class Host:
    """One endpoint: what it did lately, and whether it is out."""

    __slots__ = ("backoff", "ejected", "ejected_at", "errors", "failing", "gateway_errors", "jitter_s",
                 "local_failures", "returned_at")  # fmt: skip

    def __init__(self) -> None:
        self.failing = False
        """Some count below is not 0."""
        self.errors = 0
        self.gateway_errors = 0
        self.local_failures = 0
        self.ejected = False
        self.ejected_at = 0.0
        self.returned_at: float | None = None
        self.backoff = 0
        """The base time is multiplied by it."""
        self.jitter_s = 0.0

    def recovered(self) -> None:
        """It has answered: what was counted is no row any more."""
        self.failing = False
        self.errors = 0
        self.gateway_errors = 0
        self.local_failures = 0


class OutlierCounts:
    """Since the process began, by cause where it makes a difference."""

    __slots__ = ("_reported", "detected", "enforced", "overflow")

    def __init__(self) -> None:
        self.detected = dict.fromkeys(CAUSES, 0)
        self.enforced = dict.fromkeys(CAUSES, 0)
        self.overflow = 0
        """Not ejected since too many were out."""
        self._reported: dict[str, int] = {}

    def totals(self) -> dict[str, int]:
        """By Envoy's name."""
        found = {f"ejections_detected_{cause}": count for cause, count in self.detected.items()}
        found |= {f"ejections_enforced_{cause}": count for cause, count in self.enforced.items()}
        found["ejections_enforced_total"] = sum(self.enforced.values())
        found["ejections_overflow"] = self.overflow
        return found

    def growth(self) -> dict[str, int]:
        """By how much each metric's counter grew since the last call; those that did."""
        totals = self.totals()
        reported = self._reported
        self._reported = totals
        grown = {name: count - reported.get(name, 0) for name, count in totals.items()}
        return {f"envoy_cluster_outlier_detection_{name}": by for name, by in grown.items() if by}


class Detector:
    """Of one cluster. Methods that return a cause have ejected the host for it."""

    def __init__(self, config: OutlierDetection, rng: random.Random) -> None:
        self.config = config
        """May be replaced; who is out stays out until its time, as it is counted then, is over."""
        self.counts = OutlierCounts()
        self.active = 0
        """Hosts that are out."""
        self._rng = rng
        self._hosts: dict[Host, None] = {}

    @property
    def size(self) -> int:
        return len(self._hosts)

    def add(self, host: Host) -> None:
        """It belongs to the cluster."""
        self._hosts[host] = None

    def remove(self, host: Host) -> None:
        """It is none of the cluster's any more; requests that are still under way there count for nothing."""
        del self._hosts[host]
        if host.ejected:
            self.active -= 1

    def answered(self, host: Host, status: int, now: float) -> str | None:
        """An answer with this status came from `host`, or with one that stands for what came in its place."""
        if status < 500:
            host.recovered()
            return None
        # Who answers has been connected to.
        host.local_failures = 0
        return self._error(host, status, now)

    def failed(self, host: Host, status: int, now: float, connected: bool) -> str | None:
        """No answer came. `status`: the one that stands for it. `connected`: there was a connection."""
        config = self.config
        if not config.split:
            return self._error(host, status, now)
        host.failing = True
        host.local_failures = 1 if connected else host.local_failures + 1
        if host.local_failures != config.consecutive_local:
            return None
        return self._detected(host, CONSECUTIVE_LOCAL, config.enforcing_consecutive_local, now)

    def sweep(self, now: float) -> list[Host]:
        """Due every `interval_s` while `busy`. Those that are back."""
        config = self.config
        back = [
            host for host in self._hosts if host.ejected and now - host.ejected_at >= self.ejection_s(host) - _SLACK_S
        ]
        for host in back:
            self.active -= 1
            host.ejected = False
            host.returned_at = now
            host.recovered()
        for host in self._hosts:
            if host.backoff and not host.ejected and host.returned_at is not None:
                in_service_s = now - host.returned_at
                if in_service_s >= config.interval_s - _SLACK_S:
                    host.backoff -= 1
        return back

    @property
    def busy(self) -> bool:
        """Whether there is anything for a sweep to do, now or later."""
        return self.active > 0 or any(host.backoff for host in self._hosts)

    def ejection_s(self, host: Host) -> float:
        """How long the present ejection of `host` lasts."""
        config = self.config
        return min(config.base_ejection_s * host.backoff, config.max_ejection_s) + host.jitter_s

    def _error(self, host: Host, status: int, now: float) -> str | None:
        config = self.config
        host.failing = True
        cause = None
        if 502 <= status <= 504:
            host.gateway_errors += 1
            if host.gateway_errors == config.consecutive_gateway:
                cause = self._detected(host, CONSECUTIVE_GATEWAY, config.enforcing_consecutive_gateway, now)
        else:
            host.gateway_errors = 0
        host.errors += 1
        if host.errors == config.consecutive_5xx:
            cause = self._detected(host, CONSECUTIVE_5XX, config.enforcing_consecutive_5xx, now) or cause
        return cause

    def _detected(self, host: Host, cause: str, enforcing: int, now: float) -> str | None:
        if host.ejected or host not in self._hosts:
            return None
        self.counts.detected[cause] += 1
        enforced = self._may_eject() and self._rng.random() * 100 < enforcing
        if enforced:
            self._eject(host, now)
            self.counts.enforced[cause] += 1
        # Counted from the beginning, whatever came of it: the next row may find fewer out.
        if cause == CONSECUTIVE_5XX:
            host.errors = 0
        elif cause == CONSECUTIVE_GATEWAY:
            host.gateway_errors = 0
        else:
            host.local_failures = 0
        return cause if enforced else None

    def _may_eject(self) -> bool:
        config = self.config
        if 100 * (self.active + 1) <= config.max_ejection_percent * len(self._hosts):
            return True
        if config.always_one and self.active == 0:
            return True
        self.counts.overflow += 1
        return False

    def _eject(self, host: Host, now: float) -> None:
        config = self.config
        self.active += 1
        host.ejected = True
        host.ejected_at = now
        host.jitter_s = self._rng.random() * config.max_jitter_s
        if host.backoff * config.base_ejection_s < config.max_ejection_s + config.base_ejection_s:
            host.backoff += 1
