"""Route tables: the outbound listener's, with a virtual host for each port of each service, and the gateways'."""

from collections.abc import Iterable, Iterator, Mapping

from envoy.config.route.v3.route_components_pb2 import Route as RouteMessage
from envoy.config.route.v3.route_components_pb2 import VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from control.generate.actions import route as route_message
from control.generate.entries import Entry
from control.generate.memory import memory_of
from control.generate.names import BLACK_HOLE, PASSTHROUGH, inbound_cluster, outbound_cluster, service_names, within
from control.generate.pack import duration
from control.generate.types import RDS
from control.ir.matches import RequestMatch
from control.ir.mesh import Gateway, GatewayServer, Mesh
from control.ir.proxy import AppPort, Proxy
from control.ir.routes import DEFAULT_RETRY, Destination, Forward, HostRoutes, Route, Share
from control.ir.services import Port, Protocol, Service

UNKNOWN_HOST_STATUS = 502
"""To hosts that nobody knows."""

OUTBOUND = "outbound"
MESH = "mesh"


class Router:
    """The rules as one proxy sees them."""

    def __init__(self, mesh: Mesh, proxy: Proxy) -> None:
        self._mesh = mesh
        self._proxy = proxy

    def outbound(self) -> RouteConfiguration:
        """For requests of the workload's application; a host that nobody knows is answered 502."""
        table = RouteConfiguration(name=OUTBOUND)
        taken: set[str] = set()
        rules = [rule for rule in self._mesh.routes if MESH in rule.gateways]
        for service in self._mesh.services.values():
            rule = best_rule(self._mesh, service.host)
            for port in service.ports:
                if port.protocol in (Protocol.TCP, Protocol.TLS):
                    continue
                domains = _domains(service, port, self._proxy.namespace, taken)
                if domains:
                    table.virtual_hosts.append(self.service_host(service, port, rule, domains))
        for rule in rules:
            for host in rule.hosts:
                domains = [d for d in _named_domains(host) if d not in taken]
                if host not in self._mesh.services and domains and rule.routes:
                    taken.update(domains)
                    routes = [self._route(each, None) for each in self._audience(rule, MESH, None)]
                    table.virtual_hosts.append(VirtualHost(name=f"{host}:*", domains=domains, routes=routes))
        table.virtual_hosts.append(_block_all())
        return table

    def captured(self, number: int) -> Entry:
        """The table for requests that were going to a port number, whoever's: by host, or by a service's address. A
        host that nobody knows is reached as the client meant to.

        Put together of bytes, as protobuf would: of a thousand hosts most are the same as in the table before."""
        fields = [RouteConfiguration(name=str(number)).SerializeToString()]
        taken: set[str] = set()
        for service in self._mesh.services.values():
            port = service.port(number)
            if port is None or not port.protocol.requests:
                continue
            domains: tuple[str, ...] = self._captured_domains(service, number)
            if not taken.isdisjoint(domains):
                domains = tuple(each for each in domains if each not in taken)
            if domains:
                taken.update(domains)
                fields.append(self._host_field(service, port, best_rule(self._mesh, service.host), domains))
        last = _allow_any() if self._mesh.settings.allow_any else _block_all()
        rest = RouteConfiguration(virtual_hosts=[*self._hosts_of_rules(number, taken), last])
        fields.append(rest.SerializeToString(deterministic=True))
        return Entry(str(number), RDS, b"".join(fields))

    def _captured_domains(self, service: Service, number: int) -> tuple[str, ...]:
        def make() -> tuple[str, ...]:
            names = [*service_names(service, self._proxy.namespace), *map(_in_authority, service.addresses)]
            return tuple(dict.fromkeys(each for name in names for each in (name, f"{name}:{number}")))

        near = service.namespace == self._proxy.namespace
        return memory_of(self._mesh).part((Router, "domains", service.host, number, near), (service,), make)

    def _host_field(self, service: Service, port: Port, rule: HostRoutes | None, domains: tuple[str, ...]) -> bytes:
        """The service's virtual host as a table has it (field 2), the same for all whom the rule tells the same."""

        def make() -> bytes:
            host = self.service_host(service, port, rule, [*domains])
            return bytes(RouteConfiguration(virtual_hosts=[host]).SerializeToString(deterministic=True))

        routes = [] if rule is None or not rule.routes else [*self._audience(rule, MESH, port.number)]
        clusters = tuple(self._cluster(each, port.number) for route in routes for each in _destinations(route))
        known = bool(rule is not None and rule.routes)
        key = Router, "host", service.host, port.number, domains, known, clusters
        return memory_of(self._mesh).part(key, tuple(routes), make)

    def _hosts_of_rules(self, number: int, taken: set[str]) -> Iterator[VirtualHost]:
        """Hosts that rules name and no service has."""
        for rule in self._mesh.routes:
            for host in rule.hosts if MESH in rule.gateways else ():
                domains = [d for d in _named_domains(host, (number,)) if d not in taken]
                if host not in self._mesh.services and domains and rule.routes:
                    taken.update(domains)
                    routes = [self._route(each, number) for each in self._audience(rule, MESH, number)]
                    yield VirtualHost(name=f"{host}:{number}", domains=domains, routes=routes)

    def gateway(self, ports: list[int], gateways: list[tuple[str, Gateway, GatewayServer]]) -> RouteConfiguration:
        """For requests from outside to one address, which Gateways may call by several port numbers; a host that no
        rule names is answered 404."""
        hosts: dict[str, list[RouteMessage]] = {}
        known: set[tuple[str, bytes]] = set()
        for rule in self._mesh.routes:
            for name, _, server in gateways:
                if name not in rule.gateways or not rule.routes:
                    continue
                for host in exposed(rule, server):
                    routes = hosts.setdefault(host, [])
                    for each in self._audience(rule, name, server.port):
                        route = self._route(each, server.port)
                        key = host, route.SerializeToString(deterministic=True)
                        if key not in known:
                            known.add(key)
                            routes.append(route)
        table = RouteConfiguration(name=f"http.{ports[0]}")
        bound = self._proxy.gateway_ports[ports[0]].port
        for host in sorted(hosts):
            # Of rules merged under one host, what catches everything must not hide the others (as in Istio).
            routes = sorted(hosts[host], key=_catches_everything)
            domains = _named_domains(host, (*ports, bound))
            table.virtual_hosts.append(VirtualHost(name=f"{host}:{ports[0]}", domains=domains, routes=routes))
        return table

    def service_host(self, service: Service, port: Port, rule: HostRoutes | None, domains: list[str]) -> VirtualHost:
        """Requests for a port of a service, by the rule that there is for it."""
        if rule is None or not rule.routes:
            routes = [_default_route(self._mesh, service, port)]
        else:
            routes = [self._route(r, port.number) for r in self._audience(rule, MESH, port.number)]
        return VirtualHost(name=host_name(service, port), domains=domains, routes=routes)

    def _audience(self, rule: HostRoutes, gateway: str, port: int | None) -> Iterator[Route]:
        """The rule's routes that this proxy has."""
        for route in rule.routes:
            to = route.audience
            if to.gateways and gateway not in to.gateways:
                continue
            if to.port is not None and port is not None and to.port != port:
                continue
            # Who a request through a gateway comes from is not known by workload, so labels say nothing there.
            if gateway == MESH:
                if not dict(to.labels).items() <= self._proxy.labels.items():
                    continue
                if to.namespace is not None and to.namespace != self._proxy.namespace:
                    continue
            elif to.labels or to.namespace is not None:
                continue
            yield route

    def _route(self, route: Route, port: int | None) -> RouteMessage:
        return route_message(route, lambda destination: self._cluster(destination, port))

    def _cluster(self, destination: Destination, port: int | None) -> str:
        service = self._mesh.services.get(destination.host)
        if service is None:
            return BLACK_HOLE
        number = destination.port or service.only_port or port
        if number is None or all(each.number != number for each in service.ports):
            return BLACK_HOLE
        subsets = self._mesh.destination(service, self._proxy.namespace).subsets
        if destination.subset and destination.subset not in subsets:
            return BLACK_HOLE
        return outbound_cluster(service.host, number, destination.subset)


