"""xDS resources written as people write them: dictionaries with protobuf's field names."""

from copy import deepcopy
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.runtime.v3.rtds_pb2 import Runtime
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.json_format import ParseDict

# json_format finds the types of Any fields among those that are imported.
import sidecar.xds.decode  # noqa: F401
from sidecar.xds.kinds import Kind

CLASSES: dict[Kind, Any] = {
    Kind.CDS: Cluster,
    Kind.EDS: ClusterLoadAssignment,
    Kind.LDS: Listener,
    Kind.RDS: RouteConfiguration,
    Kind.SDS: Secret,
    Kind.RTDS: Runtime,
}
TYPE = "type.googleapis.com/"
ADS = {"ads": {}, "resource_api_version": "V3"}
OWN_SDS = {
    "api_config_source": {
        "api_type": "GRPC",
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "sds-grpc"}}],
        "set_node_on_first_message_only": True,
    },
    "resource_api_version": "V3",
}


def pack(kind: Kind, plain: dict[str, Any]) -> AnyMessage:
    """As a DiscoveryResponse carries it."""
    return AnyMessage(type_url=kind.value, value=ParseDict(plain, CLASSES[kind]()).SerializeToString())


def merged(plain: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`plain` with `changes` by dotted path, `a.0.b`: a value, or None to remove."""
    result = deepcopy(plain)
    for path, value in changes.items():
        *parents, last = path.split(".")
        at: Any = result
        for part in parents:
            at = at[int(part)] if isinstance(at, list) else at.setdefault(part, {})
        if isinstance(at, list):
            at[int(last)] = value
        elif value is None:
            del at[last]
        else:
            at[last] = value
    return result


def eds_cluster(name: str, **changes: Any) -> dict[str, Any]:
    plain = {
        "name": name,
        "type": "EDS",
        "connect_timeout": "1s",
        "eds_cluster_config": {"eds_config": ADS, "service_name": name},
    }
    return plain | changes


def socket_address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def assignment(name: str, *ports: int) -> dict[str, Any]:
    endpoints = [{"endpoint": {"address": socket_address("127.0.0.1", port)}} for port in ports]
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}] if endpoints else []}


def forward(cluster: str) -> dict[str, Any]:
    return {"name": cluster, "match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}}


def routes(name: str, *clusters: str) -> dict[str, Any]:
    hosts = [{"name": c, "domains": [c or "*"], "routes": [forward(c)]} for c in clusters]
    return {"name": name, "virtual_hosts": hosts}


def manager(**changes: Any) -> dict[str, Any]:
    plain = {
        "@type": TYPE + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "x",
        "http_filters": [
            {
                "name": "envoy.filters.http.fault",
                "typed_config": {"@type": TYPE + "envoy.extensions.filters.http.fault.v3.HTTPFault"},
            },
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": TYPE + "envoy.extensions.filters.http.router.v3.Router"},
            },
        ],
    }
    return plain | changes


def rds(name: str) -> dict[str, Any]:
    return {"route_config_name": name, "config_source": ADS}


def chain(http: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"filters": [{"name": "http", "typed_config": http}]} | changes


def listener(name: str, port: int, *chains: dict[str, Any], **changes: Any) -> dict[str, Any]:
    plain = {
        "name": name,
        "address": socket_address("127.0.0.1", port),
        "traffic_direction": "OUTBOUND",
        "filter_chains": list(chains),
    }
    return plain | changes


def rds_listener(name: str, port: int, route_name: str) -> dict[str, Any]:
    return listener(name, port, chain(manager(rds=rds(route_name))))


def common_tls(**changes: Any) -> dict[str, Any]:
    plain = {
        "tls_certificate_sds_secret_configs": [{"name": "default", "sds_config": OWN_SDS}],
        "combined_validation_context": {
            "default_validation_context": {},
            "validation_context_sds_secret_config": {"name": "ROOTCA", "sds_config": ADS},
        },
        "alpn_protocols": ["http/1.1"],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
    }
    return plain | changes


def upstream_tls(**changes: Any) -> dict[str, Any]:
    kind = TYPE + "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
    return {"name": "tls", "typed_config": {"@type": kind, "common_tls_context": common_tls()} | changes}


def downstream_tls(**changes: Any) -> dict[str, Any]:
    kind = TYPE + "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
    plain = {"@type": kind, "common_tls_context": common_tls(), "require_client_certificate": True}
    return {"name": "tls", "typed_config": plain | changes}


def raw_socket() -> dict[str, Any]:
    kind = TYPE + "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
    return {"name": "raw", "typed_config": {"@type": kind}}


INSPECTOR = {
    "name": "tls_inspector",
    "typed_config": {"@type": TYPE + "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"},
}


def anchors(name: str, pem: str) -> dict[str, Any]:
    return {"name": name, "validation_context": {"trusted_ca": {"inline_string": pem}}}
