"""How many connections the application has opened through us: a number that grows as long as it is at work."""

from collections.abc import Iterable, Iterator

from sidecar.agent.exposition import Labels
from sidecar.config.listener import Direction, Listener

CONNECTIONS = "envoy_listener_downstream_cx_total"


def outbound_connections(totals: Iterable[tuple[str, Labels, float]], listeners: Iterable[Listener]) -> float:
    """Of the listeners that are not for others. As old as the workers' latest report, a second at most."""
    others = set(_inbound(listeners))
    return sum(
        value
        for name, labels, value in totals
        if name == CONNECTIONS and dict(labels).get("envoy_listener_address") not in others
    )


def _inbound(listeners: Iterable[Listener]) -> Iterator[str]:
    for listener in listeners:
        if listener.direction is Direction.INBOUND:
            yield f"{listener.address.host}_{listener.address.port}"
