"""One proxy's snapshot: the composition of this package's parts."""

from google.protobuf.any_pb2 import Any as AnyMessage

from control.generate.addons import add_addons
from control.generate.clusters import black_hole, inbound_clusters, outbound_clusters, relayed_clusters
from control.generate.inbound import inbound_listeners
from control.generate.lifecycle import lifecycle_layer
from control.generate.listeners import gateway_listener, outbound_listener, tcp_outbound_listener
from control.generate.names import BLACK_HOLE, ROOT_SECRET, SYSTEM_SECRET
from control.generate.pack import pack
from control.generate.python_filters import add_filters
from control.generate.secrets import system_anchors, trust_anchors
from control.generate.tunnels import add_tunnels
from control.generate.types import CDS, EDS, LDS, RDS, RTDS, SDS, Snapshot, snapshot
from control.generate.virtual_hosts import OUTBOUND, Router
from control.ir.address import Address
from control.ir.mesh import Gateway, GatewayServer, Mesh
from control.ir.policies import TlsMode
from control.ir.proxy import Proxy, ProxyKind

_Named = dict[str, AnyMessage]


def generate(mesh: Mesh, proxy: Proxy) -> Snapshot:
    """Deterministic: equal meshes and proxies give equal bytes."""
    clusters, endpoints = _upstreams(mesh, proxy.namespace)
    resources: dict[str, _Named] = {
        CDS: dict(clusters),
        EDS: endpoints,
        LDS: {},
        RDS: {},
        SDS: {ROOT_SECRET: pack(trust_anchors(mesh.settings))},
    }
    if proxy.kind is ProxyKind.GATEWAY:
        _gateway(mesh, proxy, resources)
    else:
        _sidecar(mesh, proxy, resources)
    add_filters(mesh, proxy, resources[LDS])
    add_addons(mesh, proxy, resources[LDS])
    if mesh.settings.system_roots_pem and _reaches_outside(mesh):
        # Some 200 kB, so only for who needs it.
        resources[SDS][SYSTEM_SECRET] = pack(system_anchors(mesh.settings))
    layer = lifecycle_layer(proxy)
    if layer is not None:
        resources[RTDS] = {layer.name: pack(layer)}
    return snapshot(resources)


def _reaches_outside(mesh: Mesh) -> bool:
    return any(destination.uses(TlsMode.SIMPLE) for destination in mesh.destinations.values())


def _upstreams(mesh: Mesh, namespace: str) -> tuple[_Named, _Named]:
    """Clusters and endpoints are the same for all proxies of a namespace, and are most of the work: made once."""
    key = "upstreams", namespace
    known: tuple[_Named, _Named] | None = mesh.parts.get(key)
    if known is not None:
        return known
    clusters: _Named = {BLACK_HOLE: pack(black_hole())}
    endpoints: _Named = {}
    for cluster, loads in outbound_clusters(mesh, namespace):
        clusters[cluster.name] = pack(cluster)
        if loads is not None:
            endpoints[cluster.name] = pack(loads)
    mesh.parts[key] = clusters, endpoints
    return clusters, endpoints


def _outbound_table(mesh: Mesh, proxy: Proxy) -> AnyMessage:
    """The same for all proxies of a namespace to whom the same routes are addressed, which is usually all of them."""
    key = "outbound", proxy.namespace, mesh.addressed(proxy)
    known: AnyMessage | None = mesh.parts.get(key)
    if known is None:
        table = Router(mesh, proxy).outbound()
        add_tunnels(table, mesh, proxy)
        known = mesh.parts[key] = pack(table)
    return known


def _sidecar(mesh: Mesh, proxy: Proxy, resources: dict[str, _Named]) -> None:
    for cluster in inbound_clusters(mesh, proxy):
        resources[CDS][cluster.name] = pack(cluster)
    if proxy.outbound is not None:
        listener = outbound_listener(proxy.outbound, mesh.settings)
        resources[LDS][listener.name] = pack(listener)
        resources[RDS][OUTBOUND] = _outbound_table(mesh, proxy)
    for outbound in proxy.tcp_outbound:
        listener = tcp_outbound_listener(mesh, proxy, outbound)
        resources[LDS][listener.name] = pack(listener)
    if proxy.tcp_outbound or proxy.outbound is not None:
        for cluster in relayed_clusters(mesh, proxy):
            resources[CDS][cluster.name] = pack(cluster)
    for listener in inbound_listeners(mesh, proxy):
        resources[LDS][listener.name] = pack(listener)


def _gateway(mesh: Mesh, proxy: Proxy, resources: dict[str, _Named]) -> None:
    router = Router(mesh, proxy)
    by_port: dict[int, list[tuple[str, Gateway, GatewayServer]]] = {}
    for name, gateway in mesh.gateways.items():
        if gateway.selector.items() <= proxy.labels.items():
            for server in gateway.servers:
                by_port.setdefault(server.port, []).append((name, gateway, server))
    for at, ports in _ports_by_address(proxy).items():
        servers = [server for port in ports for server in by_port.get(port, [])]
        listener = gateway_listener(mesh, proxy, at, ports, [(name, server) for name, _, server in servers])
        resources[LDS][listener.name] = pack(listener)
        requests = [each for each in servers if each[2].protocol.requests]
        if requests or not servers:
            table = router.gateway(ports, requests)
            resources[RDS][table.name] = pack(table)
    for cluster in relayed_clusters(mesh, proxy):
        resources[CDS][cluster.name] = pack(cluster)


def _ports_by_address(proxy: Proxy) -> dict[Address, list[int]]:
    """The numbers that Gateways call a bound port by: on a laptop 80 and 8080 are one."""
    found: dict[Address, list[int]] = {}
    for port, at in sorted(proxy.gateway_ports.items()):
        found.setdefault(at, []).append(port)
    return found
