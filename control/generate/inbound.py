"""Listeners before the application: who may come in, and as what."""

from collections.abc import Iterable, Iterator

from envoy.config.core.v3.base_pb2 import TrafficDirection
from envoy.config.listener.v3.listener_components_pb2 import FilterChain, FilterChainMatch, ListenerFilter
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.listener.original_dst.v3.original_dst_pb2 import OriginalDst
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)

from control.generate.connections import tcp_filter
from control.generate.listeners import HTTP_IN_PLAINTEXT, detect_http, detect_tls, listener
from control.generate.managers import http_filter, http_manager
from control.generate.names import BLACK_HOLE, INBOUND_PASSTHROUGH, inbound_cluster
from control.generate.pack import pack
from control.generate.places import ANYWHERE, INBOUND_PORT, families, virtual_name
from control.generate.tls import HTTP_ALPN, RELAYED_ALPN, downstream_mutual
from control.generate.virtual_hosts import inbound_table
from control.ir.address import Address
from control.ir.mesh import Mesh
from control.ir.policies import MtlsMode
from control.ir.proxy import AppPort, Proxy
from control.ir.services import Protocol
from control.ir.settings import MeshSettings

VIRTUAL_INBOUND = "virtualInbound"

NEVER_CAPTURED = frozenset({15000, 15001, 15006, 15020, 15021, 15090})
"""The sidecar's own ports: what goes there is not redirected."""

DETECTION_S = 1.0
"""How long a captured connection may be silent before it is taken for plaintext whose server speaks first (Istio's
`protocolDetectionTimeout` of inbound listeners). Much less, and the mutual TLS of a client that is slow for a moment
would be taken for it."""


def inbound_listeners(mesh: Mesh, proxy: Proxy) -> Iterable[Listener]:
    """One for each address at which connections for the application arrive."""
    for at, ports in proxy.ports_by_address().items():
        mode = mesh.peers.of_workload(proxy.namespace, proxy.labels, [port.number for port in ports])
        name = VIRTUAL_INBOUND if at == proxy.inbound else f"inbound_{at.host}_{at.port}"
        yield inbound_listener(name, at, ports, protocol_at(mesh, proxy, ports), mode, mesh.settings)


def captured_listeners(mesh: Mesh, proxy: Proxy) -> Iterator[Listener]:
    """One for each version of IP: what was going to the pod, told apart by the port that it was going to."""
    chains = [_here(mesh.settings)]
    for port in proxy.ports:
        if port.number not in NEVER_CAPTURED:
            mode = mesh.peers.of_port(proxy.namespace, proxy.labels, port.number)
            found = [*_chains((port,), protocol_at(mesh, proxy, (port,)), mode, mesh.settings)]
            for chain in found:
                chain.filter_chain_match.destination_port.value = port.number
            chains += found
    mode = mesh.peers.of_port(proxy.namespace, proxy.labels)
    undeclared = _chains((), Protocol.TCP, mode, mesh.settings)
    chains += [_renamed(chain, f"{VIRTUAL_INBOUND}-catchall-") for chain in undeclared]
    for family in families(proxy):
        at = Address(ANYWHERE[family], INBOUND_PORT)
        made = listener(virtual_name(VIRTUAL_INBOUND, proxy, family), at, TrafficDirection.INBOUND, chains)
        original = ListenerFilter(name="envoy.filters.listener.original_dst", typed_config=pack(OriginalDst()))
        made.listener_filters.append(original)
        detect_tls(made)
        detect_http(made, DETECTION_S)
        yield made


def _here(settings: MeshSettings) -> FilterChain:
    """What was going to the listener itself would come back for ever."""
    chain = FilterChain(name=f"{VIRTUAL_INBOUND}-blackhole", filters=[tcp_filter({BLACK_HOLE: 1}, settings)])
    chain.filter_chain_match.destination_port.value = INBOUND_PORT
    return chain


def _renamed(chain: FilterChain, prefix: str) -> FilterChain:
    chain.name = prefix + chain.name.removeprefix("inbound-")
    return chain


def protocol_at(mesh: Mesh, proxy: Proxy, ports: tuple[AppPort, ...]) -> Protocol:
    """What is spoken at an address. Several ports at one address are told apart by requests' authority. What a Service
    says of its port goes before what the workload says: clients go by the Service."""
    if len(ports) > 1:
        return Protocol.HTTP
    port = ports[0]
    return mesh.protocol_of(proxy.namespace, proxy.workload, port.number) or port.protocol


