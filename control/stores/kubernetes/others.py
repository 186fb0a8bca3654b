"""Other clusters of the mesh, of the same network and root: their endpoints of services that are here, too.

A cluster is told by a Secret with the label `remora.io/cluster: NAME`, whose `kubeconfig` leads there. Services of one
name are one service everywhere; a service that is not here has no name here either, and is left out. A cluster that is
away keeps its last endpoints; one whose Secret is gone has none.

Usually a cluster's pods are configured by a control plane of its own. One whose Secret says so has none:
its pods are workloads of this World, too, and it is asked about its tokens.
"""

import asyncio
import base64
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from prometheus_client import CollectorRegistry, Gauge

from control.api.services import Address, Port, Service, ServiceKey
from control.api.workload import AppPort, Workload
from control.api.world import WorkloadKey
from control.kubernetes.client import KubeClient
from control.kubernetes.errors import ClusterUnusable
from control.kubernetes.outages import ApiHealth, State
from control.kubernetes.reflector import Reflector, Surroundings
from control.kubernetes.remote import read_kubeconfig
from control.kubernetes.resources import SECRETS
from control.stores.kubernetes.members import Members
from mesh.lifecycle import TaskScope

_log = logging.getLogger("remora.store")

LABEL = "remora.io/cluster"
KEY = "kubeconfig"
CONTROL_PLANE, SHARED = "remora.io/control-plane", "shared"
"""Annotation of the Secret: the cluster has no control plane of its own."""
MAX_CLUSTERS = 32
STATES = ("joining", "joined", "away", "refused")
MAX_SAID = 1000
WAIT_S = 10.0
"""The first World waits so long for clusters that do not answer, and is made without them then."""


@dataclass(frozen=True, slots=True)
class ClusterState:
    """What is shown of a cluster."""

    name: str
    state: str
    """`joining`: its first answers are awaited. `joined`. `away`: it does not answer, and its last endpoints go on.
    `refused`: its kubeconfig will not do."""
    message: str = ""
    """Why, for people; no credential is in it."""
    away_s: float = 0.0
    services: int = 0
    pods: int = 0
    """Those that are configured from here."""
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """What a Secret says. Its text form has no credential."""

    name: str
    kubeconfig: bytes
    shared: bool = False
    """Its pods are configured from here."""
    secret: str = ""
    """The Secret's name: two may tell of one cluster, of which the first that was heard of counts."""

    def __repr__(self) -> str:
        return f"Told({self.name!r})"


def decode_secret(found: Mapping[str, Any]) -> Told:
    """Raises for what is no Secret of a cluster."""
    name = found["metadata"]["labels"][LABEL]
    shared = (found["metadata"].get("annotations") or {}).get(CONTROL_PLANE) == SHARED
    kubeconfig = base64.b64decode((found.get("data") or {}).get(KEY) or "", validate=True)
    return Told(name, kubeconfig, shared, found["metadata"]["name"])


