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
from control.api.kinds.tcp_route import TcpMatch, TcpRoute, TlsMatch, TlsRoute
from control.api.model import Model, Unsupported, wrong
from control.api.scalars import Duration, HostPattern, Percent, PercentOrNumber, Str

MAX_ENTRIES = 4096
"""Of a rule's routing tables in all: a route has as many as it has conditions, in the table of each host of each
gateway."""
MAX_TABLE_BYTES = 4 * 1024 * 1024
"""Of what stands in the tables of all hosts, as JSON: each has all of the rule's routes."""
MAX_TESTS = 8192
"""Fields of all conditions of a rule, and keys of headers, parameters and labels in them."""


class HttpRoute(Model):
    """One rule: conditions, any of which suffices, and an action."""

    name: Str | None = None
    """For access logs, metrics and filters."""
    match: tuple[HttpMatch, ...] = Field(default=(), max_length=64)
    """Conditions; with none every request is meant."""
    route: tuple[RouteDestination, ...] = Field(default=(), max_length=32)
    """Where requests go, by weight."""
    redirect: Redirect | None = None
    """Answer with a redirect."""
    direct_response: DirectResponse | None = None
    """Answer at once."""
    rewrite: Rewrite | None = None
    """Change path or host on the way."""
    timeout: Duration | None = None
    """For the whole request, retries included; 0s: none."""
    retries: Retry | None = None
    """When to try again, and how often."""
    fault: Fault | None = None
    """Delays and errors put in on purpose."""
    mirror: Destination | None = None
    """Where a copy of each request goes, too."""
    mirror_percentage: PercentOrNumber | None = None
    """Share of the requests that is mirrored; usually all."""
    mirrors: tuple[Mirror, ...] = Field(default=(), max_length=16)
    """Several copies, each with its share."""
    headers: Headers | None = None
    """Headers set, added and removed, for all destinations."""
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

    hosts: tuple[HostPattern, ...] = Field(min_length=1, max_length=256)
    """What requests and connections name: services, or hosts of a gateway."""
    gateways: tuple[Str, ...] = Field(default=("mesh",), max_length=64)
    """Gateways that the routes are for, and `mesh` for sidecars; usually sidecars alone."""
    http: tuple[HttpRoute, ...] = Field(default=(), max_length=256)
    """Routes of requests; the first that matches counts."""
    tls: tuple[TlsRoute, ...] = Field(default=(), max_length=256)
    """Routes of TLS connections that are passed through, by server name."""
    tcp: tuple[TcpRoute, ...] = Field(default=(), max_length=256)
    """Routes of other connections."""
    export_to: ExportTo = ("*",)
    """Who sees it: everyone, as yet."""

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
        return self

    @model_validator(mode="after")
    def _of_bearable_size(self) -> "VirtualServiceSpec":
        """A plan takes time in proportion, for every workload that sees the rule."""
        matched: list[tuple[HttpMatch, ...] | tuple[TcpMatch, ...] | tuple[TlsMatch, ...]] = [
            *(route.match for route in self.http),
            *(route.match for route in self.tcp),
        ]
        routes = sum(max(1, len(match)) for match in matched)
        names = sum(len(match.sni_hosts) for route in self.tls for match in route.match)
        entries = routes * len(self.hosts) * len(self.gateways) + names
        if entries > MAX_ENTRIES:
            raise wrong(
                f"comes to {entries:,} entries of routing tables ({len(self.hosts)} hosts of {len(self.gateways)} "
                f"gateways with {routes:,} conditions in http and tcp, {names:,} sniHosts); at most {MAX_ENTRIES:,} "
                "are allowed: split it by host"
            )
        if len(self.hosts) > 1:
            size = len(self.model_dump_json(include={"http", "tcp"}, exclude_unset=True)) * len(self.hosts)
            if size > MAX_TABLE_BYTES:
                raise wrong(
                    f"comes to {size:,} bytes of routing tables, since each of {len(self.hosts)} hosts has all routes; "
                    f"at most {MAX_TABLE_BYTES:,} are allowed: split it by host"
                )
        matched += (route.match for route in self.tls)
        tests = sum(_tests(each) for match in matched for each in match)
        if tests > MAX_TESTS:
            raise wrong(f"has {tests:,} tests in its conditions; at most {MAX_TESTS:,} are allowed: split it by host")
        return self

    @model_validator(mode="after")
    def _names_within_hosts(self) -> "VirtualServiceSpec":
        exact, wild = set(self.hosts), [host for host in self.hosts if host.startswith("*")]
        for index, route in enumerate(self.tls):
            for match in route.match:
                for name in match.sni_hosts:
                    if name not in exact and not any(matches(host, name) for host in wild):
                        raise wrong(f"tls[{index}] has the sniHost {name!r}, which is not within spec.hosts")
        return self


def _tests(match: HttpMatch | TcpMatch | TlsMatch) -> int:
    given = (getattr(match, name) for name in match.model_fields_set)
    return sum(len(value) if isinstance(value, dict | tuple) else 1 for value in given)
