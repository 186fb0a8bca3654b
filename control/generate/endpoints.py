"""Instances of services: EDS assignments, and the same inline for clusters that carry their own."""

from collections.abc import Iterable, Mapping

from envoy.config.core.v3.address_pb2 import Address, SocketAddress
from envoy.config.core.v3.base_pb2 import Metadata
from envoy.config.endpoint.v3.endpoint_components_pb2 import Endpoint, LbEndpoint, LocalityLbEndpoints
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from google.protobuf.struct_pb2 import Struct

from control.ir.address import Address as IrAddress
from control.ir.services import Endpoint as IrEndpoint
from control.ir.services import Service


def socket_address(at: IrAddress) -> Address:
    """TCP."""
    return Address(socket_address=SocketAddress(address=at.host, port_value=at.port))


def chosen(service: Service, port: int, labels: Mapping[str, str]) -> list[IrEndpoint]:
    """The instances of a port that have all the labels."""
    return [e for e in service.endpoints.get(port, ()) if labels.items() <= e.labels.items()]


def assignment(cluster: str, *priorities: Iterable[IrEndpoint]) -> ClusterLoadAssignment:
    """By priority, locality, then address; without instances there is no locality either, which Envoy takes as
    "none"."""
    message = ClusterLoadAssignment(cluster_name=cluster)
    for priority, endpoints in enumerate(priorities):
        by_locality: dict[tuple[str, str, str], list[IrEndpoint]] = {}
        for each in sorted(endpoints, key=lambda e: (e.locality, e.address, e.workload)):
            by_locality.setdefault(each.locality, []).append(each)
        message.endpoints.extend(_locality(where, some, priority) for where, some in by_locality.items())
    return message


def _locality(where: tuple[str, str, str], endpoints: list[IrEndpoint], priority: int) -> LocalityLbEndpoints:
    message = LocalityLbEndpoints(lb_endpoints=[_endpoint(e) for e in endpoints], priority=priority)
    if any(where):
        message.locality.region, message.locality.zone, message.locality.sub_zone = where
    return message


def static_assignment(cluster: str, at: IrAddress) -> ClusterLoadAssignment:
    """One address."""
    endpoint = LbEndpoint(endpoint=Endpoint(address=socket_address(at)))
    return ClusterLoadAssignment(cluster_name=cluster, endpoints=[LocalityLbEndpoints(lb_endpoints=[endpoint])])


def _endpoint(endpoint: IrEndpoint) -> LbEndpoint:
    message = LbEndpoint(endpoint=Endpoint(address=socket_address(endpoint.address)))
    message.load_balancing_weight.value = endpoint.weight
    metadata = Metadata()
    if endpoint.tls:
        _note(metadata, "envoy.transport_socket_match", {"tlsMode": "istio"})
    if endpoint.workload:
        name, service, revision = endpoint.called
        service, revision = service or endpoint.labels.get("app", ""), revision or endpoint.labels.get("version", "")
        text = ";".join((name or endpoint.workload, endpoint.namespace, service, revision, endpoint.cluster_id))
        _note(metadata, "istio", {"workload": text})
    if endpoint.principal:
        _note(metadata, "remora", {"principal": endpoint.principal})
    if metadata.filter_metadata:
        message.metadata.CopyFrom(metadata)
    return message


def _note(metadata: Metadata, namespace: str, values: dict[str, str]) -> None:
    struct = Struct()
    struct.update(values)
    metadata.filter_metadata[namespace].CopyFrom(struct)
