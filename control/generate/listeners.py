"""Listeners: where an application's own requests and connections arrive, and a gateway's, one for each bound port."""

from collections.abc import Iterable, Sequence

from envoy.config.core.v3.base_pb2 import TrafficDirection
from envoy.config.listener.v3.listener_components_pb2 import FilterChain, FilterChainMatch, ListenerFilter
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.listener.http_inspector.v3.http_inspector_pb2 import HttpInspector
from envoy.extensions.filters.listener.tls_inspector.v3.tls_inspector_pb2 import TlsInspector
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)

from control.generate.connections import ConnectionRouter
from control.generate.endpoints import socket_address
from control.generate.managers import http_filter, http_manager
from control.generate.pack import duration, pack
from control.generate.tls import ads, downstream_files
from control.generate.virtual_hosts import OUTBOUND, Router, service_table
from control.ir.address import Address
from control.ir.mesh import GatewayServer, Mesh
from control.ir.proxy import Proxy, TcpOutbound
from control.ir.services import Protocol
from control.ir.settings import MeshSettings

VIRTUAL_OUTBOUND = "virtualOutbound"

HTTP_IN_PLAINTEXT = ("http/1.0", "http/1.1", "h2c")
"""What Envoy's http_inspector finds."""

DETECTION_S = 0.08
"""How long a connection to a port of unknown protocol may be silent before it is taken for one whose server speaks
first. With the way to the server, nobody waits for longer than 0.1 s."""

Servers = Sequence[tuple[str, GatewayServer]]
"""Gateways' names, and their servers for one address."""


def outbound_listener(at: Address, settings: MeshSettings) -> Listener:
    """Where the application's own requests arrive."""
    manager = http_manager(OUTBOUND, settings)
    manager.rds.route_config_name = OUTBOUND
    manager.rds.config_source.CopyFrom(ads())
    return listener(VIRTUAL_OUTBOUND, at, TrafficDirection.OUTBOUND, [FilterChain(filters=[http_filter(manager)])])


def tcp_outbound_listener(mesh: Mesh, proxy: Proxy, outbound: TcpOutbound) -> Listener:
    """Where an application that knows no HTTP proxy finds one port of a service."""
    connections = ConnectionRouter(mesh, proxy)
    service = connections.service(outbound.host)
    port = None if service is None else service.port(outbound.port)
    chains: list[FilterChain] = []
    if service is not None and port is not None and (port.protocol.requests or port.protocol is Protocol.AUTO):
        manager = http_manager(f"outbound_{outbound.listen.host}_{outbound.listen.port}", mesh.settings)
        manager.route_config.CopyFrom(service_table(Router(mesh, proxy), mesh, service, port))
        match = FilterChainMatch(application_protocols=HTTP_IN_PLAINTEXT) if port.protocol is Protocol.AUTO else None
        chains.append(FilterChain(name="http", filter_chain_match=match, filters=[http_filter(manager)]))
    if port is None or not port.protocol.requests:
        chains += connections.outbound(service, port)
    name = f"{outbound.listen.host}_{outbound.listen.port}"
    made = listener(name, outbound.listen, TrafficDirection.OUTBOUND, chains)
    if port is not None and port.protocol is Protocol.AUTO:
        detect_http(made)
    if any(chain.filter_chain_match.server_names for chain in chains):
        detect_tls(made)
    return made


def gateway_listener(mesh: Mesh, proxy: Proxy, at: Address, ports: list[int], servers: Servers) -> Listener:
    """A port of the mesh's edge: nothing that a client says about itself is believed. A port that is bound but that no
    Gateway names yet answers 404 rather than refusing connections."""
    connections = ConnectionRouter(mesh, proxy)
    chains: list[FilterChain] = []
    plain = [server for _, server in servers if server.tls is None and server.protocol.requests]
    for _, server in servers:
        if server.tls is not None and server.protocol.requests:
            chain = FilterChain(filters=[http_filter(_edge_manager(ports[0], mesh.settings))])
            chain.transport_socket.CopyFrom(downstream_files(server.tls, ("h2", "http/1.1")))
            chain.filter_chain_match.transport_protocol = "tls"
            chain.filter_chain_match.server_names.extend(_server_names(server))
            chains.append(chain)
    chains += connections.gateway(servers)
    secure = any(chain.filter_chain_match.transport_protocol for chain in chains)
    if plain or not servers:
        chain = FilterChain(filters=[http_filter(_edge_manager(ports[0], mesh.settings))])
        if secure:
            chain.filter_chain_match.transport_protocol = "raw_buffer"
        chains = [*chains, chain]
    made = listener(f"{at.host}_{at.port}", at, TrafficDirection.OUTBOUND, _distinct(chains))
    if secure:
        detect_tls(made)
    return made


def _edge_manager(port: int, settings: MeshSettings) -> HttpConnectionManager:
    manager = http_manager(f"gateway.{port}", settings)
    manager.use_remote_address.value = True
    manager.rds.route_config_name = f"http.{port}"
    manager.rds.config_source.CopyFrom(ads())
    return manager


def _server_names(server: GatewayServer) -> list[str]:
    """Any name, where the server answers for any host."""
    return [] if "*" in server.hosts else sorted(set(server.hosts))


def _distinct(chains: Iterable[FilterChain]) -> list[FilterChain]:
    """Of chains with equal conditions the first: Envoy refuses a listener that has two."""
    found: dict[bytes, FilterChain] = {}
    for chain in chains:
        found.setdefault(chain.filter_chain_match.SerializeToString(deterministic=True), chain)
    return list(found.values())


def listener(name: str, at: Address, direction: TrafficDirection, chains: Iterable[FilterChain]) -> Listener:
    """Without detection of anything."""
    return Listener(name=name, address=socket_address(at), traffic_direction=direction, filter_chains=list(chains))


def detect_tls(made: Listener) -> None:
    """Have it look at what a ClientHello says."""
    inspector = ListenerFilter(name="envoy.filters.listener.tls_inspector", typed_config=pack(TlsInspector()))
    made.listener_filters.append(inspector)


def detect_http(made: Listener, within_s: float = DETECTION_S) -> None:
    """Have it look whether plaintext is HTTP, without keeping others waiting for longer than this."""
    inspector = ListenerFilter(name="envoy.filters.listener.http_inspector", typed_config=pack(HttpInspector()))
    made.listener_filters.append(inspector)
    made.listener_filters_timeout.CopyFrom(duration(within_s))
    made.continue_on_listener_filters_timeout = True
