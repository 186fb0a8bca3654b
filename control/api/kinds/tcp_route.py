"""VirtualService routes of connections: `tcp`, and `tls` by server name (Istio `TCPRoute`, `TLSRoute`)."""

from pydantic import Field, field_validator

from control.api.kinds.http_action import Destination
from control.api.model import Model, Unsupported, wrong
from control.api.scalars import HostPattern, Labels, PortNumber, Str, Weight


class ConnectionDestination(Model):
    """A share of a route's connections."""

    destination: Destination
    weight: Weight = 0


class TcpMatch(Model):
    """Istio `L4MatchAttributes`."""

    port: PortNumber | None = None
    gateways: tuple[Str, ...] = ()
    source_labels: Labels = Field(default_factory=dict)
    source_namespace: Str | None = None
    destination_subnets: Unsupported = None
    source_subnet: Unsupported = None


class TlsMatch(Model):
    """Istio `TLSMatchAttributes`."""

    sni_hosts: tuple[HostPattern, ...] = Field(min_length=1)
    port: PortNumber | None = None
    gateways: tuple[Str, ...] = ()
    source_labels: Labels = Field(default_factory=dict)
    source_namespace: Str | None = None
    destination_subnets: Unsupported = None


class _Route(Model):
    route: tuple[ConnectionDestination, ...] = Field(min_length=1)

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

    match: tuple[TcpMatch, ...] = ()


class TlsRoute(_Route):
    """The same for TLS that is passed through. Istio demands a condition."""

    match: tuple[TlsMatch, ...] = Field(min_length=1)