def _destinations(route: Route) -> list[Destination]:
    """All that a route leads to."""
    if not isinstance(route.action, Forward):
        return []
    return [*(each.destination for each in route.action.shares), *(each.destination for each in route.action.copies)]


def _default_route(mesh: Mesh, service: Service, port: Port) -> RouteMessage:
    """Where there is no rule. The same for all clients, and for most services the only one."""
    key = _default_route, service.host, port.number
    cluster = outbound_cluster(service.host, port.number)
    return memory_of(mesh).part(key, (), lambda: _only_route(service, port, cluster))


def _only_route(service: Service, port: Port, cluster: str) -> RouteMessage:
    default = Forward((Share(Destination(service.host, port=port.number)),), retry=DEFAULT_RETRY)
    return route_message(Route("default", RequestMatch(), default), lambda _: cluster)


def host_name(service: Service, port: Port) -> str:
    """The virtual host's name for a port of a service."""
    return f"{service.host}:{port.number}"


def service_table(router: Router, mesh: Mesh, service: Service, port: Port) -> RouteConfiguration:
    """One port of one service, whatever host a request names."""
    rule = best_rule(mesh, service.host)
    host = router.service_host(service, port, rule, ["*"])
    return RouteConfiguration(name=f"{service.host}:{port.number}", virtual_hosts=[host])


