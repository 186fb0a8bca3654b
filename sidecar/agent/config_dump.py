"""`/config_dump`: what was accepted, in the shape of Envoy's. Private keys are never in it."""

import json
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.runtime.v3.rtds_pb2 import Runtime
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.json_format import MessageToDict

from sidecar.agent.certificates import Issued
from sidecar.xds.ads import Ads
from sidecar.xds.configuration import Resource
from sidecar.xds.kinds import Kind

REDACTED = "[redacted]"

_CLASSES: dict[Kind, Any] = {
    Kind.CDS: Cluster,
    Kind.EDS: ClusterLoadAssignment,
    Kind.LDS: Listener,
    Kind.RDS: RouteConfiguration,
    Kind.SDS: Secret,
    Kind.RTDS: Runtime,
}
_ADMIN = "type.googleapis.com/envoy.admin.v3."


def render(ads: Ads, issued: Issued | None) -> str:
    """JSON text."""
    clusters_version, clusters = ads.accepted(Kind.CDS)
    listeners_version, listeners = ads.accepted(Kind.LDS)
    configs = [
        {
            "@type": _ADMIN + "ClustersConfigDump",
            "version_info": clusters_version,
            "dynamic_active_clusters": [
                {"version_info": each.version, "cluster": _plain(Kind.CDS, each)} for each in clusters
            ],
        },
        {
            "@type": _ADMIN + "EndpointsConfigDump",
            "dynamic_endpoint_configs": [
                {"version_info": each.version, "endpoint_config": _plain(Kind.EDS, each)}
                for each in ads.accepted(Kind.EDS)[1]
            ],
        },
        {
            "@type": _ADMIN + "ListenersConfigDump",
            "version_info": listeners_version,
            "dynamic_listeners": [
                {
                    "name": each.decoded.name,
                    "active_state": {"version_info": each.version, "listener": _plain(Kind.LDS, each)},
                }
                for each in listeners
            ],
        },
        {
            "@type": _ADMIN + "RoutesConfigDump",
            "dynamic_route_configs": [
                {"version_info": each.version, "route_config": _plain(Kind.RDS, each)}
                for each in ads.accepted(Kind.RDS)[1]
            ],
        },
        {
            "@type": _ADMIN + "SecretsConfigDump",
            "dynamic_active_secrets": [*_own_secret(issued), *(_secret(each) for each in ads.accepted(Kind.SDS)[1])],
        },
    ]
    return json.dumps({"configs": configs}, indent=1) + "\n"


def _secret(resource: Resource) -> dict[str, Any]:
    plain = _plain(Kind.SDS, resource)
    if "private_key" in plain.get("tls_certificate", {}):
        plain["tls_certificate"]["private_key"] = {"inline_string": REDACTED}
    return {"name": resource.decoded.name, "version_info": resource.version, "secret": plain}


def _own_secret(issued: Issued | None) -> list[dict[str, Any]]:
    if issued is None:
        return []
    secret = {
        "name": "default",
        "tls_certificate": {
            "certificate_chain": {"inline_string": issued.chain_pem},
            "private_key": {"inline_string": REDACTED},
        },
    }
    return [{"name": "default", "version_info": issued.serial, "secret": secret}]


def _plain(kind: Kind, resource: Resource) -> dict[str, Any]:
    packed: AnyMessage = resource.packed
    message = _CLASSES[kind].FromString(packed.value)
    return {"@type": kind.value, **MessageToDict(message, preserving_proto_field_name=True)}
