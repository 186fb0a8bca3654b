"""What proxies reach: the clusters and endpoints that those of a namespace have in common, and usually all of a mesh.

Made service by service, each from the service and the policy that holds for it and remade when one of the two is
another object, so that a pod that comes or goes costs its own service's part.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from control.generate.clusters import black_hole, relayed_clusters, service_clusters
from control.generate.entries import Entry, entry
from control.generate.memory import memory_of
from control.generate.names import BLACK_HOLE
from control.generate.resources import EMPTY, Resources
from control.ir.mesh import Mesh
from control.ir.policies import DestinationPolicy
from control.ir.services import Service
from control.ir.settings import MeshSettings


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """One service's."""

    service: Service
    destination: DestinationPolicy
    settings: MeshSettings
    clusters: Mapping[str, Entry]
    relayed: Mapping[str, Entry]
    relayed_ports: Mapping[str, int]
    endpoints: Mapping[str, Entry]

    def fits(self, service: Service, destination: DestinationPolicy, settings: MeshSettings) -> bool:
        return self.service is service and self.destination is destination and self.settings is settings


@dataclass(frozen=True, slots=True, eq=False)
class Upstreams:
    """For clients with the same policies."""

    parts: Mapping[str, _Part]
    """By host."""
    clusters: Resources
    """With the black hole."""
    all_clusters: Resources
    """With those for connections that are relayed, too."""
    endpoints: Resources

    def relayed(self, ports: frozenset[int]) -> dict[str, Entry]:
        """Clusters for connections to ports of these numbers whose protocol nobody has said."""
        return {
            name: made
            for part in self.parts.values()
            for name, made in part.relayed.items()
            if part.relayed_ports[name] in ports
        }


def upstreams(mesh: Mesh, namespace: str) -> Upstreams:
    """What a client of a namespace may reach."""
    key = _make, view_of(mesh, namespace)
    known: Upstreams | None = mesh.parts.get(key)
    if known is None:
        known = mesh.parts[key] = memory_of(mesh).part(
            key,
            (mesh.services, mesh.destinations, mesh.settings),
            lambda: _make(mesh, namespace, None),
            lambda before: _make(mesh, namespace, before),
        )
    return known


def view_of(mesh: Mesh, namespace: str) -> str | None:
    """A namespace that sees policies of its own, or None: what all others see."""
    return namespace if namespace in _namespaces_of_their_own(mesh) else None


def _namespaces_of_their_own(mesh: Mesh) -> frozenset[str]:
    """Those whose rules say something of other namespaces' services: all others see the same policies."""
    found: frozenset[str] | None = mesh.parts.get(_namespaces_of_their_own)
    if found is None:
        hosts = ((namespace, mesh.services.get(host)) for namespace, host in mesh.destinations)
        own = (namespace for namespace, service in hosts if service is None or service.namespace != namespace)
        found = mesh.parts[_namespaces_of_their_own] = frozenset(own)
    return found


def _make(mesh: Mesh, namespace: str, before: Upstreams | None) -> Upstreams:
    known = before.parts if before is not None else {}
    parts: dict[str, _Part] = {}
    for host, service in mesh.services.items():
        destination = mesh.destination(service, namespace)
        part = known.get(host)
        if part is None or not part.fits(service, destination, mesh.settings):
            part = _part(service, destination, mesh.settings)
        parts[host] = part
    gone = [part for host, part in known.items() if parts.get(host) is not part]
    come = [part for host, part in parts.items() if known.get(host) is not part]
    if before is None:
        hole = {BLACK_HOLE: entry(BLACK_HOLE, black_hole())}
        clusters, endpoints, relayed = Resources(hole, shared=True), EMPTY, EMPTY
    elif not gone and not come:
        return before
    else:
        clusters, endpoints = before.clusters, before.endpoints
        relayed = Resources(before.all_clusters.own) if before.all_clusters is not before.clusters else EMPTY
    made_clusters = _changed(clusters, [p.clusters for p in gone], [p.clusters for p in come])
    made_relayed = _changed(relayed, [p.relayed for p in gone], [p.relayed for p in come])
    if before is not None and made_clusters is before.clusters and made_relayed is relayed:
        all_clusters = before.all_clusters
    else:
        all_clusters = Resources(made_relayed.own, made_clusters, shared=True) if made_relayed.own else made_clusters
    made_endpoints = _changed(endpoints, [p.endpoints for p in gone], [p.endpoints for p in come])
    return Upstreams(parts, made_clusters, all_clusters, made_endpoints)


def _changed(before: Resources, gone: list[Mapping[str, Entry]], come: list[Mapping[str, Entry]]) -> Resources:
    """The same object where the content is the same."""
    lost = {name: made for each in gone for name, made in each.items()}
    won = {name: made for each in come for name, made in each.items()}
    if lost.keys() == won.keys() and all(lost[name].digest == made.digest for name, made in won.items()):
        return before
    entries = (
        {name: made for name, made in before.own.items() if name not in lost}
        if lost.keys() - won.keys()
        else {**before.own}
    )
    entries |= won
    total = before.total + sum(made.digest for made in won.values()) - sum(made.digest for made in lost.values())
    return Resources(entries, total=total, shared=True)


def _part(service: Service, destination: DestinationPolicy, settings: MeshSettings) -> _Part:
    clusters: dict[str, Entry] = {}
    endpoints: dict[str, Entry] = {}
    for cluster, loads in service_clusters(service, destination, settings):
        clusters[cluster.name] = entry(cluster.name, cluster)
        if loads is not None:
            endpoints[cluster.name] = entry(cluster.name, loads)
    relayed = {
        cluster.name: (port, entry(cluster.name, cluster)) for port, cluster in relayed_clusters(service, destination)
    }
    return _Part(
        service,
        destination,
        settings,
        clusters,
        {name: made for name, (_, made) in relayed.items()},
        {name: port for name, (port, _) in relayed.items()},
        endpoints,
    )
