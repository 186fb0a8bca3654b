"""One proxy's snapshot: the composition of this package's parts.

Most of a snapshot is shared: what can be reached (`upstreams`), what a namespace's own requests and connections meet
(`outbound`). What is a proxy's own is kept with its snapshot and made again when something that it is made of changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.any_pb2 import Any as AnyMessage

from control.generate.addons import add_addons
from control.generate.captured import Captured, captured_outbound
from control.generate.clusters import inbound_clusters
from control.generate.entries import Entry, entry
from control.generate.inbound import captured_listeners, inbound_listeners
from control.generate.lifecycle import lifecycle_layer
from control.generate.listeners import gateway_listener, outbound_listener, tcp_outbound_listener
from control.generate.memory import memory_of
from control.generate.name_table import name_table
from control.generate.names import ROOT_SECRET, SYSTEM_SECRET
from control.generate.nearest import Place, nearest_endpoints
from control.generate.original import captured_applications
from control.generate.outbound import outbound_routes
from control.generate.pack import pack
from control.generate.python_filters import add_filters
from control.generate.resources import EMPTY, Resources, packed
from control.generate.secrets import credential, system_anchors, trust_anchors
from control.generate.types import CDS, EDS, LDS, RDS, RTDS, SDS, Snapshot
from control.generate.upstreams import Upstreams, upstreams
from control.generate.virtual_hosts import Router
from control.ir.address import Address
from control.ir.instances import Behind
from control.ir.mesh import Credential, Gateway, GatewayServer, GatewayTls, Mesh
from control.ir.policies import TlsMode
from control.ir.proxy import Proxy, ProxyKind

_Named = dict[str, AnyMessage]


@dataclass(frozen=True, slots=True, eq=False)
class _Inbound:
    """What stands before the application, and what it was made of."""

    of: tuple[object, ...]
    clusters: Mapping[str, Entry]
    listeners: Mapping[str, Entry]


@dataclass(frozen=True, slots=True, eq=False)
class Own:
    """What is one proxy's own, and what it was made of."""

    proxy: Proxy
    shape: object
    behind: tuple[Behind, ...]
    inbound: _Inbound
    beyond: Resources | None
    """Clusters that it shares with some, besides those that it shares with all."""
    clusters: Mapping[str, Entry]
    listeners: Resources
    routes: Resources
    secrets: Resources
    runtime: Resources

    def fits(self, mesh: Mesh, proxy: Proxy, behind: tuple[Behind, ...]) -> bool:
        """Whether it would be made the same way again."""
        same_proxy = self.proxy is proxy or self.proxy == proxy
        return same_proxy and self.shape is mesh.shape and self.behind == behind


def generate(mesh: Mesh, proxy: Proxy, before: Snapshot | None = None) -> Snapshot:
    """Deterministic: equal meshes and proxies give equal snapshots. What has not changed since `before`, the proxy's
    last one, is taken from it; if nothing has, it is the result."""
    known = before.own if before is not None and isinstance(before.own, Own) else None
    own = _own(mesh, proxy, known)
    reached = reach(mesh, proxy.namespace, proxy.locality)
    if before is not None and own is known:
        return refreshed(before, proxy, reached)
    resources = {
        CDS: _clusters(proxy, own, reached.upstreams, before),
        EDS: reached.endpoints,
        LDS: own.listeners,
        RDS: own.routes,
        SDS: own.secrets,
        RTDS: own.runtime,
    }
    if before is not None and all(before.resources[url] is each for url, each in resources.items()):
        before.own = own  # made otherwise, perhaps, to the same result
        return before
    return Snapshot(resources, own)


@dataclass(frozen=True, slots=True, eq=False)
class Reach:
    """What proxies of one namespace and place have in common of what they reach."""

    upstreams: Upstreams
    endpoints: Resources


def reach(mesh: Mesh, namespace: str, place: Place) -> Reach:
    reached = upstreams(mesh, namespace)
    return Reach(reached, nearest_endpoints(mesh, namespace, place, reached))


