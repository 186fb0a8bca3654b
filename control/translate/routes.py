"""VirtualServices to routes of hosts."""

from collections.abc import Container

from control.api.hosts import full_name
from control.api.kinds.virtual_service import HttpRoute, VirtualServiceSpec
from control.api.world import World
from control.ir.matches import Audience, RequestMatch
from control.ir.routes import HostRoutes, Route
from control.translate.actions import action, edits, fault
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
