"""A request sent through generated resources, decided by the sidecar's own decoder and router: the wire, not our own
reading of it, says where it goes."""

from dataclasses import dataclass, field
from functools import partial

from control.generate import TYPES, Snapshot, check, generate
from control.ir import Mesh, Proxy, ProxyKind
from sidecar.config.cluster import Cluster
from sidecar.config.endpoint import Endpoint
from sidecar.config.listener import Listener
from sidecar.config.route import DirectResponse, Forward, Redirect, Route, RouteConfiguration, VirtualHost
from sidecar.http.head import RequestHead
from sidecar.routing.table import RouteTable
from sidecar.xds.decode import decode
from sidecar.xds.kinds import Kind
from sidecar.xds.needs import LoadAssignment


@dataclass
class Simulation:
    """One proxy with its snapshot applied."""

    snapshot: Snapshot
    clusters: dict[str, Cluster] = field(default_factory=dict)
    loads: dict[str, tuple[Endpoint, ...]] = field(default_factory=dict)
    listeners: dict[str, Listener] = field(default_factory=dict)
    routes: dict[str, RouteConfiguration] = field(default_factory=dict)

    def route(self, url: str, *, method: str = "GET", table: str = "outbound", **headers: str) -> Route | None:
        """The route that a request takes; None: there is none."""
        authority, slash, rest = url.removeprefix("http://").partition("/")
        head = RequestHead(
            method.encode(),
            (slash + rest).encode() or b"/",
            authority.encode(),
            [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
        )
        return RouteTable(self.routes[table], _keep).match(head)

    def where(self, url: str, **more: str) -> object:
        """What comes of a request, in words: clusters with weights, a status, or None for no route."""
        route = self.route(url, **more)
        match route.action if route else None:
            case Forward(clusters=clusters):
                names = {self.short(each.cluster): each.weight for each in clusters}
                return next(iter(names)) if len(names) == 1 else names
            case Redirect(status=status) | DirectResponse(status=status):
                return status
            case None:
                return None

    def tunnel(self, authority: str) -> object:
        """The same for a CONNECT."""
        head = RequestHead(b"CONNECT", b"", authority.encode(), [])
        route = RouteTable(self.routes["outbound"], _keep).match(head)
        if route is None:
            return None
        if isinstance(route.action, DirectResponse):
            return route.action.status
        assert isinstance(route.action, Forward)
        assert (route.action.upgrades, route.action.end_connect) == ((("connect", True),), True)
        return {each.cluster: each.weight for each in route.action.clusters}

    def addresses(self, cluster: str) -> list[str]:
        """Of the cluster's endpoints."""
        found = self.loads.get(cluster) or self.clusters[cluster].endpoints
        return [str(endpoint.address) for endpoint in found]

    @staticmethod
    def short(cluster: str) -> str:
        """`outbound|9080|v1|reviews.default.svc.cluster.local` as `reviews:v1`."""
        if not cluster.startswith("outbound|"):
            return cluster
        _, _, subset, host = cluster.split("|")
        name = host.removesuffix(".default.svc.cluster.local")
        return f"{name}:{subset}" if subset else name


def simulate(mesh: Mesh, proxy: Proxy) -> Simulation:
    """Generate and decode. Fails if anything is rejected or refers to nothing."""
    snapshot = generate(mesh, proxy)
    assert check(snapshot) == []
    simulation = Simulation(snapshot)
    read = partial(decode, gateway=proxy.kind is ProxyKind.GATEWAY)
    for kind in (Kind.CDS, Kind.EDS, Kind.LDS, Kind.RDS):
        for name, packed in snapshot.resources[TYPES[kind.name]].items():
            match read(kind, packed).value:
                case Cluster() as cluster:
                    simulation.clusters[name] = cluster
                case LoadAssignment() as loads:
                    simulation.loads[name] = loads.endpoints
                case Listener() as listener:
                    simulation.listeners[name] = listener
                case RouteConfiguration() as routes:
                    simulation.routes[name] = routes
    return simulation


def _keep(_host: VirtualHost, route: Route) -> Route:
    return route
