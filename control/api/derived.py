"""Services as they follow from rules and workloads, from one World to the next: what a change does not touch stays the
same object."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from control.api.kinds.service import ServiceSpec
from control.api.resource import Key, Resource
from control.api.services import Service, ServiceKey, claimed, declared, derive_services, selects
from control.api.workload import Workload

WorkloadKey = tuple[str, str]
"""(namespace, name)."""


@dataclass(frozen=True, slots=True, eq=False)
class Derived:
    """What was derived, and from what."""

    resources: Mapping[Key, Resource]
    workloads: Mapping[WorkloadKey, Workload]
    services: Mapping[ServiceKey, Service]
    """By (namespace, name), sorted."""
    stored: Mapping[str, Mapping[str, Resource]]
    """The Services among the rules, by namespace and name."""


def derive(
    resources: Mapping[Key, Resource], workloads: Mapping[WorkloadKey, Workload], before: Derived | None = None
) -> Derived:
    """The same as from nothing, at the cost of what has changed since `before`."""
    if before is None:
        services = derive_services(resources, workloads.values())
        return Derived(resources, workloads, MappingProxyType(services), _stored(resources))
    stored = before.stored if before.resources is resources else _stored(resources)
    changes = _Changes(before, workloads, stored)
    made = dict(before.services)
    for key in changes.services():
        service = changes.service(key)
        if service is None:
            made.pop(key, None)
        else:
            made[key] = service
    ordered = made if made.keys() == before.services.keys() else dict(sorted(made.items()))
    return Derived(resources, workloads, MappingProxyType(ordered), stored)


def _stored(resources: Mapping[Key, Resource]) -> dict[str, dict[str, Resource]]:
    found: dict[str, dict[str, Resource]] = {}
    for key, resource in resources.items():
        if isinstance(resource.spec, ServiceSpec):
            found.setdefault(key.namespace, {})[key.name] = resource
    return found


class _Changes:
    """From one World to the next."""

    def __init__(
        self, before: Derived, workloads: Mapping[WorkloadKey, Workload], stored: Mapping[str, Mapping[str, Resource]]
    ) -> None:
        self._before = before
        self._workloads = workloads
        self._stored = stored
        old = before.workloads
        self._gone = {key: each for key, each in old.items() if workloads.get(key) is not each}
        self._come = {key: each for key, each in workloads.items() if old.get(key) is not each}

    def services(self) -> set[ServiceKey]:
        """Those that may have changed."""
        found = set(self._restored())
        for workload in (*self._gone.values(), *self._come.values()):
            if workload.service is not None:
                found.add((workload.namespace, workload.service))
            for name, resource in self._stored.get(workload.namespace, {}).items():
                if selects(resource, workload):
                    found.add((workload.namespace, name))
        return found

    def service(self, key: ServiceKey) -> Service | None:
        """As it is now: the object before, where that says the same."""
        namespace, name = key
        resource = self._stored.get(namespace, {}).get(name)
        old = self._before.services.get(key)
        members = self._members(key, resource, old)
        if resource is not None:
            made = declared(resource, members)
        elif members:
            made = claimed(namespace, name, members)
        else:
            return None
        return old if old is not None and old.resource is made.resource and old == made else made

    def _members(self, key: ServiceKey, resource: Resource | None, old: Service | None) -> list[Workload]:
        """By name."""
        if old is not None and old.resource is resource:
            # What has not changed is a member if it was one.
            kept = (each for each in old.members if (each.namespace, each.name) not in self._gone)
            found = [*kept, *(each for each in self._come.values() if self._is_member(key, resource, each))]
        else:
            found = [each for each in self._workloads.values() if self._is_member(key, resource, each)]
        return sorted(found, key=lambda each: each.name)

    def _is_member(self, key: ServiceKey, resource: Resource | None, workload: Workload) -> bool:
        namespace, name = key
        if workload.namespace != namespace or workload.finished:
            return False
        return workload.service == name if resource is None else selects(resource, workload)

    def _restored(self) -> Iterator[ServiceKey]:
        """Services that rules say otherwise, or anew, or not any more."""
        before = self._before.stored
        if before is self._stored:
            return
        for namespace in before.keys() | self._stored.keys():
            old, new = before.get(namespace, {}), self._stored.get(namespace, {})
            yield from ((namespace, name) for name in old.keys() | new.keys() if old.get(name) is not new.get(name))
