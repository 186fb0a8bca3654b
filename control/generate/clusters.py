"""Clusters: each port of each service and of its subsets, the workload's own application, the black hole."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from envoy.config.cluster.v3.circuit_breaker_pb2 import CircuitBreakers
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from google.protobuf.struct_pb2 import Struct

from control.generate.endpoints import assignment, chosen, static_assignment
from control.generate.names import (
    BLACK_HOLE,
    inbound_cluster,
    instance_cluster,
    instance_relayed_cluster,
    outbound_cluster,
    relayed_cluster,
    sni,
)
from control.generate.outliers import detect
from control.generate.pack import duration, pack
from control.generate.tls import RELAYED_ALPN, ads, raw, upstream_mutual, upstream_simple
from control.ir.mesh import Mesh
from control.ir.policies import Balancing, DestinationPolicy, KeepAlive, Pool, Tls, TlsMode, TrafficPolicy
from control.ir.proxy import Proxy
from control.ir.services import Endpoint, Port, Protocol, Resolution, Service
from control.ir.settings import MeshSettings

DEFAULT_POOL = Pool(max_connections=4096, connect_timeout_s=10.0, max_pending=4096, max_requests=4096, max_retries=256)
"""Where no DestinationRule says otherwise. Istio has no limits here; a limit is what keeps a slow service from taking
its callers' memory, and this one is far above what a sidecar's core can carry."""

_LB_POLICY = {
    Balancing.ROUND_ROBIN: Cluster.ROUND_ROBIN,
    Balancing.LEAST_REQUEST: Cluster.LEAST_REQUEST,
    Balancing.RANDOM: Cluster.RANDOM,
}
_ALPN = {
    Protocol.HTTP: ("http/1.1",),
    Protocol.AUTO: ("http/1.1",),
    Protocol.HTTP2: ("h2",),
    Protocol.TCP: (),
    Protocol.TLS: (),
}
_MUTUAL_ALPN = _ALPN | {Protocol.TCP: RELAYED_ALPN, Protocol.TLS: RELAYED_ALPN}
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


Choose = Callable[[list[Endpoint], TrafficPolicy], list[list[Endpoint]]]
"""Of a port's instances those that are for some clients, by priority."""


def service_clusters(
    service: Service, destination: DestinationPolicy, settings: MeshSettings, choose: Choose | None = None
) -> Iterator[tuple[Cluster, ClusterLoadAssignment | None]]:
    """How the clients for whom a policy holds reach a service, each cluster with its EDS resource where it has one.
    With `choose` the resources are of those instances alone."""
    for port in service.ports:
        for subset, labels in [("", {}), *((n, s.labels) for n, s in sorted(destination.subsets.items()))]:
            policy = destination.for_port(port.number, subset)
            endpoints = chosen(service, port.number, labels)
            if policy.tls is not None and policy.tls.mode is TlsMode.SIMPLE and not settings.system_roots_pem:
                # Nothing to check the server's certificate against: rather not at all than unchecked.
                policy, endpoints = replace(policy, tls=None), []
            priorities = [endpoints] if choose is None else choose(endpoints, policy)
            yield _outbound(service, port, subset, priorities, policy)


def relayed_clusters(service: Service, destination: DestinationPolicy) -> Iterator[tuple[int, Cluster]]:
    """The same for a client's own connections to ports whose protocol nobody has said, by the port's number. Endpoints
    are the requests' ones."""
    for port in service.ports:
        if port.protocol is Protocol.AUTO:
            for subset in ("", *sorted(destination.subsets)):
                policy = destination.for_port(port.number, subset)
                endpoints = chosen(service, port.number, _labels(destination, subset))
                cluster, _ = _outbound(service, replace(port, protocol=Protocol.TCP), subset, [endpoints], policy)
                cluster.name = relayed_cluster(service.host, port.number, subset)
                yield port.number, cluster


def instance_clusters(
    service: Service, destination: DestinationPolicy, settings: MeshSettings, port: Port, instance: Endpoint
) -> Iterator[Cluster]:
    """One instance of a headless service, for whoever asks for just that one: for requests, for connections, or, where
    nobody has said which it is, for both."""
    only = replace(service, endpoints={port.number: (instance,)})
    policy = destination.for_port(port.number)
    instances = [instance]
    if policy.tls is not None and policy.tls.mode is TlsMode.SIMPLE and not settings.system_roots_pem:
        policy, instances = replace(policy, tls=None), []
    kinds = [(port, instance_cluster)]
    if port.protocol is Protocol.AUTO:
        kinds.append((replace(port, protocol=Protocol.TCP), instance_relayed_cluster))
    for spoken, named in kinds:
        cluster, _ = _outbound(only, spoken, "", [instances], policy)
        cluster.name = named(service.host, port.number, instance.address.host)
        cluster.type = Cluster.STATIC
        cluster.ClearField("eds_cluster_config")
        cluster.load_assignment.CopyFrom(assignment(cluster.name, instances))
        yield cluster


def _labels(destination: DestinationPolicy, subset: str) -> Mapping[str, str]:
    return destination.subsets[subset].labels if subset else {}


