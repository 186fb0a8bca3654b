"""Listeners and routes of a captured workload, whose own connections are redirected to its sidecar.

All arrive at `virtualOutbound`, which hands each to the listener of the address that it was going to; those have no
sockets. A service with addresses of its own has a listener at each for every port that carries bytes, or nobody knows
what; ports of requests have one for their number, whose routes tell services apart by host. A headless service's
instances have listeners of their own, since whoever asks for one of them means that one. Names are Istio's:
`ADDRESS_PORT`, `0.0.0.0_PORT`; what nobody knows goes on to where it was going (`PassthroughCluster`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from envoy.config.core.v3.base_pb2 import TrafficDirection
from envoy.config.listener.v3.listener_components_pb2 import FilterChain, FilterChainMatch
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.message import Message

from control.generate.clusters import instance_clusters
from control.generate.connections import ConnectionRouter, tcp_filter
from control.generate.entries import Entry, entry
from control.generate.listeners import HTTP_IN_PLAINTEXT, VIRTUAL_OUTBOUND, detect_http, detect_tls, listener
from control.generate.managers import http_filter, http_manager
from control.generate.memory import memory_of
from control.generate.names import BLACK_HOLE, PASSTHROUGH, instance_cluster, instance_relayed_cluster
from control.generate.original import passthrough
from control.generate.places import (
    ANYWHERE,
    OUTBOUND_PORT,
    Place,
    families,
    places,
    request_ranges,
    shared_numbers,
    virtual_name,
)
from control.generate.resources import Resources
from control.generate.tls import ads
from control.generate.virtual_hosts import Router, best_rule, instance_table, service_table
from control.ir.address import Address
from control.ir.mesh import Mesh
from control.ir.proxy import Proxy
from control.ir.services import Endpoint, Port, Protocol, Resolution, Service


@dataclass(frozen=True, slots=True, eq=False)
class Captured:
    """What the own connections of all workloads meet that have the same versions of IP in a namespace, and to whom the
    same routes are addressed."""

    listeners: Resources
    routes: Resources
    clusters: Resources
    """Besides those that every proxy has."""


def captured_outbound(mesh: Mesh, proxy: Proxy) -> Captured:
    """For one workload; made once for all of them."""
    key = captured_outbound, proxy.namespace, mesh.addressed(proxy), families(proxy)

    def make(before: Captured | None) -> Captured:
        return _make(CapturedOutbound(mesh, proxy), before)

    return memory_of(mesh).part(key, (mesh.shape,), lambda: make(None), make)


def _make(outbound: "CapturedOutbound", before: Captured | None) -> Captured:
    listeners, routes = Resources(outbound.listeners(), shared=True), Resources(outbound.tables(), shared=True)
    clusters = Resources(outbound.clusters(), shared=True)
    if before is not None:
        listeners, routes = listeners.kept(before.listeners), routes.kept(before.routes)
        clusters = clusters.kept(before.clusters)
    return Captured(listeners, routes, clusters)


class CapturedOutbound:
    """What the connections of one captured workload meet. Of a service for which there are no rules all namespaces have
    the same, so that is made once."""

    def __init__(self, mesh: Mesh, proxy: Proxy) -> None:
        self._mesh = mesh
        self._proxy = proxy
        self._families = families(proxy)
        self._router = Router(mesh, proxy)
        self._connections = ConnectionRouter(mesh, proxy)
        self._memory = memory_of(mesh)
        self._shared = shared_numbers(mesh.services.values())

    def listeners(self) -> dict[str, Entry]:
        """All of them, no two at one address; where services claim the same, the first has it."""
        found: dict[str, Entry] = {}
        for each in map(self._virtual, self._families):
            found[each.name] = self._entry(each.name, each)
        for number in self._shared:
            for family in self._families:
                found.update(self._wildcard_listener(number, family))
        for service in self._mesh.services.values():
            for name, made in self._exact_listeners(service).items():
                found.setdefault(name, made)
        return found

    def _wildcard_listener(self, number: int, family: int) -> Mapping[str, Entry]:
        def make() -> dict[str, Entry]:
            made = self._wildcard(number, family)
            return {made.name: self._entry(made.name, made)}

        by_name = [service for service, port in self._shared[number] if not port.protocol.requests]
        if any(best_rule(self._mesh, service.host) is not None for service in by_name):
            return make()
        return self._memory.part((CapturedOutbound, "wildcard", number, family), (self._mesh.shape,), make)

    def _exact_listeners(self, service: Service) -> Mapping[str, Entry]:
        if best_rule(self._mesh, service.host) is not None:
            return self._make_exact(service)
        key = CapturedOutbound, "listeners", service.host, self._families
        return self._memory.part(key, (service, self._mesh.settings), lambda: self._make_exact(service))

    def _make_exact(self, service: Service) -> dict[str, Entry]:
        made = (self._exact(service, place) for place in places(service, self._families))
        return {each.name: self._entry(each.name, each) for each in made}

    def _entry(self, name: str, message: Message) -> Entry:
        return self._memory.one(entry(name, message))

    def tables(self) -> dict[str, Entry]:
        """Routes of the ports that carry requests, named by their numbers as Istio's."""
        numbers = (number for number, ports in self._shared.items() if any(p.protocol.requests for _, p in ports))
        return {str(number): self._router.captured(number) for number in numbers}

    def clusters(self) -> dict[str, Entry]:
        """Besides those that every proxy has: of single instances, and the one past the mesh."""
        beyond = passthrough()
        found = {beyond.name: self._entry(beyond.name, beyond)}
        for service in self._mesh.services.values():
            if not service.addresses and service.resolution is Resolution.PUSHED:
                found.update(self._instances(service))
        return found

    def _instances(self, service: Service) -> Mapping[str, Entry]:
        settings = self._mesh.settings
        destination = self._mesh.destination(service, self._proxy.namespace)

        def make() -> dict[str, Entry]:
            made = (
                cluster
                for place in places(service, self._families)
                if place.instance is not None
                for cluster in instance_clusters(service, destination, settings, place.port, place.instance)
            )
            return {each.name: self._entry(each.name, each) for each in made}

        key = CapturedOutbound, "clusters", service.host, self._families, id(destination)
        return self._memory.part(key, (service, destination, settings), make)

    # listeners

    def _virtual(self, family: int) -> Listener:
        """Takes what is redirected. What has no listener of its own goes on to where it was going, unless that is here:
        then nothing redirected it, and it would come back for ever."""
        here = FilterChain(name="virtualOutbound-blackhole", filters=[tcp_filter({BLACK_HOLE: 1}, self._mesh.settings)])
        here.filter_chain_match.destination_port.value = OUTBOUND_PORT
        name = virtual_name(VIRTUAL_OUTBOUND, self._proxy, family)
        chains = [here, self._unknown("virtualOutbound-catchall-tcp")]
        made = listener(name, Address(ANYWHERE[family], OUTBOUND_PORT), TrafficDirection.OUTBOUND, chains)
        made.use_original_dst.value = True
        return made

    def _unknown(self, name: str) -> FilterChain:
        settings = self._mesh.settings
        cluster = PASSTHROUGH if settings.allow_any else BLACK_HOLE
        return FilterChain(name=name, filters=[tcp_filter({cluster: 1}, settings)])

    def _exact(self, service: Service, place: Place) -> Listener:
        """A port of one service, or of one of its instances."""
        port = place.port
        chains: list[FilterChain] = []
        auto = port.protocol is Protocol.AUTO
        name = _name(place.at)
        if port.protocol.requests or auto:
            manager = http_manager(f"outbound_{name}", self._mesh.settings)
            manager.route_config.CopyFrom(self._table(service, port, place.instance))
            match = FilterChainMatch(application_protocols=HTTP_IN_PLAINTEXT) if auto else None
            chains.append(FilterChain(name="http", filter_chain_match=match, filters=[http_filter(manager)]))
        if not port.protocol.requests:
            chains += self._relays(service, port, place.instance)
        made = listener(name, place.at, TrafficDirection.OUTBOUND, chains)
        made.bind_to_port.value = False
        if auto:
            detect_http(made)
        if any(chain.filter_chain_match.server_names for chain in chains):
            detect_tls(made)
        return made

    def _table(self, service: Service, port: Port, instance: Endpoint | None) -> RouteConfiguration:
        rule = best_rule(self._mesh, service.host)
        if instance is None or (rule is not None and rule.routes):
            return service_table(self._router, self._mesh, service, port)
        return instance_table(service, port, instance_cluster(service.host, port.number, instance.address.host))

    def _relays(self, service: Service, port: Port, instance: Endpoint | None) -> list[FilterChain]:
        """To the instance that was meant, where no rule says otherwise."""
        if instance is None or self._connections.ruled(service, port):
            return [*self._connections.outbound(service, port)]
        named = instance_relayed_cluster if port.protocol is Protocol.AUTO else instance_cluster
        cluster = named(service.host, port.number, instance.address.host)
        return [FilterChain(filters=[tcp_filter({cluster: 1}, self._mesh.settings)])]

    def _wildcard(self, number: int, family: int) -> Listener:
        """A number at any address; what it is told apart by is looked at, and the rest is passed on."""
        at = Address(ANYWHERE[family], number)
        name = _name(at)
        ports = self._shared[number]
        chains: list[FilterChain] = []
        if any(port.protocol.requests for _, port in ports):
            manager = http_manager(f"outbound_{name}", self._mesh.settings)
            manager.rds.route_config_name = str(number)
            manager.rds.config_source.CopyFrom(ads())
            requests = http_filter(manager)
            # What is going to a service whose port carries requests carries requests: nobody waits to see them, and a
            # client that takes its time is not passed by the mesh.
            known = FilterChainMatch(prefix_ranges=request_ranges(ports, family))
            if known.prefix_ranges:
                chains.append(FilterChain(name="http", filter_chain_match=known, filters=[requests]))
            match = FilterChainMatch(application_protocols=HTTP_IN_PLAINTEXT)
            chains.append(FilterChain(name="http-elsewhere", filter_chain_match=match, filters=[requests]))
        taken: set[str] = set()
        for service, port in ports:
            if not port.protocol.requests:
                chains += self._by_server_name(service, port, taken)
        made = listener(name, at, TrafficDirection.OUTBOUND, chains)
        made.bind_to_port.value = False
        made.default_filter_chain.CopyFrom(self._unknown("PassthroughFilterChain"))
        if any(port.protocol.requests for _, port in ports):
            detect_http(made)
        if taken:
            detect_tls(made)
        return made

    def _by_server_name(self, service: Service, port: Port, taken: set[str]) -> Iterator[FilterChain]:
        """A name is the first service's that has it."""
        for chain in self._connections.outbound(service, port):
            match = chain.filter_chain_match
            names = [each for each in match.server_names or [service.host] if each not in taken]
            del match.server_names[:]
            if names:
                taken.update(names)
                match.transport_protocol = "tls"
                match.server_names.extend(names)
                yield chain


def _name(at: Address) -> str:
    return f"[{at.host}]_{at.port}" if ":" in at.host else f"{at.host}_{at.port}"
