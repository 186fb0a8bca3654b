"""Endpoints for the clients of a place: the instances that are meant for it, or that are nearest to it.

Meant for zones are instances with Kubernetes' topology hints: as kube-proxy has it, a client uses those that are hinted
for its zone; all of them, where none is. Nearest counts where a DestinationRule says so (`localityLbSetting`), and
where a service has instances in several clusters: of the client's subzone, else its zone, its region, anywhere. An
instance that is not ready is none, so clients go on to the next ones when their own end, and come back. With outlier
detection they get all of them, the nearest first by priority, and go on by themselves where those are ejected.
https://kubernetes.io/docs/concepts/services-networking/topology-aware-routing/
https://istio.io/latest/docs/tasks/traffic-management/locality-load-balancing/failover/
"""

from control.generate.clusters import service_clusters
from control.generate.entries import Entry, entry
from control.generate.memory import Memory, memory_of
from control.generate.resources import Resources
from control.generate.upstreams import Upstreams, view_of
from control.ir.mesh import Mesh
from control.ir.policies import DestinationPolicy, Nearness, TrafficPolicy
from control.ir.services import Endpoint, Service
from control.ir.settings import MeshSettings

Place = tuple[str, str, str]
"""Region, zone and subzone."""
ANYWHERE_PREFERRED = Nearness()
"""What holds for a service of several clusters, and with outlier detection, of which no rule says otherwise."""


def nearest_endpoints(mesh: Mesh, namespace: str, place: Place, reached: Upstreams) -> Resources:
    """What a client of a namespace and a place gets; `reached.endpoints` itself where places make no difference."""
    services = _placed(mesh) if any(place) else ()
    if not services:
        return reached.endpoints
    view = view_of(mesh, namespace)
    key = nearest_endpoints, view, place
    known: Resources | None = mesh.parts.get(key)
    if known is None:
        memory = memory_of(mesh)
        parts = [
            _part(memory, service, mesh.destination(service, namespace), mesh.settings, view, place)
            for service in services
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
    place: Place,
) -> dict[str, Entry]:
    """The same object for as long as it is made of the same."""
    key = _part, view, place, service.host
    return memory.part(key, (service, destination, settings), lambda: _own(service, destination, settings, place))


def _placed(mesh: Mesh) -> tuple[Service, ...]:
    """The services of which clients of different places may get different instances."""
    found: tuple[Service, ...] | None = mesh.parts.get(_placed)
    if found is None:
        by_rule = {host for (_, host), policy in mesh.destinations.items() if policy.prefers_near()}
        found = mesh.parts[_placed] = tuple(
            service
            for service in mesh.services.values()
            if service.host in by_rule or _hinted(service) or _of_several_clusters(service)
        )
    return found


def _hinted(service: Service) -> bool:
    """All instances of a service are, or none is."""
    return any(some and some[0].zones for some in service.endpoints.values())


def _of_several_clusters(service: Service) -> bool:
    return any(some and any(e.cluster_id != some[0].cluster_id for e in some) for some in service.endpoints.values())


class _Chooser:
    """What is for the clients of one place. Tells whether that is another than for all."""

    def __init__(self, place: Place, default: Nearness | None) -> None:
        self._place = place
        self._default = default
        self.differs = False
        """Of the last choice."""

    def __call__(self, endpoints: list[Endpoint], policy: TrafficPolicy) -> list[list[Endpoint]]:
        meant = [each for each in endpoints if self._place[1] in each.zones]
        priorities = [meant] if meant else self._by_nearness(endpoints, policy)
        self.differs = len(priorities[0]) != len(endpoints)
        return priorities

    def _by_nearness(self, endpoints: list[Endpoint], policy: TrafficPolicy) -> list[list[Endpoint]]:
        detects = policy.outlier is not None
        # As in Istio, where detection of outliers is what failover needs, and all that it needs.
        nearness = policy.nearness or (ANYWHERE_PREFERRED if detects else self._default)
        if not endpoints or nearness is None or not nearness.preferred:
            return [endpoints]
        by_rank: dict[int, list[Endpoint]] = {}
        for each in endpoints:
            by_rank.setdefault(_rank(self._place, each.locality, nearness), []).append(each)
        priorities = [some for _, some in sorted(by_rank.items())]
        return priorities if detects else priorities[:1]


def _rank(client: Place, instance: Place, nearness: Nearness) -> int:
    """0 for the same subzone, then zone, region, the next region by rule, anywhere else."""
    if client == instance:
        return 0
    if client[:2] == instance[:2]:
        return 1
    if client[0] == instance[0]:
        return 2
    return 3 if (client[0], instance[0]) in nearness.regions else 4


def _own(service: Service, destination: DestinationPolicy, settings: MeshSettings, place: Place) -> dict[str, Entry]:
    choose = _Chooser(place, ANYWHERE_PREFERRED if _of_several_clusters(service) else None)
    found = {}
    for cluster, loads in service_clusters(service, destination, settings, choose):
        if loads is not None and choose.differs:
            found[cluster.name] = entry(cluster.name, loads)
    return found
