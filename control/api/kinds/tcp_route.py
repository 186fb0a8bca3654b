"""VirtualService routes of connections: `tcp`, and `tls` by server name (Istio `TCPRoute`, `TLSRoute`)."""

from pydantic import Field, field_validator

from control.api.kinds.http_action import Destination
from control.api.model import Model, Unsupported, wrong
from control.api.scalars import HostPattern, Labels, PortNumber, Str, Weight


class ConnectionDestination(Model):
    """A share of a route's connections."""

    destination: Destination
    """Where connections go."""
    weight: Weight = 0
    """Share in percent; all together 100. One alone needs none."""


class TcpMatch(Model):
    """Istio `L4MatchAttributes`."""

    port: PortNumber | None = None
    """Of the service, or the gateway."""
    gateways: tuple[Str, ...] = Field(default=(), max_length=64)
    """In place of those of the whole rule."""
    source_labels: Labels = Field(max_length=64, default_factory=dict)
    """Labels of the calling workload."""
    source_namespace: Str | None = None
    """Namespace of the calling workload."""
    destination_subnets: Unsupported = None
    source_subnet: Unsupported = None


class TlsMatch(Model):
    """Istio `TLSMatchAttributes`."""

    sni_hosts: tuple[HostPattern, ...] = Field(min_length=1, max_length=256)
    """Server names, within the rule's hosts."""
    port: PortNumber | None = None
    """Of the service, or the gateway."""
    gateways: tuple[Str, ...] = Field(default=(), max_length=64)
    """In place of those of the whole rule."""
    source_labels: Labels = Field(max_length=64, default_factory=dict)
    """Labels of the calling workload."""
    source_namespace: Str | None = None
    """Namespace of the calling workload."""
    destination_subnets: Unsupported = None


class _Route(Model):
    route: tuple[ConnectionDestination, ...] = Field(min_length=1, max_length=64)
    """Where connections go, by weight."""

    @field_validator("route")
    @classmethod
    def _whole(cls, route: tuple[ConnectionDestination, ...]) -> tuple[ConnectionDestination, ...]:
        total = sum(destination.weight for destination in route)
        if len(route) > 1 and total != 100:
            weights = " + ".join(str(destination.weight) for destination in route)
            raise wrong(f"the weights add up to {total} ({weights}); they must add up to 100")
        return route


class TcpRoute(_Route):
    """One rule: conditions, any of which suffices, and where the connection goes."""

    match: tuple[TcpMatch, ...] = Field(default=(), max_length=64)
    """Conditions; with none every connection is meant."""


class TlsRoute(_Route):
    """The same for TLS that is passed through. Istio demands a condition."""

    match: tuple[TlsMatch, ...] = Field(min_length=1, max_length=64)
    """Conditions, at least one."""
