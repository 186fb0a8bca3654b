"""Endpoints for the clients of a zone, where a service's instances are meant for zones (Kubernetes' topology hints).

As kube-proxy has it: a client uses the instances that are hinted for its zone; all of them, where none is.
https://kubernetes.io/docs/concepts/services-networking/topology-aware-routing/
"""

from dataclasses import replace

from control.generate.clusters import service_clusters
from control.generate.memory import Memory, memory_of
from control.generate.resources import Entry, Resources, entry
from control.generate.upstreams import Upstreams, view_of
from control.ir.mesh import Mesh
from control.ir.policies import DestinationPolicy
from control.ir.services import Endpoint, Service
from control.ir.settings import MeshSettings


def nearest_endpoints(mesh: Mesh, namespace: str, zone: str, reached: Upstreams) -> Resources:
    """What a client of a namespace and a zone gets; `reached.endpoints` itself where nothing is meant for zones."""
    hinted = _hinted(mesh)
    if not zone or not hinted:
        return reached.endpoints
    view = view_of(mesh, namespace)
    key = nearest_endpoints, view, zone
    known: Resources | None = mesh.parts.get(key)
    if known is None:
        memory = memory_of(mesh)
        parts = [
            _part(memory, service, mesh.destination(service, namespace), mesh.settings, view, zone)
            for service in hinted
        ]
        own = {name: made for part in parts for name, made in part.items()}
        known = mesh.parts[key] = memory.part(
            key, (reached.endpoints, *parts), lambda: Resources(own, reached.endpoints, shared=True)
        )
    return known


def _part(
    memory: Memory,
    service: Service,
    destination: DestinationPolicy,
    settings: MeshSettings,
    view: str | None,
    zone: str,
) -> dict[str, Entry]:
    """The same object for as long as it is made of the same."""
    key = _part, view, zone, service.host
    return memory.part(key, (service, destination, settings), lambda: _own(service, destination, settings, zone))


def _hinted(mesh: Mesh) -> tuple[Service, ...]:
    found: tuple[Service, ...] | None = mesh.parts.get(_hinted)
    if found is None:
        # All instances of a service are hinted, or none is.
        found = mesh.parts[_hinted] = tuple(
            service
            for service in mesh.services.values()
            if any(some and some[0].zones for some in service.endpoints.values())
        )
    return found


def _own(service: Service, destination: DestinationPolicy, settings: MeshSettings, zone: str) -> dict[str, Entry]:
    near = replace(service, endpoints={port: _for(zone, some) for port, some in service.endpoints.items()})
    if near.endpoints == service.endpoints:
        return {}
    made = service_clusters(near, destination, settings)
    return {cluster.name: entry(cluster.name, loads) for cluster, loads in made if loads is not None}


def _for(zone: str, endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    return tuple(each for each in endpoints if zone in each.zones) or endpoints
