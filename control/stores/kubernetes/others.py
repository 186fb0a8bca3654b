"""Other clusters of the mesh, of the same network and root: their endpoints of services that are here, too.

A cluster is told by a Secret with the label `remora.io/cluster: NAME`, whose `kubeconfig` leads there. Services of one
name are one service everywhere; a service that is not here has no name here either, and is left out. A cluster that is
away keeps its last endpoints; one whose Secret is gone has none.
"""

import asyncio
import base64
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from control.api.services import Port, Service, ServiceKey
from control.kubernetes.client import KubeClient
from control.kubernetes.errors import ClusterUnusable
from control.kubernetes.outages import ApiHealth
from control.kubernetes.reflector import Reflector, Surroundings
from control.kubernetes.remote import read_kubeconfig
from control.kubernetes.resources import SECRETS
from control.stores.kubernetes.members import Members
from mesh.lifecycle import TaskScope

_log = logging.getLogger("remora.store")

LABEL = "remora.io/cluster"
KEY = "kubeconfig"
MAX_CLUSTERS = 32
WAIT_S = 10.0
"""The first World waits so long for clusters that do not answer, and is made without them then."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a Secret says. Its text form has no credential."""

    name: str
    kubeconfig: bytes

    def __repr__(self) -> str:
        return f"Told({self.name!r})"


def decode_secret(found: Mapping[str, Any]) -> Told:
    """Raises for what is no Secret of a cluster."""
    name = found["metadata"]["labels"][LABEL]
    return Told(name, base64.b64decode((found.get("data") or {}).get(KEY) or "", validate=True))


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
        self._members: Members | None = None
        self._complete = False

    async def run(self) -> None:
        try:
            cluster = read_kubeconfig(self.told.kubeconfig)
        except ClusterUnusable as error:
            _log.error("cluster %s is not joined: %s; write a new kubeconfig into its Secret", self.told.name, error)
            self.known.set()
            return
        client = KubeClient(cluster, self._around.clock)
        health = ApiHealth(f"{cluster.host} of cluster {self.told.name}", self._around.clock)
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
            await client.close()

    def take(self) -> set[ServiceKey]:
        """The services of which something has changed."""
        if self._members is None or not self._complete:
            return set()
        first = self._members.registry.take().services
        if self._members.fresh:
            self._members.fresh = False
            # Everything of before that is no more goes with the first that is known now.
            first = {**dict.fromkeys(self.services), **first}
        for key, service in first.items():
            if service is None:
                self.services.pop(key, None)
            else:
                self.services[key] = service
        return set(first)


class Others:
    """`reflector` finds them; `take` and `join` are the store's."""

    def __init__(self, around: Surroundings, namespace: str, changed: Callable[[], None]) -> None:
        """`namespace` has the Secrets. `changed` is called when `take` may have something."""
        self._around = around
        self._changed = changed
        self._scope: TaskScope | None = None
        self._others: dict[str, tuple[_Other, asyncio.Task[Any]]] = {}
        self._gone: set[ServiceKey] = set()
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
        old = self._others.pop(before.name, None) if before is not None else None
        if old is not None:
            old[1].cancel()
        if after is None or after.name in self._others or len(self._others) >= MAX_CLUSTERS:
            if after is not None:
                why = (
                    "another Secret says so too" if after.name in self._others else f"there are {MAX_CLUSTERS} already"
                )
                _log.error("cluster %s is not joined: %s", after.name, why)
            if old is not None:
                self._gone |= old[0].services.keys()
            self._changed()
            return
        kept = old[0] if old is not None and before is not None and before.name == after.name else None
        if old is not None and kept is None:
            self._gone |= old[0].services.keys()
        other = _Other(after, self._around, self._changed, kept)
        self._others[after.name] = other, self._scope.spawn(other.run(), name=f"cluster {after.name}")

    def take(self) -> set[ServiceKey]:
        """The services of which something elsewhere has changed."""
        found, self._gone = self._gone, set()
        for other, _ in self._others.values():
            found |= other.take()
        return found

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


def _joined(port: Port, there: list[Service]) -> Port:
    same = [each for service in there for each in service.ports if each.number == port.number]
    return replace(
        port,
        members=tuple(member for each in (port, *same) for member in each.members),
        others=tuple(other for each in (port, *same) for other in each.others),
    )