def refreshed(snapshot: Snapshot, proxy: Proxy, reached: Reach) -> Snapshot:
    """The same for a mesh in which nothing of the proxy's own has changed, but perhaps what it reaches."""
    assert isinstance(snapshot.own, Own)
    clusters = _clusters(proxy, snapshot.own, reached.upstreams, snapshot)
    if snapshot.resources[CDS] is clusters:
        return snapshot.with_endpoints(reached.endpoints)
    return Snapshot({**snapshot.resources, CDS: clusters, EDS: reached.endpoints}, snapshot.own)


def _clusters(proxy: Proxy, own: Own, reached: Upstreams, before: Snapshot | None) -> Resources:
    """The proxy's own ones upon those that it shares; the same object as before where nothing has changed."""
    base, clusters = reached.clusters, own.clusters
    if proxy.kind is ProxyKind.GATEWAY or proxy.outbound is not None or proxy.capture:
        # Whoever has a forward proxy may ask it for a tunnel to any port.
        base = reached.all_clusters if own.beyond is None else own.beyond.upon(reached.all_clusters)
    elif proxy.tcp_outbound:
        clusters = {**clusters, **reached.relayed(frozenset(each.port for each in proxy.tcp_outbound))}
    known = None if before is None else before.resources[CDS]
    if known is not None and known.base is base and known.same_own(clusters):
        return known
    return Resources(clusters, base)


def _own(mesh: Mesh, proxy: Proxy, known: Own | None) -> Own:
    behind = mesh.behind(proxy.namespace, proxy.workload)
    if known is not None and known.fits(mesh, proxy, behind):
        return known
    inbound = _inbound(mesh, proxy, behind, None if known is None else known.inbound)
    listeners: _Named = {}
    captured: Captured | None = None
    if proxy.kind is ProxyKind.GATEWAY:
        routes = _gateway(mesh, proxy, listeners)
    elif proxy.capture:
        captured = captured_outbound(mesh, proxy)
        routes = captured.routes
    else:
        routes = _sidecar(mesh, proxy, listeners)
    finished = _finished(mesh, proxy, listeners) if captured is None else _filtered(mesh, proxy, captured.listeners)
    listeners_made = Resources({**inbound.listeners, **finished}, None if captured is None else captured.listeners)
    layer = lifecycle_layer(proxy)
    told = {} if layer is None else {layer.name: entry(layer.name, layer)}
    runtime = Resources(told, name_table(mesh)) if proxy.capture else Resources(told)
    return Own(
        proxy=proxy,
        shape=mesh.shape,
        behind=behind,
        inbound=inbound,
        beyond=None if captured is None else captured.clusters,
        clusters=inbound.clusters,
        listeners=listeners_made.kept(None if known is None else known.listeners),
        routes=routes.kept(None if known is None else known.routes),
        secrets=_gateway_secrets(mesh, proxy) if proxy.kind is ProxyKind.GATEWAY else _secrets(mesh),
        runtime=runtime.kept(None if known is None else known.runtime),
    )


def _inbound(mesh: Mesh, proxy: Proxy, behind: tuple[Behind, ...], known: _Inbound | None) -> _Inbound:
    """Not touched by rules that say nothing of who may come in."""
    services = [(mesh.services[host], number) for host, number, _ in behind]
    said = [(service.name, service.namespace, service.port(number)) for service, number in services]
    named = mesh.shape if mesh.filters else None  # they name services
    of = (proxy, mesh.settings, mesh.peers, mesh.addons, mesh.filters, named, behind, tuple(said))
    if known is not None and known.of == of:
        return known
    listeners: _Named = {}
    for listener in captured_listeners(mesh, proxy) if proxy.capture else inbound_listeners(mesh, proxy):
        listeners[listener.name] = pack(listener)
    applications = captured_applications(mesh, proxy) if proxy.capture else inbound_clusters(mesh, proxy)
    clusters = {made.name: entry(made.name, made) for made in applications}
    return _Inbound(of, clusters, _finished(mesh, proxy, listeners))


def _finished(mesh: Mesh, proxy: Proxy, listeners: _Named) -> Mapping[str, Entry]:
    """With the filters of the user's own; equal ones of other proxies are the same objects."""
    add_filters(mesh, proxy, listeners)
    add_addons(mesh, proxy, listeners)
    one = memory_of(mesh).one
    return {name: one(made) for name, made in packed(listeners).own.items()}


