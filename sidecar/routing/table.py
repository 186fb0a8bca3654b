"""Match a request to a route: Envoy's virtual hosts and route matches, compiled once. Pure.

The host decides the virtual host; within it the first route whose conditions all hold is taken. A virtual host without
a matching route means no route: others are not tried.
"""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from sidecar.config.route import Forward, Route, RouteConfiguration, VirtualHost
from sidecar.http.head import RequestHead
from sidecar.routing.conditions import Condition, InvalidRoutes, Test, compile_match, path_of
from sidecar.routing.domains import Domains, DuplicateDomain, InvalidDomain

__all__ = ["CompiledHost", "CompiledRoute", "InvalidRoutes", "RouteTable"]

T = TypeVar("T")


class CompiledRoute(Generic[T]):
    """One route, its conditions, and what was built of it."""

    __slots__ = ("conditions", "route", "value")

    def __init__(self, route: Route, conditions: tuple[Condition, ...], value: T) -> None:
        self.route = route
        self.conditions = conditions
        self.value = value


class CompiledHost(Generic[T]):
    """One virtual host: the tests in order, without the words."""

    __slots__ = ("_always", "_connects", "_tests", "config", "routes")

    def __init__(self, config: VirtualHost, routes: Sequence[CompiledRoute[T]]) -> None:
        self.config = config
        self.routes = tuple(routes)
        with_path = [route for route in routes if not route.route.match.connect]
        self._tests: list[tuple[Test | None, T]] = [(_all(route.conditions), route.value) for route in with_path]
        self._connects = [(_all(route.conditions), route.value) for route in routes if route.route.match.connect]
        # The usual virtual host has one route for everything.
        self._always = with_path[0].value if with_path and not with_path[0].conditions else None

    def match(self, head: RequestHead) -> T | None:
        """The first route's that matches; None: none does."""
        if self._always is not None:
            return self._always
        path = path_of(head)
        for test, value in self._tests:
            if test is None or test(head, path):
                return value
        return None

    def match_connect(self, head: RequestHead) -> T | None:
        """The same for a CONNECT."""
        for test, value in self._connects:
            if test is None or test(head, b""):
                return value
        return None


def _all(conditions: tuple[Condition, ...]) -> Test | None:
    if not conditions:
        return None
    test = conditions[-1].test
    for condition in reversed(conditions[:-1]):
        test = _both(condition.test, test)
    return test


def _both(one: Test, other: Test) -> Test:
    return lambda head, path: one(head, path) and other(head, path)


class RouteTable(Generic[T]):
    """`build(virtual_host, route)` makes what `match` returns, once per route.

    Raises InvalidRoutes, which names the field, for a table that cannot be: a domain twice, a regular expression that
    is none. What `build` raises passes through.
    """

    __slots__ = ("_domains", "config", "upgrades")

    def __init__(self, config: RouteConfiguration, build: Callable[[VirtualHost, Route], T]) -> None:
        self.config = config
        self.upgrades = any(
            isinstance(route.action, Forward) and any(allowed for _, allowed in route.action.upgrades)
            for virtual_host in config.virtual_hosts
            for route in virtual_host.routes
        )
        """Some route lets requests leave HTTP, whatever the listener says."""
        self._domains: Domains[CompiledHost[T]] = Domains()
        for position, virtual_host in enumerate(config.virtual_hosts):
            field = f"virtual_hosts[{position}]"
            routes = [
                CompiledRoute(
                    route, tuple(compile_match(route.match, f"{field}.routes[{i}].match")), build(virtual_host, route)
                )
                for i, route in enumerate(virtual_host.routes)
            ]
            compiled = CompiledHost(virtual_host, routes)
            for i, domain in enumerate(virtual_host.domains):
                try:
                    self._domains.add(domain, compiled)
                except (DuplicateDomain, InvalidDomain) as error:
                    raise InvalidRoutes(f"{field}.domains[{i}]", str(error)) from error

    def host(self, authority: bytes) -> CompiledHost[T] | None:
        """The virtual host of a request's authority, port included, in lower case."""
        return self._domains.find(authority)

    def match(self, head: RequestHead) -> T | None:
        """What was built of the first route that matches in the virtual host that matches best; None: no route."""
        host = self._domains.find(head.authority)
        if host is None:
            return None
        return host.match(head) if head.target else host.match_connect(head)
