"""Listeners: the sidecar's two, and a gateway's one for each port that is bound for it."""

from collections.abc import Iterable

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog
from envoy.config.core.v3.base_pb2 import TrafficDirection
from envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain, FilterChainMatch, ListenerFilter
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.access_loggers.file.v3.file_pb2 import FileAccessLog
from envoy.extensions.filters.http.fault.v3.fault_pb2 import HTTPFault
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.listener.tls_inspector.v3.tls_inspector_pb2 import TlsInspector
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
)
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from control.generate.endpoints import socket_address
from control.generate.pack import pack
from control.generate.tls import ads, downstream_mutual
from control.generate.virtual_hosts import OUTBOUND, inbound_table
from control.ir.address import Address
from control.ir.policies import MtlsMode
from control.ir.proxy import AppPort
from control.ir.settings import MeshSettings

VIRTUAL_OUTBOUND = "virtualOutbound"
VIRTUAL_INBOUND = "virtualInbound"

_ACCESS_FORMAT = {
    "start_time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "authority": "%REQ(:AUTHORITY)%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
    "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
    "route_name": "%ROUTE_NAME%",
}


def outbound_listener(at: Address, settings: MeshSettings) -> Listener:
    """Where the application's own requests arrive."""
    manager = _manager(OUTBOUND, settings)
    manager.rds.route_config_name = OUTBOUND
    manager.rds.config_source.CopyFrom(ads())
    return _listener(VIRTUAL_OUTBOUND, at, TrafficDirection.OUTBOUND, [FilterChain(filters=[_filter(manager)])])


def inbound_listener(at: Address, ports: tuple[AppPort, ...], mode: MtlsMode, settings: MeshSettings) -> Listener:
    """Where requests for the application arrive. Under STRICT a plaintext connection finds no filter chain."""
    chains = []
    if mode is not MtlsMode.DISABLE:
        chain = FilterChain(filter_chain_match=FilterChainMatch(transport_protocol="tls"), name="inbound-mtls")
        chain.transport_socket.CopyFrom(downstream_mutual(settings.trust_domain))
        # The peer's own certificate is all that counts: what it sends in this header is replaced.
        chains.append(_inbound_chain(chain, ports, settings, HttpConnectionManager.SANITIZE_SET))
    if mode is not MtlsMode.STRICT:
        match = FilterChainMatch(transport_protocol="raw_buffer") if mode is MtlsMode.PERMISSIVE else None
        chain = FilterChain(filter_chain_match=match, name="inbound-plaintext")
        chains.append(_inbound_chain(chain, ports, settings, HttpConnectionManager.SANITIZE))
    listener = _listener(VIRTUAL_INBOUND, at, TrafficDirection.INBOUND, chains)
    if mode is not MtlsMode.DISABLE:
        inspector = ListenerFilter(name="envoy.filters.listener.tls_inspector", typed_config=pack(TlsInspector()))
        listener.listener_filters.append(inspector)
    return listener


def gateway_listener(port: int, at: Address, settings: MeshSettings) -> Listener:
    """A port of the mesh's edge: nothing that a client says about itself is believed."""
    name = f"http.{port}"
    manager = _manager(f"gateway.{port}", settings)
    manager.use_remote_address.value = True
    manager.rds.route_config_name = name
    manager.rds.config_source.CopyFrom(ads())
    chain = FilterChain(filters=[_filter(manager)])
    return _listener(f"{at.host}_{at.port}", at, TrafficDirection.OUTBOUND, [chain])


def _inbound_chain(
    chain: FilterChain,
    ports: tuple[AppPort, ...],
    settings: MeshSettings,
    forward: HttpConnectionManager.ForwardClientCertDetails,
) -> FilterChain:
    manager = _manager("inbound", settings)
    manager.route_config.CopyFrom(inbound_table(ports))
    manager.forward_client_cert_details = forward
    if forward == HttpConnectionManager.SANITIZE_SET:
        manager.set_current_client_cert_details.uri = True
    chain.filters.append(_filter(manager))
    return chain


def _listener(name: str, at: Address, direction: TrafficDirection, chains: Iterable[FilterChain]) -> Listener:
    return Listener(name=name, address=socket_address(at), traffic_direction=direction, filter_chains=list(chains))


def _filter(manager: HttpConnectionManager) -> Filter:
    return Filter(name="envoy.filters.network.http_connection_manager", typed_config=pack(manager))


def _manager(prefix: str, settings: MeshSettings) -> HttpConnectionManager:
    manager = HttpConnectionManager(
        stat_prefix=prefix,
        server_name="remora",
        http_filters=[
            _http_filter("envoy.filters.http.fault", HTTPFault()),
            _http_filter("envoy.filters.http.router", Router()),
        ],
    )
    # Policy, route and application must see the same path.
    manager.normalize_path.value = True
    manager.use_remote_address.value = False
    manager.tracing.random_sampling.value = settings.sampling_percent
    if settings.access_log:
        manager.access_log.append(_access_log())
    return manager


def _http_filter(name: str, message: Message) -> HttpFilter:
    return HttpFilter(name=name, typed_config=pack(message))


def _access_log() -> AccessLog:
    form = Struct()
    form.update(_ACCESS_FORMAT)
    log = FileAccessLog(path="/dev/stdout", log_format=SubstitutionFormatString(json_format=form))
    return AccessLog(name="envoy.access_loggers.file", typed_config=pack(log))
