"""What `/metrics` says beside the discovery service's own: the authority's counters in istiod's names, and what is
stored, read when it is asked for."""

from collections.abc import Callable, Iterable
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from control.api.kinds import KINDS
from control.xds.metrics import Untyped
from control.xds.publisher import Publisher


class AuthorityMetrics:
    """Counts what became of signing requests."""

    def __init__(self, registry: CollectorRegistry, root_expires_at: Callable[[], float]) -> None:
        self._requests = Untyped("citadel_server_csr_count", "Signing requests received", registry=registry)
        self._issued = Untyped("citadel_server_success_cert_issuance_count", "Certificates issued", registry=registry)
        self._unproven = Untyped(
            "citadel_server_authentication_failure_count", "Requests whose sender was not proven", registry=registry
        )
        self._outcomes = Counter(
            "remora_control_certificate_requests_total", "Signing requests, by outcome", ["outcome"], registry=registry
        )
        expiry = Gauge(
            "citadel_server_root_cert_expiry_timestamp",
            "End of the root, seconds since the epoch",
            registry=registry,
        )
        expiry.set_function(root_expires_at)

    def count(self, outcome: str) -> None:
        """`issued`, `refused`, `unauthenticated`, `limited` or `unavailable`."""
        self._requests.inc()
        self._outcomes.labels(outcome).inc()
        if outcome == "issued":
            self._issued.inc()
        elif outcome == "unauthenticated":
            self._unproven.inc()


class WorldCollector(Collector):
    """Numbers of rules, services and workloads."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._version = version("remora")

    def collect(self) -> Iterable[Metric]:
        world = self._publisher.world
        by_kind = dict.fromkeys(KINDS, 0)
        for key in world.resources:
            by_kind[key.kind] = by_kind.get(key.kind, 0) + 1
        rules = GaugeMetricFamily("remora_control_rules", "Stored rules", labels=["kind"])
        for kind, count in by_kind.items():
            rules.add_metric([kind], count)
        yield rules
        yield GaugeMetricFamily("pilot_services", "Services of the mesh", value=len(world.services))
        yield GaugeMetricFamily("pilot_virt_services", "Virtual services", value=by_kind["VirtualService"])
        yield GaugeMetricFamily("remora_control_workloads", "Registered workloads", value=len(world.workloads))
        build = GaugeMetricFamily("istio_build", "1, with what runs and its version", labels=["component", "tag"])
        build.add_metric(["pilot", self._version], 1)
        yield build

    def describe(self) -> Iterable[Metric]:
        return []


def add_common(registry: CollectorRegistry, publisher: Publisher) -> None:
    """The process's own numbers and the World's."""
    ProcessCollector(registry=registry)
    registry.register(WorldCollector(publisher))