class _Other:
    """One of them, followed for as long as `run` runs."""

    def __init__(self, told: Told, around: Surroundings, changed: Callable[[], None], before: "_Other | None") -> None:
        self.told = told
        self._around = around
        self._changed = changed
        self.known = asyncio.Event()
        """It has answered, or cannot: nobody needs to wait for it."""
        self.services: dict[ServiceKey, Service] = dict(before.services) if before is not None else {}
        """By its old credentials, until the new ones have led somewhere."""
        self.workloads: dict[WorkloadKey, Workload] = (
            dict(before.workloads) if before is not None and told.shared else {}
        )
        self.client: KubeClient | None = None
        """While it is followed."""
        self._members: Members | None = None
        self._health: ApiHealth | None = None
        self._refused = ""
        self._complete = False

    async def run(self) -> None:
        try:
            cluster = read_kubeconfig(self.told.kubeconfig)
        except ClusterUnusable as error:
            _log.error("cluster %s is not joined: %s; write a new kubeconfig into its Secret", self.told.name, error)
            self._refused = str(error)
            self.known.set()
            return
        self.client = client = KubeClient(cluster, self._around.clock)
        self._health = health = ApiHealth(f"{cluster.host} of cluster {self.told.name}", self._around.clock)
        around = replace(self._around, client=client, health=health, cluster=self.told.name)
        self._members = members = Members(around, self._changed)
        try:
            async with TaskScope() as scope:
                for each in members.reflectors:
                    scope.spawn(each.run(), name=f"watch {each.name} of {self.told.name}")
                await members.synced()
                self._complete = True
                self.known.set()
                _log.info("cluster %s is joined", self.told.name)
                self._changed()
                await scope.wait_failed()
        finally:
            self.client = None
            await client.close()

    def state(self) -> ClusterState:
        """As it is now."""
        known = ClusterState(
            self.told.name,
            "joining",
            services=len(self.services),
            pods=len(self.workloads),
            shared=self.told.shared,
        )
        if self._refused:
            return replace(known, state="refused", message=self._refused)
        away_s = self._health.away_s if self._health is not None else 0.0
        reflectors = self._members.reflectors if self._members is not None else []
        message = ", ".join(
            f"{each.name}: {each.state.value}" for each in reflectors if each.state is not State.WATCHING
        )
        state = "away" if away_s else "joined" if self._complete else "joining"
        return replace(known, state=state, message=message, away_s=away_s)

    def take(self) -> tuple[set[ServiceKey], set[WorkloadKey]]:
        """The services, and the workloads, of which something has changed."""
        if self._members is None or not self._complete:
            return set(), set()
        changes = self._members.registry.take()
        services: dict[ServiceKey, Service | None] = changes.services
        workloads: dict[WorkloadKey, Workload | None] = changes.workloads if self.told.shared else {}
        if self._members.fresh:
            self._members.fresh = False
            # Everything of before that is no more goes with the first that is known now.
            services = {**dict.fromkeys(self.services), **services}
            workloads = {**dict.fromkeys(self.workloads), **workloads}
        _update(self.services, services)
        _update(self.workloads, workloads)
        return set(services), set(workloads)


