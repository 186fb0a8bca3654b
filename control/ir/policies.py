"""How connections to a service are made, and what a workload accepts, without dialect."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum


class Balancing(Enum):
    """How one endpoint is chosen."""

    ROUND_ROBIN = "ROUND_ROBIN"
    LEAST_REQUEST = "LEAST_REQUEST"
    RANDOM = "RANDOM"


class TlsMode(Enum):
    """TLS towards a service."""

    DISABLE = "DISABLE"
    SIMPLE = "SIMPLE"
    ISTIO_MUTUAL = "ISTIO_MUTUAL"


@dataclass(frozen=True, slots=True)
class Tls:
    """What a DestinationRule demands; without one, mutual TLS is used where an instance takes it."""

    mode: TlsMode
    sni: str | None = None
    sans: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """The kernel's questions on silent connections; 0 is the system's setting."""

    probes: int = 0
    time_s: int = 0
    interval_s: int = 0


@dataclass(frozen=True, slots=True)
class Pool:
    """Limits and timeouts; None is the default."""

    max_connections: int | None = None
    connect_timeout_s: float | None = None
    max_pending: int | None = None
    max_requests: int | None = None
    max_retries: int | None = None
    max_requests_per_connection: int | None = None
    idle_timeout_s: float | None = None
    keepalive: KeepAlive | None = None


@dataclass(frozen=True, slots=True)
class OutlierDetection:
    """When an instance that fails is left out for a while; None is Envoy's default, of counts 0 never."""

    consecutive_5xx: int | None = None
    consecutive_gateway: int | None = None
    split: bool = False
    """What fails on the client's side of the connection is counted by itself."""
    consecutive_local: int | None = None
    interval_s: float | None = None
    base_ejection_s: float | None = None
    max_ejection_percent: int | None = None
    min_health_percent: int = 0
    """With fewer healthy instances all are used; 0: never."""


@dataclass(frozen=True, slots=True)
class Nearness:
    """Whether clients use the nearest instances alone for as long as there are any."""

    preferred: bool = True
    regions: tuple[tuple[str, str], ...] = ()
    """(region, the one whose instances come next when it has none); others come after that."""


@dataclass(frozen=True, slots=True)
class TrafficPolicy:
    """None: not said here."""

    balancing: Balancing | None = None
    pool: Pool | None = None
    tls: Tls | None = None
    nearness: Nearness | None = None
    outlier: OutlierDetection | None = None

    def over(self, around: "TrafficPolicy") -> "TrafficPolicy":
        """This policy, with what it does not say taken from the one around it."""
        return TrafficPolicy(
            self.balancing if self.balancing is not None else around.balancing,
            self.pool if self.pool is not None else around.pool,
            self.tls if self.tls is not None else around.tls,
            self.nearness if self.nearness is not None else around.nearness,
            self.outlier if self.outlier is not None else around.outlier,
        )


@dataclass(frozen=True, slots=True)
class Subset:
    """A version of a service."""

    labels: Mapping[str, str]
    policy: TrafficPolicy = TrafficPolicy()
    ports: Mapping[int, TrafficPolicy] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DestinationPolicy:
    """What is said of one host."""

    policy: TrafficPolicy = TrafficPolicy()
    ports: Mapping[int, TrafficPolicy] = field(default_factory=dict)
    subsets: Mapping[str, Subset] = field(default_factory=dict)

    def uses(self, mode: TlsMode) -> bool:
        """Whether any port of any subset is reached with this kind of TLS."""
        return any(policy.tls is not None and policy.tls.mode is mode for policy in self._policies())

    def prefers_near(self) -> bool:
        """Whether the nearest instances may be preferred at any port of any subset."""
        said = ((each.outlier, each.nearness) for each in self._policies())
        return any(outlier is not None or (near is not None and near.preferred) for outlier, near in said)

    def _policies(self) -> list[TrafficPolicy]:
        subsets = self.subsets.values()
        policies = [self.policy, *self.ports.values(), *(s.policy for s in subsets)]
        return policies + [policy for subset in subsets for policy in subset.ports.values()]

    def for_port(self, port: int, subset: str = "") -> TrafficPolicy:
        """The policy of a port, or of a subset's port. A port's own is taken whole (Istio `portLevelSettings`)."""
        chosen = self.subsets.get(subset) if subset else None
        if chosen is None:
            return self.ports.get(port, self.policy)
        if port in chosen.ports:
            return chosen.ports[port]
        return chosen.policy.over(self.ports.get(port, self.policy))


class MtlsMode(Enum):
    """What a workload's port accepts."""

    DISABLE = "DISABLE"
    PERMISSIVE = "PERMISSIVE"
    STRICT = "STRICT"


@dataclass(frozen=True, slots=True)
class PeerPolicy:
    """One PeerAuthentication. `mode` None inherits."""

    namespace: str
    selector: Mapping[str, str] = field(default_factory=dict)
    mode: MtlsMode | None = None
    ports: Mapping[int, MtlsMode | None] = field(default_factory=dict)
    """By the service's port, which outside a cluster is the one that people know."""


@dataclass(frozen=True, slots=True)
class PeerPolicies:
    """All of them, oldest first: of several with the same reach the oldest counts (Istio PeerAuthentication)."""

    policies: tuple[PeerPolicy, ...] = ()
    root_namespaces: tuple[str, ...] = ()

    def of_port(self, namespace: str, labels: Mapping[str, str], port: int | None = None) -> MtlsMode:
        """What a workload's port is meant to accept: the narrowest policy that says something wins, else PERMISSIVE."""
        selected = [p for p in self.policies if p.selector and p.namespace == namespace]
        selected = [p for p in selected if p.selector.items() <= labels.items()]
        general = [p for p in self.policies if not p.selector]
        whole = [p for p in general if p.namespace == namespace and namespace not in self.root_namespaces]
        mesh = [p for root in self.root_namespaces for p in general if p.namespace == root]
        own = selected[0].ports.get(port) if selected and port is not None else None
        if own is not None:
            return own
        for candidates in (selected, whole, mesh):
            if candidates and candidates[0].mode is not None:
                return candidates[0].mode
        return MtlsMode.PERMISSIVE

    def of_workload(self, namespace: str, labels: Mapping[str, str], ports: Iterable[int]) -> MtlsMode:
        """What its one inbound address accepts: where its ports' modes differ, the strictest for all of them."""
        modes = {self.of_port(namespace, labels, port) for port in ports} or {self.of_port(namespace, labels)}
        return next(mode for mode in (MtlsMode.STRICT, MtlsMode.PERMISSIVE, MtlsMode.DISABLE) if mode in modes)
