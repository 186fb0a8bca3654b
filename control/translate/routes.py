"""VirtualServices to routes of hosts."""

from collections.abc import Container, Iterator

from control.api.hosts import full_name
from control.api.kinds.tcp_route import ConnectionDestination, TcpMatch, TlsMatch
from control.api.kinds.virtual_service import HttpRoute, VirtualServiceSpec
from control.api.world import World
from control.ir.matches import Audience, RequestMatch
from control.ir.routes import ConnectionRoute, HostRoutes, Route, Share
from control.translate.actions import action, destination, edits, fault
from control.translate.matches import audience, gateway_name, request_match


def routes(world: World, known: Container[str]) -> tuple[HostRoutes, ...]:
    """Oldest rule first."""
    found = []
    for resource in world.of_kind("VirtualService"):
        spec = resource.spec
        assert isinstance(spec, VirtualServiceSpec)
        translated: list[Route] = []
        for index, route in enumerate(spec.http):
            name = route.name or f"{resource.name}.{resource.namespace}/http[{index}]"
            translated += _routes(route, name, resource.namespace, known)
        found.append(
            HostRoutes(
                name=resource.name,
                namespace=resource.namespace,
                hosts=tuple(full_name(host, resource.namespace, known) for host in spec.hosts),
                gateways=tuple(gateway_name(gateway, resource.namespace) for gateway in spec.gateways),
                routes=tuple(translated),
                connections=(*_tls(spec, resource.namespace, known), *_tcp(spec, resource.namespace, known)),
            )
        )
    return tuple(found)


def _routes(route: HttpRoute, name: str, namespace: str, known: Container[str]) -> list[Route]:
    """One for each of its conditions, any of which suffices."""
    does = action(route, namespace, known)
    headers, trouble = edits(route.headers), fault(route.fault)
    if not route.match:
        return [Route(name, RequestMatch(), does, Audience(), headers, trouble)]
    return [
        Route(
            f"{name}.{match.name}" if match.name else name,
            request_match(match),
            does,
            audience(match, namespace),
            headers,
            trouble,
        )
        for match in route.match
    ]


def _tls(spec: VirtualServiceSpec, namespace: str, known: Container[str]) -> Iterator[ConnectionRoute]:
    for route in spec.tls:
        for match in route.match:
            yield ConnectionRoute(
                _shares(route.route, namespace, known), match.sni_hosts, _connection_audience(match, namespace)
            )


def _tcp(spec: VirtualServiceSpec, namespace: str, known: Container[str]) -> Iterator[ConnectionRoute]:
    for route in spec.tcp:
        for match in route.match or (TcpMatch(),):
            yield ConnectionRoute(
                _shares(route.route, namespace, known), audience=_connection_audience(match, namespace)
            )


def _shares(route: tuple[ConnectionDestination, ...], namespace: str, known: Container[str]) -> tuple[Share, ...]:
    alone = len(route) == 1
    return tuple(
        Share(destination(each.destination, namespace, known), 1 if alone else each.weight)
        for each in route
        if alone or each.weight > 0
    )


def _connection_audience(match: TcpMatch | TlsMatch, namespace: str) -> Audience:
    return Audience(
        labels=tuple(sorted(match.source_labels.items())),
        namespace=match.source_namespace,
        gateways=tuple(gateway_name(gateway, namespace) for gateway in match.gateways),
        port=match.port,
    )
