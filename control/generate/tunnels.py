"""Routes for CONNECT: how an application whose HTTPS_PROXY is its sidecar reaches the ports that carry no requests.

To ports of requests there is none: a tunnel would hide them from their rules. A host that nobody knows is answered as
any request to it is.
"""

from collections.abc import Sequence

from envoy.config.route.v3.route_components_pb2 import RetryPolicy, RouteAction, WeightedCluster
from envoy.config.route.v3.route_components_pb2 import Route as RouteMessage
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from control.generate.connections import CONNECT_ATTEMPTS, ConnectionRouter
from control.generate.names import service_names
from control.generate.pack import duration
from control.generate.virtual_hosts import block, host_name
from control.ir.mesh import Mesh
from control.ir.proxy import Proxy
from control.ir.services import Service

TUNNEL = "tunnel"
"""The routes' name, as access records tell it."""

IDLE_S = 3600
"""A tunnel on which nobody speaks ends after this long, as a relayed connection does."""


def add_tunnels(table: RouteConfiguration, mesh: Mesh, proxy: Proxy) -> None:
    """To the outbound table of a workload."""
    connections = ConnectionRouter(mesh, proxy)
    known = {host.name: host for host in table.virtual_hosts}
    taken = {domain for host in table.virtual_hosts for domain in host.domains}
    for service in mesh.services.values():
        for port in service.ports:
            if port.protocol.requests:
                continue
            name = host_name(service, port)
            host = known.get(name)
            if host is None:
                domains = [each for each in _domains(service, proxy.namespace, port.number) if each not in taken]
                if not domains:
                    continue
                taken.update(domains)
                host = table.virtual_hosts.add(name=name, domains=domains)
                host.routes.append(_tunnel(connections.tunnel(service, port)))
                block(host)
            else:
                host.routes.append(_tunnel(connections.tunnel(service, port)))


def _domains(service: Service, namespace: str, port: int) -> Sequence[str]:
    return [f"{name}:{port}" for name in service_names(service, namespace)]


def _tunnel(shares: dict[str, int]) -> RouteMessage:
    route = RouteMessage(name=TUNNEL)
    route.match.connect_matcher.SetInParent()
    action: RouteAction = route.route
    if len(shares) == 1:
        (action.cluster,) = shares
    else:
        for name, weight in shares.items():
            weighted = WeightedCluster.ClusterWeight(name=name)
            weighted.weight.value = weight
            action.weighted_clusters.clusters.append(weighted)
    action.timeout.CopyFrom(duration(0))
    action.idle_timeout.CopyFrom(duration(IDLE_S))
    # Nothing of it has been sent by then.
    action.retry_policy.CopyFrom(RetryPolicy(retry_on="connect-failure"))
    action.retry_policy.num_retries.value = CONNECT_ATTEMPTS - 1
    action.upgrade_configs.add(upgrade_type="CONNECT").connect_config.SetInParent()
    return route
