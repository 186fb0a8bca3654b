"""The resource kinds of xDS that the sidecar subscribes to, in the order in which they must be warmed."""

from enum import Enum

_PREFIX = "type.googleapis.com/"


class Kind(Enum):
    """Value: the kind's type URL. Order: a cluster before its endpoints, both before what routes to them."""

    CDS = _PREFIX + "envoy.config.cluster.v3.Cluster"
    EDS = _PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
    LDS = _PREFIX + "envoy.config.listener.v3.Listener"
    RDS = _PREFIX + "envoy.config.route.v3.RouteConfiguration"
    SDS = _PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"
    RTDS = _PREFIX + "envoy.service.runtime.v3.Runtime"
    """Layers asked for by who must know when its application has ended, and by who answers DNS."""

    @property
    def wildcard(self) -> bool:
        """Subscribed to as a whole; a response holds everything there is, so what it lacks is gone."""
        return self in (Kind.CDS, Kind.LDS)