def inbound_listener(
    name: str, at: Address, ports: tuple[AppPort, ...], protocol: Protocol, mode: MtlsMode, settings: MeshSettings
) -> Listener:
    """For the ports at one address."""
    made = listener(name, at, TrafficDirection.INBOUND, _chains(ports, protocol, mode, settings))
    if mode is not MtlsMode.DISABLE:
        detect_tls(made)
    if mode is not MtlsMode.STRICT and protocol is Protocol.AUTO:
        detect_http(made)
    return made


def _chains(
    ports: tuple[AppPort, ...], protocol: Protocol, mode: MtlsMode, settings: MeshSettings
) -> Iterator[FilterChain]:
    """Under STRICT a plaintext connection finds none. Without `ports`: for those that nobody has declared."""
    if mode is not MtlsMode.DISABLE:
        yield from _mutual(ports, protocol, settings)
    if mode is not MtlsMode.STRICT:
        yield from _plaintext(ports, protocol, settings, beside_tls=mode is MtlsMode.PERMISSIVE)


def _mutual(ports: tuple[AppPort, ...], protocol: Protocol, settings: MeshSettings) -> Iterable[FilterChain]:
    """What the mesh's own clients want is said by ALPN where it is not one thing alone: an application may well speak a
    TLS of its own."""
    requests = protocol.requests
    if requests or protocol is Protocol.AUTO:
        match = FilterChainMatch(transport_protocol="tls", application_protocols=() if requests else HTTP_ALPN)
        chain = FilterChain(filter_chain_match=match, name="inbound-mtls")
        chain.transport_socket.CopyFrom(downstream_mutual(settings.trust_domain, HTTP_ALPN))
        # The peer's own certificate is all that counts: what it sends in this header is replaced.
        yield _requests(chain, ports, settings, HttpConnectionManager.SANITIZE_SET)
    if not requests:
        match = FilterChainMatch(transport_protocol="tls", application_protocols=RELAYED_ALPN)
        chain = FilterChain(filter_chain_match=match, name="inbound-mtls-tcp")
        chain.transport_socket.CopyFrom(downstream_mutual(settings.trust_domain, RELAYED_ALPN))
        yield _bytes(chain, ports, settings)


def _plaintext(
    ports: tuple[AppPort, ...], protocol: Protocol, settings: MeshSettings, *, beside_tls: bool
) -> Iterable[FilterChain]:
    raw = "raw_buffer" if beside_tls else ""
    if protocol.requests or protocol is Protocol.AUTO:
        protocols = () if protocol.requests else HTTP_IN_PLAINTEXT
        match = FilterChainMatch(transport_protocol=raw, application_protocols=protocols)
        chain = FilterChain(filter_chain_match=match if raw or protocols else None, name="inbound-plaintext")
        yield _requests(chain, ports, settings, HttpConnectionManager.SANITIZE)
    if not protocol.requests:
        match = FilterChainMatch(transport_protocol=raw)
        yield _bytes(FilterChain(filter_chain_match=match if raw else None, name="inbound-tcp"), ports, settings)
        if beside_tls:
            # TLS that the mesh did not begin is the application's own affair.
            match = FilterChainMatch(transport_protocol="tls")
            yield _bytes(FilterChain(filter_chain_match=match, name="inbound-tls"), ports, settings)


def _bytes(chain: FilterChain, ports: tuple[AppPort, ...], settings: MeshSettings) -> FilterChain:
    cluster = inbound_cluster(ports[0].number) if ports else INBOUND_PASSTHROUGH
    chain.filters.append(tcp_filter({cluster: 1}, settings))
    return chain


def _requests(
    chain: FilterChain,
    ports: tuple[AppPort, ...],
    settings: MeshSettings,
    forward: HttpConnectionManager.ForwardClientCertDetails,
) -> FilterChain:
    manager = http_manager("inbound", settings)
    manager.route_config.CopyFrom(inbound_table(ports))
    manager.forward_client_cert_details = forward
    if forward == HttpConnectionManager.SANITIZE_SET:
        manager.set_current_client_cert_details.uri = True
    chain.filters.append(http_filter(manager))
    return chain
