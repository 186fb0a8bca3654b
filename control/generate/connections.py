"""Connections that are relayed as bytes: TCP proxies, and the rules by which they are shared out."""

from collections.abc import Iterator, Mapping, Sequence

from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy

from control.generate.managers import access_log
from control.generate.names import (
    BLACK_HOLE,
    INBOUND_PASSTHROUGH,
    PASSTHROUGH,
    full_host,
    outbound_cluster,
    relayed_cluster,
    within,
)
from control.generate.pack import pack
from control.generate.tls import downstream_files
from control.generate.virtual_hosts import MESH, best_rule, exposed
from control.ir.matches import Audience
from control.ir.mesh import GatewayServer, Mesh
from control.ir.proxy import Proxy
from control.ir.routes import ConnectionRoute, Destination, Share
from control.ir.services import Port, Protocol, Service
from control.ir.settings import MeshSettings

CONNECT_ATTEMPTS = 3
"""Endpoints that a connection knocks at: nothing of it has been sent by then, so trying again is safe."""


class ConnectionRouter:
    """The rules for connections as one proxy sees them."""

    def __init__(self, mesh: Mesh, proxy: Proxy) -> None:
        self._mesh = mesh
        self._proxy = proxy

    def service(self, host: str) -> Service | None:
        """The service that the workload means by a host."""
        return self._mesh.services.get(full_host(host, self._proxy.namespace, self._mesh.services))

    def outbound(self, service: Service | None, port: Port | None) -> Iterator[FilterChain]:
        """Chains for a workload's connections to a port of a service; to one that does not exist, to nowhere."""
        if service is None or port is None:
            yield self._chain({BLACK_HOLE: 1})
            return
        named = self._named(service, port)
        for route in named:
            yield self._chain(self._shares(route.shares, port.number), route.server_names)
        if not named:
            yield self._chain(self._unnamed(service, port))

    def ruled(self, service: Service, port: Port) -> bool:
        """Whether some rule says where connections to a port of a service go."""
        return bool(self._rules(service, port))

    def tunnel(self, service: Service, port: Port) -> dict[str, int]:
        """Clusters by weight for a CONNECT to a port of a service. Of rules by server name the one that names the
        service counts: what is said inside the tunnel is not looked at."""
        named = self._named(service, port)
        for route in named:
            if any(within(service.host, name) for name in route.server_names):
                return self._shares(route.shares, port.number)
        return {BLACK_HOLE: 1} if named else self._unnamed(service, port)

    def _named(self, service: Service, port: Port) -> list[ConnectionRoute]:
        """The rules by server name."""
        if port.protocol is not Protocol.TLS:
            return []
        return [route for route in self._rules(service, port) if route.server_names]

    def _unnamed(self, service: Service, port: Port) -> dict[str, int]:
        """By the first rule without server names; where there is none, to the service."""
        for route in self._rules(service, port):
            if not route.server_names:
                return self._shares(route.shares, port.number)
        return self._shares((Share(Destination(service.host, port=port.number)),), port.number)

    def _rules(self, service: Service, port: Port) -> list[ConnectionRoute]:
        rule = best_rule(self._mesh, service.host)
        found = () if rule is None else rule.connections
        return [route for route in found if self._has(route.audience, MESH, port.number)]

    def gateway(self, servers: Sequence[tuple[str, GatewayServer]]) -> Iterator[FilterChain]:
        """Chains for connections from outside to one address of a gateway."""
        for name, server in servers:
            if server.protocol.requests:
                continue
            chains = [*self._gateway_chains(name, server)]
            if not chains:  # no rule yet: connections are accepted and closed
                chains = [self._secured(self._chain({BLACK_HOLE: 1}), server, ())]
            yield from chains

    def _gateway_chains(self, name: str, server: GatewayServer) -> Iterator[FilterChain]:
        passed_through = server.protocol is Protocol.TLS and server.tls is None
        for rule in self._mesh.routes:
            hosts = exposed(rule, server) if name in rule.gateways else []
            if not hosts:
                continue
            for route in rule.connections:
                if bool(route.server_names) is not passed_through or not self._has(route.audience, name, server.port):
                    continue
                shares = self._shares(route.shares, server.port)
                if passed_through:
                    names = [n for n in route.server_names if any(within(n, host) for host in hosts)]
                    if names:
                        yield self._chain(shares, names)
                else:
                    wanted = () if "*" in hosts or server.tls is None else tuple(hosts)
                    yield self._secured(self._chain(shares), server, wanted)
                    break

    def _secured(self, chain: FilterChain, server: GatewayServer, names: Sequence[str]) -> FilterChain:
        """With TLS that the gateway ends, if it does."""
        if server.tls is not None:
            chain.transport_socket.CopyFrom(downstream_files(server.tls, ()))
        if server.tls is not None or server.protocol is Protocol.TLS:
            chain.filter_chain_match.transport_protocol = "tls"
            chain.filter_chain_match.server_names.extend(sorted(set(names)))
        return chain

    def _has(self, to: Audience, gateway: str, port: int) -> bool:
        if to.gateways and gateway not in to.gateways:
            return False
        if to.port is not None and to.port != port:
            return False
        if gateway != MESH:
            # Who a connection through a gateway comes from is not known by workload, so labels say nothing there.
            return not to.labels and to.namespace is None
        return dict(to.labels).items() <= self._proxy.labels.items() and to.namespace in (None, self._proxy.namespace)

    def _shares(self, shares: Sequence[Share], port: int) -> dict[str, int]:
        found: dict[str, int] = {}
        for share in shares:
            name = self._cluster(share.destination, port)
            found[name] = found.get(name, 0) + share.weight
        return found

    def _cluster(self, destination: Destination, port: int) -> str:
        service = self._mesh.services.get(destination.host)
        if service is None:
            return BLACK_HOLE
        known = service.port(destination.port or service.only_port or port)
        if known is None:
            return BLACK_HOLE
        subsets = self._mesh.destination(service, self._proxy.namespace).subsets
        if destination.subset and destination.subset not in subsets:
            return BLACK_HOLE
        if known.protocol is Protocol.AUTO:
            return relayed_cluster(service.host, known.number, destination.subset)
        return outbound_cluster(service.host, known.number, destination.subset)

    def _chain(self, shares: Mapping[str, int], names: Sequence[str] = ()) -> FilterChain:
        chain = FilterChain(filters=[tcp_filter(shares, self._mesh.settings)])
        if names:
            chain.filter_chain_match.transport_protocol = "tls"
            if "*" not in names:
                chain.filter_chain_match.server_names.extend(sorted(set(names)))
        return chain


def tcp_filter(shares: Mapping[str, int], settings: MeshSettings) -> Filter:
    """A TCP proxy to clusters by weight."""
    clusters = list(shares)
    proxy = TcpProxy(stat_prefix=clusters[0])
    if clusters[0] not in (PASSTHROUGH, INBOUND_PASSTHROUGH):  # there is one endpoint
        proxy.max_connect_attempts.value = CONNECT_ATTEMPTS
    if len(clusters) == 1:
        proxy.cluster = clusters[0]
    else:
        for name in clusters:
            proxy.weighted_clusters.clusters.add(name=name, weight=shares[name])
    if settings.access_log:
        proxy.access_log.append(access_log())
    return Filter(name="envoy.filters.network.tcp_proxy", typed_config=pack(proxy))
