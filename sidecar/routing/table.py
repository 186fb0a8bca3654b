"""Match a request to a route: Envoy's virtual hosts and route matches, compiled once. Pure."""

from collections.abc import Callable
from typing import Generic, TypeVar

from sidecar.config.route import Route, RouteConfiguration, VirtualHost
from sidecar.http.head import RequestHead

T = TypeVar("T")


class RouteTable(Generic[T]):
    """`build(virtual_host, route)` makes what `match` returns, once per route.

    Raises InvalidRoutes, which names the field, for a table that cannot be: a domain twice, a regular expression that
    is none.
    """

    def __init__(self, config: RouteConfiguration, build: Callable[[VirtualHost, Route], T]) -> None:
        raise NotImplementedError

    def match(self, head: RequestHead) -> T | None:
        """What was built of the first route that matches in the virtual host that matches best; None: no route."""
        raise NotImplementedError
