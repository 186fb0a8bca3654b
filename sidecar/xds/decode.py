"""A resource as it came -> configuration types, or Rejected with kind, name and field path."""

from collections.abc import Callable

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.runtime.v3.rtds_pb2 import Runtime
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError, Message

from sidecar.xds.decode_cluster import decode_cluster
from sidecar.xds.decode_endpoints import decode_load_assignment
from sidecar.xds.decode_listener import decode_listener
from sidecar.xds.decode_routes import decode_route_configuration
from sidecar.xds.decode_runtime import decode_runtime
from sidecar.xds.decode_secret import decode_secret
from sidecar.xds.fields import Fields
from sidecar.xds.kinds import Kind
from sidecar.xds.needs import Decoded, Decoding, Value
from sidecar.xds.rejected import Rejected

_DECODERS: dict[Kind, tuple[type[Message], str, Callable[[Fields, Decoding], Value]]] = {
    Kind.CDS: (Cluster, "name", decode_cluster),
    Kind.EDS: (ClusterLoadAssignment, "cluster_name", decode_load_assignment),
    Kind.LDS: (Listener, "name", decode_listener),
    Kind.RDS: (RouteConfiguration, "name", decode_route_configuration),
    Kind.SDS: (Secret, "name", decode_secret),
    Kind.RTDS: (Runtime, "name", decode_runtime),
}


def decode(kind: Kind, packed: Any, *, gateway: bool = False) -> Decoded:
    """Raises Rejected for whatever is not understood whole."""
    message_class, name_field, read = _DECODERS[kind]
    name = "(unnamed)"
    try:
        if packed.type_url != kind.value:
            raise Rejected("", f"a resource of type {packed.type_url} among {kind.name}")
        message = message_class()
        try:
            message.ParseFromString(packed.value)
        except DecodeError as error:
            raise Rejected("", f"is not a {message.DESCRIPTOR.full_name}") from error
        fields = Fields(message)
        name = fields.required(name_field)
        decoding = Decoding(gateway)
        value = read(fields, decoding)
        fields.done()
    except Rejected as rejected:
        raise Rejected(rejected.path, rejected.why, kind=kind.name, resource=name) from rejected
    return Decoded(name, value, decoding.needs())
