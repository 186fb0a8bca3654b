"""The resource types of xDS in the order in which they are pushed, and what a proxy's snapshot is."""

import hashlib
from collections.abc import Mapping

from google.protobuf.any_pb2 import Any as AnyMessage

from control.generate.resources import EMPTY, Resources, packed

CDS = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
EDS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
LDS = "type.googleapis.com/envoy.config.listener.v3.Listener"
RDS = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
SDS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
RTDS = "type.googleapis.com/envoy.service.runtime.v3.Runtime"

TYPES: Mapping[str, str] = {"CDS": CDS, "EDS": EDS, "LDS": LDS, "RDS": RDS, "SDS": SDS, "RTDS": RTDS}
"""Short name to type URL, in push order: what is referred to comes before what refers to it."""


class Snapshot:
    """Everything one proxy is told. Equal hashes mean equal resources. What snapshots have in common they share."""

    __slots__ = ("_hash", "own", "resources")

    def __init__(self, resources: Mapping[str, Resources], own: object = None) -> None:
        self.own = own
        """What `generate` knows of how the proxy's own resources came to be."""
        self.resources: Mapping[str, Resources] = {url: resources.get(url, EMPTY) for url in TYPES.values()}
        """By type URL, in push order."""
        self._hash: str | None = None

    @property
    def versions(self) -> Mapping[str, str]:
        """By type URL: `version_info` on the wire for a client that takes all of the type."""
        return {url: resources.version for url, resources in self.resources.items()}

    @property
    def hash(self) -> str:
        """Of all types' versions."""
        if self._hash is None:
            self._hash = hashlib.sha256("\0".join(self.versions.values()).encode()).hexdigest()[:16]
        return self._hash

    def with_endpoints(self, endpoints: Resources) -> "Snapshot":
        """The same, with other endpoints."""
        if self.resources[EDS] is endpoints:
            return self
        made = Snapshot.__new__(Snapshot)
        made.own, made._hash, made.resources = self.own, None, {**self.resources, EDS: endpoints}
        return made

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Snapshot):
            return NotImplemented
        # Quicker than the hashes where the two share what they have.
        return self is other or all(made == other.resources[url] for url, made in self.resources.items())

    def __hash__(self) -> int:
        return hash(self.hash)

    def __repr__(self) -> str:
        return f"<Snapshot {self.hash}>"


def snapshot(resources: Mapping[str, Mapping[str, AnyMessage]]) -> Snapshot:
    """Of resources as they are, packed already or not; a type without any has a version too."""
    return Snapshot({url: made if isinstance(made, Resources) else packed(made) for url, made in resources.items()})