def _filtered(mesh: Mesh, proxy: Proxy, shared: Resources) -> Mapping[str, Entry]:
    """Of listeners that many proxies share, those that the user's own filters make another for this one."""
    if not mesh.filters and not mesh.addons.rules:
        return {}
    made = _finished(mesh, proxy, dict(shared))
    return {name: each for name, each in made.items() if each.digest != shared.own[name].digest}


def _secrets(mesh: Mesh) -> Resources:
    return memory_of(mesh).part(_secrets, (mesh.settings, mesh.destinations), lambda: _make_secrets(mesh))


def _gateway_secrets(mesh: Mesh, proxy: Proxy) -> Resources:
    """With the credentials of its own namespace that its servers name, and no others."""
    own: dict[str, Entry] = {}
    for gateway in mesh.gateways.values():
        if gateway.selector.items() <= proxy.labels.items():
            for server in gateway.servers:
                found = _credential(mesh, proxy, server.tls) if server.tls is not None else None
                if found is not None and server.tls is not None:
                    made = credential(server.tls.credential, found)
                    own |= {secret.name: entry(secret.name, secret) for secret in made}
    return Resources(own, _secrets(mesh)) if own else _secrets(mesh)


def _credential(mesh: Mesh, proxy: Proxy, tls: GatewayTls) -> Credential | None:
    """What the gateway needs for that; None where it is not (wholly) there."""
    found = mesh.credentials.get((proxy.namespace, tls.credential)) if tls.credential else None
    return None if found is None or (tls.mutual and not found.authorities_pem) else found


def _make_secrets(mesh: Mesh) -> Resources:
    secrets = {ROOT_SECRET: entry(ROOT_SECRET, trust_anchors(mesh.settings))}
    if mesh.settings.system_roots_pem and _reaches_outside(mesh):
        # Some 200 kB, so only for who needs it.
        secrets[SYSTEM_SECRET] = entry(SYSTEM_SECRET, system_anchors(mesh.settings))
    return Resources(secrets, shared=True)


def _reaches_outside(mesh: Mesh) -> bool:
    return any(destination.uses(TlsMode.SIMPLE) for destination in mesh.destinations.values())


def _sidecar(mesh: Mesh, proxy: Proxy, listeners: _Named) -> Resources:
    for outbound in proxy.tcp_outbound:
        made = tcp_outbound_listener(mesh, proxy, outbound)
        listeners[made.name] = pack(made)
    if proxy.outbound is None:
        return EMPTY
    made = outbound_listener(proxy.outbound, mesh.settings)
    listeners[made.name] = pack(made)
    return outbound_routes(mesh, proxy)


def _gateway(mesh: Mesh, proxy: Proxy, listeners: _Named) -> Resources:
    router = Router(mesh, proxy)
    by_port: dict[int, list[tuple[str, Gateway, GatewayServer]]] = {}
    for name, gateway in mesh.gateways.items():
        if gateway.selector.items() <= proxy.labels.items():
            for server in gateway.servers:
                if server.tls is not None and server.tls.credential and _credential(mesh, proxy, server.tls) is None:
                    continue  # rather not at all than without it; analysis tells
                by_port.setdefault(server.port, []).append((name, gateway, server))
    routes: dict[str, Entry] = {}
    for at, ports in _ports_by_address(proxy).items():
        servers = [server for port in ports for server in by_port.get(port, [])]
        listener = gateway_listener(mesh, proxy, at, ports, [(name, server) for name, _, server in servers])
        listeners[listener.name] = pack(listener)
        requests = [each for each in servers if each[2].protocol.requests]
        if requests or not servers:
            table = router.gateway(ports, requests)
            routes[table.name] = entry(table.name, table)
    return Resources(routes)


def _ports_by_address(proxy: Proxy) -> dict[Address, list[int]]:
    """The numbers that Gateways call a bound port by: on a laptop 80 and 8080 are one."""
    found: dict[Address, list[int]] = {}
    for port, at in sorted(proxy.gateway_ports.items()):
        found.setdefault(at, []).append(port)
    return found
