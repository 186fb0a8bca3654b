"""Say which route a request takes and why each one before it did not match: the router's own conditions, in words."""

from dataclasses import dataclass
from typing import Any

from sidecar.config.route import Route, RouteConfiguration, VirtualHost
from sidecar.http.head import RequestHead
from sidecar.routing.conditions import path_of
from sidecar.routing.table import RouteTable


@dataclass(frozen=True, slots=True)
class Finding:
    """One condition and whether the request meets it."""

    condition: str
    holds: bool


@dataclass(frozen=True, slots=True)
class Step:
    """One route that was looked at. Taken if all findings hold."""

    route: Route
    findings: tuple[Finding, ...]

    @property
    def taken(self) -> bool:
        return all(finding.holds for finding in self.findings)


@dataclass(frozen=True, slots=True)
class Explanation:
    """The way through the table. The last step is the one taken, if any is."""

    virtual_host: VirtualHost | None
    """None: no virtual host has this host among its domains."""
    steps: tuple[Step, ...]

    @property
    def route(self) -> Route | None:
        return self.steps[-1].route if self.steps and self.steps[-1].taken else None


def explain(config: RouteConfiguration, head: RequestHead) -> Explanation:
    """Raises InvalidRoutes as RouteTable does."""
    table: RouteTable[Any] = RouteTable(config, lambda virtual_host, route: route)
    host = table.host(head.authority)
    if host is None:
        return Explanation(None, ())
    path = path_of(head)
    steps: list[Step] = []
    for compiled in host.routes:
        findings = tuple(Finding(each.words, each.test(head, path)) for each in compiled.conditions)
        connects = compiled.route.match.connect
        if connects or not head.target:
            # The router keeps these routes apart: it is no condition to it.
            words = "method is CONNECT" if connects else "method is not CONNECT"
            findings = (Finding(words, connects is not bool(head.target)), *findings)
        steps.append(Step(compiled.route, findings))
        if steps[-1].taken:
            break
    return Explanation(host.config, tuple(steps))
