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


def assignment(cluster: str, endpoints: Iterable[IrEndpoint]) -> ClusterLoadAssignment:
    """In the order of addresses; without instances there is no locality either, which Envoy takes as "none"."""
    ordered = sorted(endpoints, key=lambda e: (e.address, e.workload))
    localities = [LocalityLbEndpoints(lb_endpoints=[_endpoint(e) for e in ordered])] if ordered else []
    return ClusterLoadAssignment(cluster_name=cluster, endpoints=localities)


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
        app, version = endpoint.labels.get("app", ""), endpoint.labels.get("version", "")
        text = ";".join((endpoint.workload, endpoint.namespace, app, version, endpoint.cluster_id))
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
