"""Clusters of a captured workload that go where a redirected connection was going: past the mesh, and to its own
application."""

from collections.abc import Iterator

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from google.protobuf.struct_pb2 import Struct

from control.generate.clusters import DEFAULT_POOL, HTTP_OPTIONS, describe, limit, speak
from control.generate.names import INBOUND_PASSTHROUGH, PASSTHROUGH, inbound_cluster
from control.generate.pack import duration, pack
from control.ir.mesh import Mesh
from control.ir.proxy import AppPort, Proxy
from control.ir.services import Protocol

LOOP_ADDRESSES = ("127.0.0.6", "::6")
"""Connections to the application come from here, of which the rules of iptables know that they are not to be captured
again (as Istio's since 1.10)."""


def passthrough() -> Cluster:
    """For destinations that no service has."""
    cluster = _original(PASSTHROUGH)
    _as_the_client(cluster)
    _name(cluster, PASSTHROUGH)
    return cluster


def inbound_passthrough() -> Cluster:
    """For ports of the workload that nobody has declared."""
    cluster = _original(INBOUND_PASSTHROUGH)
    _from_loop_address(cluster)
    _name(cluster, INBOUND_PASSTHROUGH)
    return cluster


def captured_applications(mesh: Mesh, proxy: Proxy) -> Iterator[Cluster]:
    """The workload's own."""
    for port in proxy.ports:
        yield application(mesh, proxy, port)
    yield inbound_passthrough()


def application(mesh: Mesh, proxy: Proxy, port: AppPort) -> Cluster:
    """A port of the workload, at whichever of the pod's addresses the client came to."""
    cluster = _original(inbound_cluster(port.number))
    _from_loop_address(cluster)
    protocol = mesh.protocol_of(proxy.namespace, proxy.workload, port.number) or port.protocol
    if protocol is Protocol.AUTO:
        _as_the_client(cluster)
    elif protocol is Protocol.HTTP2:
        speak(cluster, protocol, DEFAULT_POOL)
    describe(cluster, *mesh.services_of(proxy.namespace, proxy.workload, port.number))
    return cluster


def _original(name: str) -> Cluster:
    cluster = Cluster(name=name, type=Cluster.ORIGINAL_DST, lb_policy=Cluster.CLUSTER_PROVIDED)
    cluster.connect_timeout.CopyFrom(duration(10))
    limit(cluster, DEFAULT_POOL)
    return cluster


def _as_the_client(cluster: Cluster) -> None:
    options = HttpProtocolOptions()
    options.use_downstream_protocol_config.http_protocol_options.SetInParent()
    options.use_downstream_protocol_config.http2_protocol_options.allow_connect = True
    cluster.typed_extension_protocol_options[HTTP_OPTIONS].CopyFrom(pack(options))


def _from_loop_address(cluster: Cluster) -> None:
    first, *others = LOOP_ADDRESSES
    bind = cluster.upstream_bind_config
    bind.source_address.address = first
    bind.source_address.port_value = 0
    for each in others:
        extra = bind.extra_source_addresses.add()
        extra.address.address = each
        extra.address.port_value = 0


def _name(cluster: Cluster, name: str) -> None:
    """Metrics name the cluster as the service, as Istio's do; there is no host to name."""
    struct = Struct()
    struct.update({"services": [{"name": name}]})
    cluster.metadata.filter_metadata["istio"].CopyFrom(struct)
