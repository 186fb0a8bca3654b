"""What happened at one cluster, and what its circuit breakers allow. Plain integers; names are Envoy's."""

from sidecar.config.cluster import Thresholds

_GROWING = {
    name: f"envoy_cluster_upstream_{name}"
    for name in ("cx_total", "cx_connect_fail", "rq_total", "rq_retry", "rq_timeout", "rq_overflow")
} | {"keepalive_timeout": "envoy_cluster_http2_keepalive_timeout"}


class ClusterCounts:
    """Counters since the process began, and how much is active now."""

    __slots__ = (
        "_reported",
        "cx_active",
        "cx_connect_fail",
        "cx_total",
        "keepalive_timeout",
        "rq_active",
        "rq_overflow",
        "rq_pending",
        "rq_retry",
        "rq_retry_active",
        "rq_timeout",
        "rq_total",
    )

    def __init__(self) -> None:
        self.cx_total = 0
        self.cx_active = 0
        self.cx_connect_fail = 0
        self.rq_total = 0
        self.rq_active = 0
        self.rq_pending = 0
        self.rq_retry = 0
        self.rq_retry_active = 0
        self.rq_timeout = 0
        self.rq_overflow = 0
        self.keepalive_timeout = 0
        self._reported = dict.fromkeys(_GROWING, 0)

    def growth(self) -> dict[str, int]:
        """By how much each metric's counter grew since the last call; those that did."""
        grown: dict[str, int] = {}
        reported = self._reported
        for name, metric in _GROWING.items():
            value = getattr(self, name)
            if value != reported[name]:
                grown[metric] = value - reported[name]
                reported[name] = value
        return grown

    def may_request(self, thresholds: Thresholds) -> bool:
        """Another request may be sent or wait."""
        return self.rq_active < thresholds.max_requests

    def may_wait(self, thresholds: Thresholds) -> bool:
        """Another request may wait for a connection."""
        return self.rq_pending < thresholds.max_pending

    def may_retry(self, thresholds: Thresholds) -> bool:
        """Another retry may be under way."""
        return self.rq_retry_active < thresholds.max_retries
