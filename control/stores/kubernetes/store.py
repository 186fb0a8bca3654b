"""The store of a cluster: what the API server has, as a World; to the plane, what FileStore is."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from prometheus_client import CollectorRegistry

from control.analyze import analyze_stored
from control.api.kinds import Kind
from control.api.resource import Key, Resource
from control.api.services import Service, ServiceKey
from control.api.workload import Workload
from control.api.world import WorkloadKey, World
from control.injector.settings import NamespaceFacts
from control.kubernetes.client import KubeClient
from control.kubernetes.outages import ApiHealth, ReflectorMetrics
from control.kubernetes.reflector import Pace, Reflector, Surroundings
from control.kubernetes.resources import NAMESPACES, ApiResource
from control.kubernetes.status import StatusWriter
from control.stores.errors import NothingApplied
from control.stores.files import WatchEvent
from control.stores.kubernetes.credentials import Credentials, named_by_gateways
from control.stores.kubernetes.gateway_status import Around, Edge, gateway_statuses
from control.stores.kubernetes.members import Members
from control.stores.kubernetes.namespaces import decode_namespace
from control.stores.kubernetes.others import ClusterState, Others
from control.stores.kubernetes.rule_book import RuleBook
from control.stores.kubernetes.rules import Rule, RuleDecoder, Written, kinds
from control.stores.kubernetes.writing import RuleWriter
from control.stores.stored import StoredRule
from mesh.clock import Clock
from mesh.lifecycle import TaskScope

_log = logging.getLogger("remora.store")

COALESCE_S = 0.01
"""Changes that come together make one World."""
GATEWAYS_EVERY_S = 0.5
ANALYZE_AFTER_S = 1.0
ANALYZE_SHARE = 20.0
"""An analysis is followed by a pause of so many times its length: it takes at most a twentieth of a core."""


class KubernetesStore:
    """`start` it in a scope, then wait for `synced`. Everything but `change` belongs to the event loop."""

    def __init__(
        self,
        client: KubeClient,
        clock: Clock,
        rng: random.Random,
        registry: CollectorRegistry,
        *,
        may_write: Callable[[], bool],
        revision: str = "",
        clusters_in: str = "",
        own_name: str = "",
        pace: Pace | None = None,
    ) -> None:
        """`may_write`: whether this process is the one that writes back what it makes of rules. `clusters_in`: the
        namespace whose Secrets tell of other clusters; empty: there are none. `own_name`: what this one is called
        among them."""
        self._may_write = may_write
        self._clock = clock
        self._changed = asyncio.Event()
        self._analyze = asyncio.Event()
        self._world = World()
        self._built = False
        self._first = asyncio.Lock()
        self._status = StatusWriter(client, clock, rng, may_write, registry)
        self._rules = RuleBook(self._status, registry)
        self._writer = RuleWriter(client, clock, self._rules)
        self._namespaces: dict[str, NamespaceFacts] = {}
        self._said_refused: set[str] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.on_namespaces_changed: list[Callable[[], None]] = []
        """Called when a namespace is new, another, or gone."""
        health, metrics = ApiHealth(client.host, clock), ReflectorMetrics(registry)
        self._around = Surroundings(client, clock, rng, health, metrics, pace=pace or Pace())
        self._gateways_changed = asyncio.Event()
        self._members = Members(self._around, self._wake)
        self._credentials = Credentials(self._around, self._wake)
        self._others = Others(self._around, clusters_in, self._changed.set, registry, own_name) if clusters_in else None
        self._reflectors: list[Reflector[Any]] = [
            *self._members.reflectors,
            Reflector(self._around, [NAMESPACES], decode_namespace, self._on_namespace),
            *(self._reflect_rules(kind, resources, RuleDecoder(kind, revision)) for kind, resources in kinds()),
        ]

    def _reflect_rules(self, kind: Kind, resources: tuple[ApiResource, ...], decoder: RuleDecoder) -> Reflector[Any]:
        def changed(name: WorkloadKey, _before: Rule | None, after: Rule | None) -> None:
            if after is None:
                decoder.forget(Key(kind.name, *name))
            self._rules.changed(kind, reflector.resource, name, after)
            self._wake()

        reflector: Reflector[Any] = Reflector(self._around, resources, decoder.decode, changed)
        return reflector

    def _on_namespace(self, name: WorkloadKey, _before: Any, after: NamespaceFacts | None) -> None:
        if after is None:
            self._namespaces.pop(name[1], None)
        else:
            self._namespaces[name[1]] = after
        for tell in self.on_namespaces_changed:
            tell()

    # What is there.

    @property
    def world(self) -> World:
        """The present World: immutable, replaced by every change. Empty before `synced`."""
        return self._world

    def namespace(self, name: str) -> NamespaceFacts | None:
        """One that exists and is not being deleted, as far as is known."""
        return self._namespaces.get(name)

    def namespace_names(self) -> Collection[str]:
        """Of those."""
        return self._namespaces.keys()

    def clusters(self) -> list[ClusterState]:
        """The other ones that Secrets tell of."""
        return self._others.states() if self._others is not None else []

    def client_of(self, cluster: str) -> KubeClient | None:
        """Of another cluster that is configured from here; None for one that is not."""
        return self._others.client_of(cluster) if self._others is not None else None

    def missing(self) -> list[str]:
        """What is not known yet, each with why; with any of it there is no World to serve."""
        return [f"{each.name} ({each.state.value})" for each in self._reflectors if not each.synced.is_set()]

    def start(self, scope: TaskScope) -> None:
        """Follow the cluster for as long as the scope lives."""
        self._loop = asyncio.get_running_loop()
        for each in self._reflectors:
            scope.spawn(each.run(), name=f"watch {each.name}")
        self._credentials.start(scope)
        if self._others is not None:
            self._others.start(scope)
        scope.spawn(self._status.run(), name="status conditions")
        scope.spawn(self._keep_analyzing(), name="analysis of rules")
        scope.spawn(self._keep_telling_of_gateways(), name="status of gateways")

    async def synced(self) -> None:
        """Return once everything is known, and the first World is made of it: never of half a cluster."""
        for each in self._reflectors:
            await each.synced.wait()
        if self._others is not None:
            await self._others.synced()
        async with self._first:
            if not self._built:
                self._world = World(found_services=MappingProxyType({}), generation=1)
                self._build()
                # Gateways are known now, and with them whose credentials the first World must not lack.
                await self._credentials.synced()
                self._build()
                self._built = True

    async def watch(self) -> AsyncIterator[WatchEvent]:
        """Every World after the first, as the cluster changes. One consumer."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            before = self._world
            if self._built:
                self._build()
            if self._world is not before:
                yield WatchEvent(self._world)
            await asyncio.sleep(COALESCE_S)

    def _build(self) -> None:
        """The next World, if there is one. What has not changed is in it as the object that it was."""
        registry = self._members.registry
        changes = registry.take()
        for refused in changes.refused:
            if refused not in self._said_refused and len(self._said_refused) < 1000:
                self._said_refused.add(refused)
                _log.warning("%s; it is no workload of the mesh", refused)
        world = self._world
        services, workloads = changes.services, changes.workloads
        if self._others is not None:
            elsewhere, pods = self._others.take()
            services = self._joined(services.keys() | elsewhere, self._others)
            workloads = self._joined_workloads(workloads.keys() | pods, self._others)
        if not services and not workloads and not self._rules.dirty and not self._credentials.dirty:
            return
        self._world = world.with_found(
            _changed_services(world.services, services),
            _changed_workloads(world.workloads, workloads),
            MappingProxyType(dict(self._rules.good)) if self._rules.dirty else world.resources,
            self._credentials.take() if self._credentials.dirty else None,
        )
        credentials = self._world.credentials is not world.credentials
        if self._rules.dirty or credentials or self._world.services.keys() != world.services.keys():
            self._analyze.set()
        if self._rules.dirty or workloads:
            self._credentials.want(named_by_gateways(self._world))
        self._rules.dirty = False

    def _joined(self, touched: Collection[ServiceKey], others: Others) -> dict[ServiceKey, Service | None]:
        """Those of the services that are touched which are others now, with what other clusters have behind them."""
        found: dict[ServiceKey, Service | None] = {}
        for key in touched:
            here = self._members.registry.services.get(key)
            service = None if here is None else others.join(key, here)
            if service != self._world.services.get(key):
                found[key] = service
        return found

    def _joined_workloads(self, touched: Collection[WorkloadKey], others: Others) -> dict[WorkloadKey, Workload | None]:
        """The same of workloads."""
        found: dict[WorkloadKey, Workload | None] = {}
        for key in touched:
            workload = others.workload(key, self._members.registry.workload(key))
            if workload != self._world.workloads.get(key):
                found[key] = workload
        return found

    async def _keep_analyzing(self) -> None:
        """What rules are to each other, for their status; by the leader alone, who writes it."""
        while True:
            await self._analyze.wait()
            await asyncio.sleep(ANALYZE_AFTER_S)
            if not self._may_write():
                continue
            self._analyze.clear()
            began = self._clock.monotonic()
            findings = await asyncio.to_thread(analyze_stored, self._world)
            self._rules.analyzed(findings)
            await asyncio.sleep(ANALYZE_SHARE * (self._clock.monotonic() - began))

    async def _keep_telling_of_gateways(self) -> None:
        """Where Gateways are reached and what their Secrets lack, for their status; by the leader alone."""
        while True:
            await self._gateways_changed.wait()
            await asyncio.sleep(GATEWAYS_EVERY_S)
            if not self._built or not self._may_write():
                continue
            self._gateways_changed.clear()
            around = Around(
                [self._edge(key, each) for key, each in self._world.workloads.items() if each.kind == "gateway"],
                sorted(filter(None, self._members.node_addresses.values())),
                self._world.credentials,
                self._credentials.problems,
                self._clock.now(),
            )
            self._rules.gateways(gateway_statuses(self._world, around))

    def _edge(self, key: WorkloadKey, workload: Workload) -> Edge:
        ports, reach, node = self._members.registry.gateway(key)
        address = self._members.node_addresses.get(node, "")
        return Edge(workload.namespace, workload.effective_labels, ports, reach, address)

    def _wake(self) -> None:
        self._changed.set()
        self._gateways_changed.set()

    # Changes from our side.

    def stored(self) -> Mapping[Key, StoredRule]:
        """Every rule as the API server has it, those too that are wrong."""
        return self._rules.stored()

    def as_kept(self, resource: Resource) -> Resource:
        """In the API server's order, without comments."""
        return replace(resource, source=Written(resource.document))

    def change(
        self,
        resources: Iterable[Resource],
        deleted: Collection[Key],
        expected: Mapping[Key, str] = MappingProxyType({}),
    ) -> World:
        """Write rules to the API server, in order; return once the World has them. Blocks: for other threads.

        Raises NothingApplied; its text says so if it happened half-way, which the API server has no way to avoid.
        ChangedMeanwhile where something is not as `expected` (`changed_meanwhile`) any more.
        """
        if self._loop is None:
            raise NothingApplied("nothing was applied: the cluster is not followed yet")
        writing = self._writer.change(tuple(resources), tuple(deleted), expected)
        asyncio.run_coroutine_threadsafe(writing, self._loop).result()
        asyncio.run_coroutine_threadsafe(self._built_now(), self._loop).result()
        return self._world

    async def _built_now(self) -> None:
        """Without waiting for `watch`, which is told too."""
        self._changed.set()
        if self._built:
            self._build()

    def register(self, workload: Workload) -> World:
        """Raises NothingApplied, always: a cluster's workloads are its pods."""
        raise NothingApplied(f"workload {workload.name} was not registered: the workloads of a cluster are its pods")

    def unregister(self, key: WorkloadKey) -> World:
        """So does this."""
        raise NothingApplied(f"workload {key[1]} was not removed: the workloads of a cluster are its pods")


def _changed_services(
    before: Mapping[ServiceKey, Service], changes: Mapping[ServiceKey, Service | None]
) -> Mapping[ServiceKey, Service]:
    if not changes:
        return before
    after = dict(before)
    for key, service in changes.items():
        if service is None:
            after.pop(key, None)
        else:
            after[key] = service
    # A service that was there keeps its place; only new ones have theirs yet to find.
    ordered = after if all(key in before for key in changes) else dict(sorted(after.items()))
    return MappingProxyType(ordered)


def _changed_workloads(
    before: Mapping[WorkloadKey, Workload], changes: Mapping[WorkloadKey, Workload | None]
) -> Mapping[WorkloadKey, Workload]:
    if not changes:
        return before
    after = dict(before)
    for key, workload in changes.items():
        if workload is None:
            after.pop(key, None)
        else:
            after[key] = workload
    return MappingProxyType(after)