class Others:
    """`reflector` finds them; `take` and `join` are the store's."""

    def __init__(
        self,
        around: Surroundings,
        namespace: str,
        changed: Callable[[], None],
        registry: CollectorRegistry,
        own_name: str = "",
    ) -> None:
        """`namespace` has the Secrets. `changed` is called when `take` may have something. `own_name`: of the cluster
        that we are in."""
        self._own_name = own_name
        self._around = around
        self._changed = changed
        self._scope: TaskScope | None = None
        self._others: dict[str, tuple[_Other, asyncio.Task[Any]]] = {}
        self._gone: set[ServiceKey] = set()
        self._gone_workloads: set[WorkloadKey] = set()
        self._said_taken: set[WorkloadKey] = set()
        gauge = Gauge("remora_clusters", "Other clusters that Secrets tell of, by state", ("state",), registry=registry)
        for name in STATES:
            gauge.labels(name).set_function(lambda name=name: float(self._count(name)))  # type: ignore[misc]
        self.reflector: Reflector[Told] = Reflector(
            around, [SECRETS], decode_secret, self._on_secret, namespace=namespace, label_selector=LABEL, required=False
        )

    def start(self, scope: TaskScope) -> None:
        self._scope = scope
        scope.spawn(self.reflector.run(), name="watch clusters")

    async def synced(self) -> None:
        """Return once every cluster is known, or has had its time."""
        await self.reflector.synced.wait()
        waits = [other.known.wait() for other, _ in self._others.values()]
        try:
            async with asyncio.timeout(WAIT_S):
                await asyncio.gather(*waits)
        except TimeoutError:
            late = sorted(name for name, (other, _) in self._others.items() if not other.known.is_set())
            _log.error("without the clusters %s, which do not answer: they are joined when they do", ", ".join(late))

    def _on_secret(self, _name: tuple[str, str], before: Told | None, after: Told | None) -> None:
        assert self._scope is not None
        old = self._others.get(before.name) if before is not None else None
        if before is not None and old is not None and old[0].told.secret != before.secret:
            old = None  # it was another Secret's all the time
        if old is not None:
            del self._others[old[0].told.name]
            old[1].cancel()
        why = self._hindrance(after) if after is not None else ""
        if after is None or why:
            if after is not None:
                _log.error("cluster %s is not joined: %s", after.name, why)
            if old is not None:
                self._forget(old[0])
                if after is None:
                    _log.info("cluster %s is told of no more; its endpoints are gone", old[0].told.name)
                self._follow_waiting()
            self._changed()
            return
        kept = old[0] if old is not None and before is not None and before.name == after.name else None
        if old is not None and kept is None:
            self._forget(old[0])
        elif old is not None and not after.shared:
            self._gone_workloads |= old[0].workloads.keys()
        self._follow(after, kept)
        if old is not None and kept is None:
            self._follow_waiting()

    def _follow(self, told: Told, before: _Other | None = None) -> None:
        assert self._scope is not None
        other = _Other(told, self._around, self._changed, before)
        self._others[told.name] = other, self._scope.spawn(other.run(), name=f"cluster {told.name}")

    def _follow_waiting(self) -> None:
        """There is a place, or a name, again for a Secret that had none."""
        for told in self.reflector.items.values():
            if told.name not in self._others and len(self._others) < MAX_CLUSTERS:
                self._follow(told)

    def _hindrance(self, told: Told) -> str:
        """Why it cannot be joined; empty if it can."""
        if told.name == self._own_name:
            return "that is our own name (--cluster-id); give its Secret another, and its sidecars the same"
        if told.name in self._others:
            return "another Secret says so too"
        return f"there are {MAX_CLUSTERS} already" if len(self._others) >= MAX_CLUSTERS else ""

    def _forget(self, other: _Other) -> None:
        self._gone |= other.services.keys()
        self._gone_workloads |= other.workloads.keys()

    def states(self) -> list[ClusterState]:
        """By name."""
        return [self._others[name][0].state() for name in sorted(self._others)]

    def _count(self, state: str) -> int:
        return sum(each.state == state for each in self.states())

    def client_of(self, name: str) -> KubeClient | None:
        """Of a cluster that has no control plane of its own; None for any other."""
        other = self._others.get(name)
        return other[0].client if other is not None and other[0].told.shared else None

    def take(self) -> tuple[set[ServiceKey], set[WorkloadKey]]:
        """The services and workloads of which something elsewhere has changed."""
        services, self._gone = self._gone, set()
        workloads, self._gone_workloads = self._gone_workloads, set()
        for other, _ in self._others.values():
            more, pods = other.take()
            services |= more
            workloads |= pods
        return services, workloads

    def workload(self, key: WorkloadKey, here: Workload | None) -> Workload | None:
        """Whoever has that name: `here` if there is one, else the first cluster's."""
        there = [other.workloads[key] for other, _ in self._others.values() if key in other.workloads]
        if here is None:
            self._said_taken.discard(key)
            return there[0] if there else None
        if there and key not in self._said_taken and len(self._said_taken) < MAX_SAID:
            self._said_taken.add(key)
            _log.error(
                "pod %s/%s of cluster %s is not configured: there is one of that name here", *key, there[0].cluster
            )
        return here

    def join(self, key: ServiceKey, here: Service) -> Service:
        """With what the other clusters have behind the same ports."""
        there = [other.services[key] for other, _ in self._others.values() if key in other.services]
        if not there:
            return here
        ports = tuple(_joined(port, there) for port in here.ports)
        members = tuple(member for service in (here, *there) for member in service.members)
        nearest = dict(here.nearest)
        for each in there:
            nearest |= each.nearest
        hinted = bool(here.nearest) and all(each.nearest or not each.members for each in there)
        return replace(here, ports=ports, members=members, nearest=nearest if hinted else {})


def _update(known: dict[Any, Any], changes: Mapping[Any, Any]) -> None:
    for key, after in changes.items():
        if after is None:
            known.pop(key, None)
        else:
            known[key] = after


def _joined(port: Port, there: list[Service]) -> Port:
    """On one network an address is one instance, whoever tells of it: the first who does is believed."""
    same = [each for service in there for each in service.ports if each.number == port.number]
    members: dict[str, tuple[Workload, AppPort]] = {}
    others: dict[tuple[str, int], Address] = {}
    for each in (port, *same):
        for member in each.members:
            members.setdefault(member[1].app, member)
        for other in each.others:
            others.setdefault((other.host, other.port), other)
    return replace(port, members=tuple(members.values()), others=tuple(others.values()))
