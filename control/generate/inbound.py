"""Listeners before the application: who may come in, and as what."""

from collections.abc import Iterable

from envoy.config.core.v3.base_pb2 import TrafficDirection
from envoy.config.listener.v3.listener_components_pb2 import FilterChain, FilterChainMatch
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)

from control.generate.connections import tcp_filter
from control.generate.listeners import HTTP_IN_PLAINTEXT, detect_http, detect_tls, listener
from control.generate.managers import http_filter, http_manager
from control.generate.names import inbound_cluster
from control.generate.tls import HTTP_ALPN, RELAYED_ALPN, downstream_mutual
from control.generate.virtual_hosts import inbound_table
from control.ir.address import Address
from control.ir.mesh import Mesh
from control.ir.policies import MtlsMode
from control.ir.proxy import AppPort, Proxy
from control.ir.services import Protocol
from control.ir.settings import MeshSettings

VIRTUAL_INBOUND = "virtualInbound"


def inbound_listeners(mesh: Mesh, proxy: Proxy) -> Iterable[Listener]:
    """One for each address at which connections for the application arrive."""
    for at, ports in proxy.ports_by_address().items():
        mode = mesh.peers.of_workload(proxy.namespace, proxy.labels, [port.number for port in ports])
        name = VIRTUAL_INBOUND if at == proxy.inbound else f"inbound_{at.host}_{at.port}"
        yield inbound_listener(name, at, ports, protocol_at(mesh, proxy, ports), mode, mesh.settings)


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
    """Under STRICT a plaintext connection finds no filter chain."""
    chains: list[FilterChain] = []
    if mode is not MtlsMode.DISABLE:
        chains += _mutual(ports, protocol, settings)
    if mode is not MtlsMode.STRICT:
        chains += _plaintext(ports, protocol, settings, beside_tls=mode is MtlsMode.PERMISSIVE)
    made = listener(name, at, TrafficDirection.INBOUND, chains)
    if mode is not MtlsMode.DISABLE:
        detect_tls(made)
    if mode is not MtlsMode.STRICT and protocol is Protocol.AUTO:
        detect_http(made)
    return made


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
    chain.filters.append(tcp_filter({inbound_cluster(ports[0].number): 1}, settings))
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
