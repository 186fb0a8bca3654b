"""`networking.istio.io` VirtualService: which request to a host goes where."""

from pydantic import Field, field_validator, model_validator

from control.api.hosts import matches
from control.api.kinds.export import ExportTo
from control.api.kinds.headers import Headers
from control.api.kinds.http_action import (
    Destination,
    DirectResponse,
    Fault,
    Mirror,
    Redirect,
    Retry,
    Rewrite,
    RouteDestination,
)
from control.api.kinds.http_match import HttpMatch
from control.api.kinds.tcp_route import TcpRoute, TlsRoute
from control.api.model import Model, Unsupported, wrong
from control.api.scalars import Duration, HostPattern, Percent, PercentOrNumber, Str


class HttpRoute(Model):
    """One rule: conditions, any of which suffices, and an action."""

    name: Str | None = None
    match: tuple[HttpMatch, ...] = ()
    route: tuple[RouteDestination, ...] = ()
    redirect: Redirect | None = None
    direct_response: DirectResponse | None = None
    rewrite: Rewrite | None = None
    timeout: Duration | None = None
    retries: Retry | None = None
    fault: Fault | None = None
    mirror: Destination | None = None
    mirror_percentage: PercentOrNumber | None = None
    mirrors: tuple[Mirror, ...] = ()
    headers: Headers | None = None
    delegate: Unsupported = None
    cors_policy: Unsupported = None
    mirror_percent: Unsupported = None

    @field_validator("route")
    @classmethod
    def _whole(cls, route: tuple[RouteDestination, ...]) -> tuple[RouteDestination, ...]:
        total = sum(destination.weight for destination in route)
        if len(route) > 1 and total != 100:
            weights = " + ".join(str(destination.weight) for destination in route)
            raise wrong(f"the weights add up to {total} ({weights}); they must add up to 100")
        return route

    @model_validator(mode="after")
    def _one_action(self) -> "HttpRoute":
        actions = {"route": self.route, "redirect": self.redirect, "directResponse": self.direct_response}
        given = [name for name, value in actions.items() if value]
        if len(given) != 1:
            raise wrong(f"has {' and '.join(given) or 'none'} of route, redirect and directResponse; write exactly one")
        if given != ["route"]:
            needs_route = {
                "rewrite": self.rewrite, "timeout": self.timeout, "retries": self.retries, "mirror": self.mirror,
                "mirrors": self.mirrors,
            }  # fmt: skip
            for name, value in needs_route.items():
                if value:
                    raise wrong(f"has {name} beside {given[0]}; {name} needs a route")
        if self.mirror and self.mirrors:
            raise wrong("has both mirror and mirrors; write mirrors alone")
        if self.mirror_percentage is not None and self.mirror is None:
            raise wrong("has mirrorPercentage without mirror; write mirror, or a percentage in mirrors")
        return self

    @property
    def all_mirrors(self) -> tuple[Mirror, ...]:
        """Both spellings as one."""
        if self.mirror is None:
            return self.mirrors
        return (Mirror(destination=self.mirror, percentage=self.mirror_percentage or Percent(value=100.0)),)


class VirtualServiceSpec(Model):
    """`spec`."""

    hosts: tuple[HostPattern, ...] = Field(min_length=1)
    gateways: tuple[Str, ...] = ("mesh",)
    http: tuple[HttpRoute, ...] = ()
    tls: tuple[TlsRoute, ...] = ()
    tcp: tuple[TcpRoute, ...] = ()
    export_to: ExportTo = ("*",)

    @field_validator("hosts")
    @classmethod
    def _distinct(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if hosts.count(host) > 1:
                raise wrong(f"has {host!r} twice; name each host once")
        return hosts

    @field_validator("gateways")
    @classmethod
    def _some_gateway(cls, gateways: tuple[str, ...]) -> tuple[str, ...]:
        return gateways or ("mesh",)

    @model_validator(mode="after")
    def _no_star_in_mesh(self) -> "VirtualServiceSpec":
        if "*" in self.hosts and "mesh" in self.gateways:
            raise wrong("has the host '*' for the mesh itself; name the hosts, or name a gateway in gateways")
        return self

    @model_validator(mode="after")
    def _some_route(self) -> "VirtualServiceSpec":
        if not (self.http or self.tls or self.tcp):
            raise wrong("has none of http, tls and tcp; write at least one route")
        for index, route in enumerate(self.tls):
            for match in route.match:
                for name in match.sni_hosts:
                    if not any(matches(host, name) for host in self.hosts):
                        raise wrong(f"tls[{index}] has the sniHost {name!r}, which is not within spec.hosts")
        return self
