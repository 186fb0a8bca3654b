"""Everything a worker needs, whole and consistent: it is applied or refused as one."""

from dataclasses import dataclass, field

from mesh.records import Workload
from sidecar.config.cluster import Cluster
from sidecar.config.listener import Listener
from sidecar.config.route import RouteConfiguration
from sidecar.config.secret import Certificate, TrustAnchors


@dataclass(frozen=True, slots=True)
class Node:
    """Whose sidecar this is."""

    id: str = "unknown"
    """`sidecar~IP~WORKLOAD.NAMESPACE~NAMESPACE.svc.cluster.local`, as Istio writes it."""
    workload: Workload = field(default_factory=Workload)
    peer_metadata: str = ""
    """What `x-envoy-peer-metadata` carries to other sidecars: base64 of a protobuf Struct, made by the agent."""
    addon_sockets: str = ""
    """Directory of the sockets at which the agent's addon processes are reached; empty: there are none."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One configuration. `version` is for people and logs; equality of parts decides what changes."""

    version: str
    node: Node
    listeners: tuple[Listener, ...] = ()
    routes: tuple[RouteConfiguration, ...] = ()
    clusters: tuple[Cluster, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    trust_anchors: tuple[TrustAnchors, ...] = ()
