"""The discovery service's own metrics: istiod's names where operators look for them, `remora_control_*` for the rest.

istiod's counters have no `_total`; they are exposed untyped, since the library would add it to a counter's name.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from control.xds.messages import SHORT

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Untyped(Gauge):
    """A number under a name that says nothing of its type."""

    _type = "unknown"


class DiscoveryMetrics:
    """Counted by the streams and the publisher."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.connected = Gauge("pilot_xds", "Proxies connected by ADS", registry=registry)
        pushes = Untyped("pilot_xds_pushes", "Responses sent, by type", ["type"], registry=registry)
        self.pushes = {url: pushes.labels(short.lower()) for url, short in SHORT.items()}
        self.rejects = Untyped("pilot_total_xds_rejects", "Responses that a proxy refused", registry=registry)
        self.rejects_by_type = {
            url: Untyped(
                f"pilot_xds_{short.lower()}_reject", f"{short} responses that a proxy refused", registry=registry
            )
            for url, short in SHORT.items()
        }
        self.convergence = Histogram(
            "pilot_proxy_convergence_time",
            "Seconds from a change to a proxy's having acknowledged all of it",
            buckets=_SECONDS,
            registry=registry,
        )
        self.push_time = Histogram(
            "pilot_xds_push_time",
            "Seconds to generate every proxy's configuration",
            buckets=_SECONDS,
            registry=registry,
        )
        self.queue_time = Histogram(
            "pilot_proxy_queue_time", "Seconds that changes waited for others", buckets=_SECONDS, registry=registry
        )
        self.triggers = Untyped("pilot_push_triggers", "Changes, by cause", ["type"], registry=registry)
        self.refused_streams = Counter(
            "remora_control_streams_refused_total", "ADS streams turned away, by reason", ["reason"], registry=registry
        )
        self.problems = Gauge(
            "remora_control_snapshot_problems", "Mistakes in the present snapshots; anything but 0 is a bug",
            registry=registry,
        )  # fmt: skip
