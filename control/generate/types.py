"""The resource types of xDS in the order in which they are pushed, and what a proxy's snapshot is."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.any_pb2 import Any as AnyMessage

CDS = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
EDS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
LDS = "type.googleapis.com/envoy.config.listener.v3.Listener"
RDS = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
SDS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"

TYPES: Mapping[str, str] = {"CDS": CDS, "EDS": EDS, "LDS": LDS, "RDS": RDS, "SDS": SDS}
"""Short name to type URL, in push order: what is referred to comes before what refers to it."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything one proxy is told. Equal hashes mean equal bytes."""

    hash: str
    resources: Mapping[str, Mapping[str, AnyMessage]]
    """By type URL, then by name, sorted; each is packed as DiscoveryResponse carries it."""
    versions: Mapping[str, str]
    """By type URL: hash of that type's resources, `version_info` on the wire."""


def snapshot(resources: Mapping[str, Mapping[str, AnyMessage]]) -> Snapshot:
    """Hash and freeze what was generated; a type without resources has a version too."""
    ordered = {url: dict(sorted(resources.get(url, {}).items())) for url in TYPES.values()}
    versions = {}
    for url, named in ordered.items():
        digest = hashlib.sha256()
        for name, message in named.items():
            for part in (name.encode(), message.value):
                digest.update(len(part).to_bytes(8, "big"))
                digest.update(part)
        versions[url] = digest.hexdigest()[:16]
    whole = hashlib.sha256("\0".join(versions[url] for url in TYPES.values()).encode()).hexdigest()[:16]
    return Snapshot(whole, ordered, versions)