def instance_table(service: Service, port: Port, cluster: str) -> RouteConfiguration:
    """One port of one instance, whatever host a request names."""
    host = VirtualHost(name=host_name(service, port), domains=["*"], routes=[_only_route(service, port, cluster)])
    return RouteConfiguration(name=f"{service.host}:{port.number}", virtual_hosts=[host])


def inbound_table(ports: tuple[AppPort, ...]) -> RouteConfiguration:
    """To the application. All ports arrive at one address, so the port in the authority tells them apart; without one,
    or with another, the first port is meant."""
    table = RouteConfiguration(name="inbound")
    for index, port in enumerate(ports):
        domains = ["*"] if index == 0 else [f"*:{port.number}"]
        route = RouteMessage(name="default")
        route.match.prefix = "/"
        route.route.cluster = inbound_cluster(port.number)
        route.route.timeout.CopyFrom(duration(0))
        table.virtual_hosts.append(VirtualHost(name=f"inbound|http|{port.number}", domains=domains, routes=[route]))
    return table


class RulesByHost:
    """The rules of requests within the mesh, by the hosts that they name."""

    def __init__(self, rules: Iterable[HostRoutes], services: Mapping[str, Service]) -> None:
        self._named: dict[str, HostRoutes] = {}
        self._wild: list[tuple[str, HostRoutes]] = []
        for rule in rules:
            for pattern in rule.hosts:
                known = self._named.setdefault(pattern, rule)
                if known is rule and pattern.startswith("*"):
                    self._wild.append((pattern, rule))
                elif pattern in services and rule.namespace == services[pattern].namespace != known.namespace:
                    self._named[pattern] = rule
        self._wild.sort(key=lambda each: -len(each[0]))

    def best(self, host: str) -> HostRoutes | None:
        """The rule that names the host itself, else the one with the longest wildcard; of equals the one of the host's
        own namespace, else the oldest."""
        named = self._named.get(host)
        if named is not None:
            return named
        return next((rule for pattern, rule in self._wild if pattern == "*" or host.endswith(pattern[1:])), None)


def best_rule(mesh: Mesh, host: str) -> HostRoutes | None:
    """What holds within the mesh for requests to `host`."""
    known: RulesByHost | None = mesh.parts.get(RulesByHost)
    if known is None:
        rules = (rule for rule in mesh.routes if MESH in rule.gateways)
        known = mesh.parts[RulesByHost] = RulesByHost(rules, mesh.services)
    return known.best(host)


def _domains(service: Service, port: Port, namespace: str, taken: set[str]) -> list[str]:
    """Every name with the port; without it for the port that a URL without one means, or the service's first."""
    spoken = [p.number for p in service.ports if p.protocol not in (Protocol.TCP, Protocol.TLS)]
    default = 80 if 80 in spoken else spoken[0]
    domains = []
    for name in service_names(service, namespace):
        candidates = [name, f"{name}:{port.number}"] if port.number == default else [f"{name}:{port.number}"]
        domains += [domain for domain in candidates if domain not in taken]
    taken.update(domains)
    return domains


def _named_domains(host: str, ports: Iterable[int] = (80,)) -> list[str]:
    """With any port where that can be said; a wildcard is at one end only, so there with the ports that are likely."""
    if host == "*":
        return ["*"]
    if host.startswith("*"):
        return [host, *(f"{host}:{port}" for port in sorted(set(ports)))]
    return [host, f"{host}:*"]


def exposed(rule: HostRoutes, server: GatewayServer) -> list[str]:
    """The hosts that both the rule and the gateway's server name, the narrower of the two each time."""
    found = []
    for pattern, namespace in zip(server.hosts, server.namespaces, strict=True):
        if namespace not in ("*", rule.namespace):
            continue
        for host in rule.hosts:
            if within(host, pattern):
                found.append(host)
            elif within(pattern, host):
                found.append(pattern)
    return list(dict.fromkeys(found))


def _catches_everything(route: RouteMessage) -> bool:
    match = route.match
    return match.prefix == "/" and not match.headers and not match.query_parameters


def block(host: VirtualHost) -> None:
    """Requests to it are answered as those to hosts that nobody knows; CONNECT too."""
    for name in ("prefix", "connect"):
        route = RouteMessage(name="block_all")
        if name == "prefix":
            route.match.prefix = "/"
        else:
            route.match.connect_matcher.SetInParent()
        route.direct_response.status = UNKNOWN_HOST_STATUS
        host.routes.append(route)


def _allow_any() -> VirtualHost:
    route = RouteMessage(name="allow_any")
    route.match.prefix = "/"
    route.route.cluster = PASSTHROUGH
    route.route.timeout.CopyFrom(duration(0))
    return VirtualHost(name="allow_any", domains=["*"], routes=[route])


def _in_authority(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _block_all() -> VirtualHost:
    host = VirtualHost(name="block_all", domains=["*"])
    block(host)
    return host
