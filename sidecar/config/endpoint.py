"""Where a request can go. EDS `ClusterLoadAssignment`, reduced to what the sidecar uses."""

from dataclasses import dataclass, field

from mesh.records import Workload


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """An IP address (or, in a DNS cluster, a host name) and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One instance of an upstream."""

    address: Address
    weight: int = 1
    healthy: bool = True
    """False when the control plane reports it unhealthy or draining: picked only in panic."""
    tls: bool = False
    """The instance has a sidecar: a cluster whose `tls.only_where_offered` is set uses TLS for it alone."""
    workload: Workload = field(default_factory=Workload)
    """For the metrics' destination labels."""
    priority: int = 0
    """0 is the first; those of the next get what the healthy ones of the first cannot carry."""
