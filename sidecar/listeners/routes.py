"""Routes of a snapshot bound to what serves them: clusters, filters, header edits, telemetry. Built once per table."""

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sidecar.clusters.cluster import LiveCluster
from sidecar.clusters.original import OriginalCluster
from sidecar.clusters.table import PreparedClusters
from sidecar.config.route import (
    DirectResponse,
    Forward,
    HeaderEdits,
    MatchKind,
    Redirect,
    Route,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from sidecar.filters.chain import Chain, Filter, LocalReply
from sidecar.filters.edits import Edits, UnsupportedEdit, compile_edits
from sidecar.filters.fault import FaultFilter
from sidecar.filters.python_filter import filters_of
from sidecar.filters.python_live import LiveFilter
from sidecar.filters.retries import Retries
from sidecar.http.head import RequestHead
from sidecar.routing.table import InvalidRoutes, RouteTable
from sidecar.routing.weights import WeightedPicker
from sidecar.telemetry.bindings import Target
from sidecar.telemetry.recorder import Telemetry


class UnusableRoute(ValueError):
    """A route that can not be bound. `path` is the field within its RouteConfiguration."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class Choice:
    """One of the clusters of a forwarding route, with what depends on that choice."""

    __slots__ = ("cluster", "edits", "original", "target")

    def __init__(self, cluster: LiveCluster | None, edits: Edits, target: Target) -> None:
        original = cluster if isinstance(cluster, OriginalCluster) else None
        self.cluster = cluster if original is None else None
        """None: the configuration has no such cluster, which is answered NC, or ..."""
        self.original = original
        """... it goes where the client's connection was going."""
        self.edits = edits
        self.target = target


class BoundRoute:
    """What the table's match returns. Exactly one of `forward`, `redirect` and `direct` is set."""

    __slots__ = ("chain", "direct", "edits", "forward", "name", "redirect", "target")

    def __init__(self, name: str, chain: Chain, edits: Edits, target: Target) -> None:
        self.name = name
        self.chain = chain
        self.edits = edits
        """Of a redirect or direct response; a forwarding route's are with its choices."""
        self.target = target
        self.forward: BoundForward | None = None
        self.redirect: Callable[[RequestHead], LocalReply] | None = None
        self.direct: LocalReply | None = None


class BoundForward:
    """Where to and how."""

    __slots__ = (
        "choices",
        "end_connect",
        "host",
        "idle_timeout_s",
        "mirrors",
        "retries",
        "rewrite",
        "timeout_s",
        "upgrades",
    )

    def __init__(self, config: Forward, choices: WeightedPicker[Choice], rewrite: "Rewrite | None") -> None:
        self.choices = choices
        self.timeout_s = config.timeout_s
        self.idle_timeout_s = config.idle_timeout_s
        self.host = config.host_rewrite.encode() if config.host_rewrite is not None else None
        self.rewrite = rewrite
        self.retries: Retries | None = None
        self.upgrades = {name.encode(): allowed for name, allowed in config.upgrades}
        self.end_connect = config.end_connect
        self.mirrors: tuple[tuple[LiveCluster, float], ...] = ()


Rewrite = Callable[[bytes], bytes]
"""A request target (path and query) -> the target sent upstream."""


@dataclass(frozen=True, slots=True)
class Binder:
    """Binds tables. `fault_filter`: the listener has Envoy's fault filter, without which faults do nothing."""

    clusters: PreparedClusters
    telemetry: Telemetry
    rng: random.Random
    call_later: Callable[[float, Callable[[], None]], object]
    fault_filter: bool = True
    addons: Callable[[], Sequence[Filter]] = tuple
    """Makes a route's filters for the addon scripts of the listener."""
    python: tuple[LiveFilter, ...] = ()
    """Filters that users wrote, of the listener."""

    def bind(self, config: RouteConfiguration) -> RouteTable[BoundRoute]:
        """Raises UnusableRoute, or what RouteTable raises for matches that can not be."""
        places = {
            id(route): f"virtual_hosts[{host.name}].routes[{at}]"
            for host in config.virtual_hosts
            for at, route in enumerate(host.routes)
        }

        def build(host: VirtualHost, route: Route) -> BoundRoute:
            try:
                return self._bind_route(config, host, route)
            except UnsupportedEdit as error:
                raise UnusableRoute(f"{places.get(id(route), '')}.{error.path}", error.reason) from error
            except (ValueError, re.error) as other:
                raise UnusableRoute(places.get(id(route), ""), str(other)) from other

        try:
            return RouteTable(config, build)
        except InvalidRoutes as error:
            raise UnusableRoute(error.path, error.reason) from error

    def _bind_route(self, config: RouteConfiguration, host: VirtualHost, route: Route) -> BoundRoute:
        levels = (route.headers, host.headers, config.headers)
        filters = self._python(route, after_fault=False)
        if route.fault is not None and self.fault_filter:
            filters.append(FaultFilter(route.fault, self.rng))
        filters += self._python(route, after_fault=True)
        filters += self.addons()
        bound = BoundRoute(route.name, Chain(filters), compile_edits(*levels), self.telemetry.target(route.name, None))
        action = route.action
        if isinstance(action, Forward):
            bound.forward = self._bind_forward(action, route, levels)
            bound.target = self._target(action, route.name) or bound.target
        elif isinstance(action, Redirect):
            bound.redirect = redirection(action, route.match)
        else:
            bound.direct = _direct(action)
        return bound

    def _target(self, action: Forward, name: str) -> Target | None:
        """Of a request that a filter answers before a cluster is chosen (an injected fault): it was for the service
        all the same, and counts as its, as Envoy's does. None: the route leads to several services, or to none."""
        found = [self.clusters.get(weighted.cluster) for weighted in action.clusters]
        configs = [each.config for each in found if each is not None]
        if not configs or len(configs) < len(found) or len({config.service for config in configs}) > 1:
            return None
        return self.telemetry.target(name, configs[0], chosen=len(configs) == 1)

    def _python(self, route: Route, *, after_fault: bool) -> list[Filter]:
        if not self.python:
            return []
        action = route.action
        rewritten = isinstance(action, Forward) and (
            action.prefix_rewrite is not None or action.regex_rewrite is not None
        )
        found: list[Filter] = []
        for live in self.python:
            if live.config.after_fault is after_fault:
                found += filters_of(live, route.name, rewritten=rewritten)
        return found

    def _bind_forward(self, action: Forward, route: Route, levels: tuple[HeaderEdits | None, ...]) -> BoundForward:
        choices: list[tuple[Choice, int]] = []
        for weighted in action.clusters:
            found = self.clusters.get(weighted.cluster)
            choice = Choice(
                found.live if found is not None else None,
                compile_edits(weighted.headers, *levels),
                self.telemetry.target(route.name, found.config if found is not None else None),
            )
            choices.append((choice, weighted.weight))
        forward = BoundForward(action, WeightedPicker(choices), _rewrite(action, route.match))
        if action.retry is not None and action.retry.attempts > 0:
            forward.retries = Retries.of(action.retry, self.rng, self.call_later)
        forward.mirrors = tuple(
            (found.live, percent / 100.0)
            for name, percent in action.mirror
            if (found := self.clusters.get(name)) is not None and percent > 0
        )
        if any(isinstance(cluster, OriginalCluster) for cluster, _ in forward.mirrors):
            raise ValueError("request_mirror_policies: a copy cannot go to where the client's connection was going")
        return forward


def cluster_names(config: RouteConfiguration) -> Iterator[str]:
    """Every cluster that the table may choose."""
    for host in config.virtual_hosts:
        for route in host.routes:
            if isinstance(route.action, Forward):
                yield from (weighted.cluster for weighted in route.action.clusters)
                yield from (name for name, _ in route.action.mirror)


def _direct(action: DirectResponse) -> LocalReply:
    if not 200 <= action.status <= 599:
        raise ValueError(f"direct_response.status: {action.status} is no status of an answer")
    return LocalReply(action.status, action.body, details="direct_response")


def _split(target: bytes) -> tuple[bytes, bytes]:
    path, mark, query = target.partition(b"?")
    return path, mark + query


def _rewrite(action: Forward, match: RouteMatch) -> Rewrite | None:
    if action.prefix_rewrite is not None:
        return _prefix_rewrite(action.prefix_rewrite.encode(), match)
    if action.regex_rewrite is not None:
        pattern = re.compile(action.regex_rewrite[0].encode())
        substitution = action.regex_rewrite[1].encode()

        def by_regex(target: bytes) -> bytes:
            path, query = _split(target)
            return pattern.sub(substitution, path) + query

        by_regex(b"/")  # a reference to a group that is not there fails now
        return by_regex
    return None


def _prefix_rewrite(new: bytes, match: RouteMatch) -> Rewrite:
    """Envoy `prefix_rewrite`: replaces the matched prefix, or the whole of an exactly matched path."""
    if match.path.kind is MatchKind.PREFIX:
        length = len(match.path.value.encode())

        def by_prefix(target: bytes) -> bytes:
            rewritten = new + target[length:]
            return rewritten if rewritten[:1] == b"/" else b"/" + rewritten

        return by_prefix
    if match.path.kind is MatchKind.EXACT:
        return lambda target: new + _split(target)[1]
    raise ValueError("route.prefix_rewrite: needs a prefix or an exact path to replace")


def redirection(action: Redirect, match: RouteMatch) -> Callable[[RequestHead], LocalReply]:
    """Envoy's redirect: what is not named stays as in the request; default ports are left out when the scheme
    changes."""
    if action.status not in (301, 302, 303, 307, 308):
        raise ValueError(f"redirect.status: {action.status} is no redirection")
    rewrite = _prefix_rewrite(action.prefix_rewrite.encode(), match) if action.prefix_rewrite is not None else None
    path = action.path.encode() if action.path is not None else None

    def redirect(head: RequestHead) -> LocalReply:
        scheme = action.scheme.encode() if action.scheme else head.scheme
        name, _, port = _host_and_port(head.authority)
        if action.scheme and port in (b"80", b"443"):
            port = b""
        if action.host:
            name, _, named = _host_and_port(action.host.encode())
            port = named or (port if not action.scheme else b"")
        if action.port is not None:
            port = b"" if (scheme, action.port) in ((b"http", 80), (b"https", 443)) else b"%d" % action.port
        target = head.target
        if path is not None:
            target = path if b"?" in path else path + _split(target)[1]
        elif rewrite is not None:
            target = rewrite(target)
        location = scheme + b"://" + name + (b":" + port if port else b"") + target
        return LocalReply(action.status, details="direct_response", headers=((b"location", location),))

    return redirect


def _host_and_port(authority: bytes) -> tuple[bytes, bytes, bytes]:
    name, colon, port = authority.rpartition(b":")
    if not colon or not port.isdigit():
        return authority, b"", b""
    return name, colon, port