def inbound_clusters(mesh: Mesh, proxy: Proxy) -> Iterator[Cluster]:
    """The application itself, over loopback."""
    for port in proxy.ports:
        name = inbound_cluster(port.number)
        cluster = Cluster(name=name, type=Cluster.STATIC, load_assignment=static_assignment(name, port.app))
        cluster.connect_timeout.CopyFrom(duration(10))
        limit(cluster, DEFAULT_POOL)
        if (mesh.protocol_of(proxy.namespace, proxy.workload, port.number) or port.protocol) is Protocol.HTTP2:
            speak(cluster, Protocol.HTTP2, DEFAULT_POOL)
        describe(cluster, *mesh.services_of(proxy.namespace, proxy.workload, port.number))
        yield cluster


def black_hole() -> Cluster:
    """No endpoints."""
    cluster = Cluster(name=BLACK_HOLE, type=Cluster.STATIC)
    cluster.connect_timeout.CopyFrom(duration(10))
    cluster.load_assignment.cluster_name = BLACK_HOLE
    return cluster


def _outbound(
    service: Service, port: Port, subset: str, priorities: list[list[Endpoint]], policy: TrafficPolicy
) -> tuple[Cluster, ClusterLoadAssignment | None]:
    name = outbound_cluster(service.host, port.number, subset)
    cluster = Cluster(name=name, lb_policy=_LB_POLICY[policy.balancing or Balancing.LEAST_REQUEST])
    pool = policy.pool or Pool()
    cluster.connect_timeout.CopyFrom(duration(pool.connect_timeout_s or DEFAULT_POOL.connect_timeout_s or 10))
    limit(cluster, pool)
    _keep_alive(cluster, pool.keepalive)
    speak(cluster, port.protocol, pool)
    describe(cluster, service)
    _secure(cluster, service, port, subset, policy.tls)
    if policy.outlier is not None:
        detect(cluster, policy.outlier)
    loads = assignment(name, *priorities)
    if service.resolution is Resolution.DNS:
        cluster.type = Cluster.STRICT_DNS
        cluster.dns_lookup_family = Cluster.V4_PREFERRED
        cluster.load_assignment.CopyFrom(loads)
        return cluster, None
    cluster.type = Cluster.EDS
    cluster.eds_cluster_config.eds_config.CopyFrom(ads())
    cluster.eds_cluster_config.service_name = name
    return cluster, loads


def limit(cluster: Cluster, pool: Pool) -> None:
    """Circuit breakers."""
    thresholds = CircuitBreakers.Thresholds()
    for field, name in (
        ("max_connections", "max_connections"),
        ("max_pending_requests", "max_pending"),
        ("max_requests", "max_requests"),
        ("max_retries", "max_retries"),
    ):
        value = getattr(pool, name)
        getattr(thresholds, field).value = getattr(DEFAULT_POOL, name) if value is None else value
    cluster.circuit_breakers.thresholds.append(thresholds)


def _keep_alive(cluster: Cluster, keepalive: KeepAlive | None) -> None:
    if keepalive is None:
        return
    options = cluster.upstream_connection_options.tcp_keepalive
    options.SetInParent()
    if keepalive.probes:
        options.keepalive_probes.value = keepalive.probes
    if keepalive.time_s:
        options.keepalive_time.value = keepalive.time_s
    if keepalive.interval_s:
        options.keepalive_interval.value = keepalive.interval_s


def speak(cluster: Cluster, protocol: Protocol, pool: Pool) -> None:
    """How requests are spoken to it, if it gets any."""
    if protocol in (Protocol.TCP, Protocol.TLS):
        return
    options = HttpProtocolOptions()
    if protocol is Protocol.HTTP2:
        options.explicit_http_config.http2_protocol_options.allow_connect = True  # for WebSocket too
    else:
        options.explicit_http_config.http_protocol_options.SetInParent()
    if pool.idle_timeout_s is not None:
        options.common_http_protocol_options.idle_timeout.CopyFrom(duration(pool.idle_timeout_s))
    if pool.max_requests_per_connection:
        options.common_http_protocol_options.max_requests_per_connection.value = pool.max_requests_per_connection
    cluster.typed_extension_protocol_options[HTTP_OPTIONS].CopyFrom(pack(options))


def describe(cluster: Cluster, *services: Service) -> None:
    """Istio's note of which services a cluster stands for; metrics take their labels from it."""
    if services:
        struct = Struct()
        struct.update({"services": [{"host": s.host, "name": s.name, "namespace": s.namespace} for s in services]})
        cluster.metadata.filter_metadata["istio"].CopyFrom(struct)


def _secure(cluster: Cluster, service: Service, port: Port, subset: str, tls: Tls | None) -> None:
    # Every instance's principal, not only the subset's: moving a workload between subsets must not need a new cluster.
    principals = [*service.sans, *(e.principal for e in service.endpoints.get(port.number, ()) if e.principal)]
    name = sni(service.host, port.number, subset)
    if tls is None:
        if service.external:
            return
        mutual = upstream_mutual(name, principals, _MUTUAL_ALPN[port.protocol])
        for match, label, socket in (
            ({"tlsMode": "istio"}, "tlsMode-istio", mutual),
            ({}, "tlsMode-disabled", raw()),
        ):
            entry = cluster.transport_socket_matches.add(name=label, transport_socket=socket)
            entry.match.update(match)
    elif tls.mode is TlsMode.ISTIO_MUTUAL:
        cluster.transport_socket.CopyFrom(upstream_mutual(name, principals, _MUTUAL_ALPN[port.protocol]))
    elif tls.mode is TlsMode.SIMPLE:
        server = tls.sni or service.host
        names = tls.sans or service.sans or (server,)
        cluster.transport_socket.CopyFrom(upstream_simple(server, names, _ALPN[port.protocol]))
