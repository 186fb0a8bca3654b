"""All that the control plane knows at one moment: the rules, the workloads, and the services that follow from them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

from control.api.credential import Credential
from control.api.derived import Derived, WorkloadKey, derive
from control.api.resource import Key, Resource
from control.api.services import Service, ServiceKey
from control.api.workload import Workload

__all__ = ["WorkloadKey", "World"]


CredentialKey = tuple[str, str]
"""(namespace, name) of its Secret."""


@dataclass(frozen=True, eq=False)
class World:
    """Immutable. A change makes a new one, of the next generation."""

    resources: Mapping[Key, Resource] = field(default_factory=lambda: MappingProxyType({}))
    workloads: Mapping[WorkloadKey, Workload] = field(default_factory=lambda: MappingProxyType({}))
    generation: int = 0
    """Grows by one with every change; names what a proxy runs in `remora status`."""
    found_services: Mapping[ServiceKey, Service] | None = None
    """What a cluster says its services are, sorted; None: they follow from rules and workloads. A Service of which
    nothing has changed is the same object from one World to the next."""

    derived_before: Derived | None = field(default=None, repr=False)
    """What followed for an earlier World, to make the same again at the cost of what has changed."""

    credentials: Mapping[CredentialKey, Credential] = field(default_factory=lambda: MappingProxyType({}))
    """Those that Gateways name, as far as a cluster has them; outside a cluster there are none."""

    @cached_property
    def services(self) -> Mapping[ServiceKey, Service]:
        """By (namespace, name), sorted."""
        if self.found_services is not None:
            return self.found_services
        return self.derived.services

    @cached_property
    def derived(self) -> Derived:
        """What follows from rules and workloads."""
        return derive(self.resources, self.workloads, self.derived_before)

    def of_kind(self, kind: str) -> list[Resource]:
        """The resources of a kind, oldest first, then by namespace and name."""
        return sorted((r for k, r in self.resources.items() if k.kind == kind), key=lambda r: (r.created_at, r.key))

    def with_resources(self, changed: Iterable[Resource] = (), deleted: Iterable[Key] = ()) -> "World":
        """The next generation, with some rules set and some gone."""
        resources = dict(self.resources)
        for key in deleted:
            resources.pop(key, None)
        for resource in changed:
            resources[resource.key] = resource
        return self._next(resources=MappingProxyType(resources))

    def with_found(
        self,
        services: Mapping[ServiceKey, Service],
        workloads: Mapping[WorkloadKey, Workload],
        rules: Mapping[Key, Resource],
        credentials: Mapping[CredentialKey, Credential] | None = None,
    ) -> "World":
        """The next generation, as a cluster has it now. The mappings must not change any more; what is as it was in
        this World may be this World's own mapping."""
        known = self.credentials if credentials is None else credentials
        return World(rules, workloads, self.generation + 1, services, credentials=known)

    def with_workload(self, workload: Workload) -> "World":
        """The next generation, with a workload added or replaced."""
        workloads = {**self.workloads, (workload.namespace, workload.name): workload}
        return self._next(workloads=MappingProxyType(workloads))

    def without_workload(self, key: WorkloadKey) -> "World":
        """The next generation, with a workload gone."""
        workloads = {k: w for k, w in self.workloads.items() if k != key}
        return self._next(workloads=MappingProxyType(workloads))

    def _next(self, **changes: Any) -> "World":
        derived = self.__dict__.get("derived", self.derived_before)
        return replace(self, **changes, generation=self.generation + 1, derived_before=derived)
