"""Which services a workload stands behind, kept from one mesh to the next."""

from collections.abc import Iterable, Iterator, Mapping

from control.ir.services import Service

WorkloadKey = tuple[str, str]
"""(namespace, name)."""
Behind = tuple[str, int, int]
"""A service's host, the number of a port of it, and the number of the workload's port that it leads to."""


def instances(services: Iterable[Service]) -> dict[WorkloadKey, tuple[Behind, ...]]:
    """By workload; each by host."""
    found: dict[WorkloadKey, list[Behind]] = {}
    for service in sorted(services, key=lambda each: each.host):
        for workload, behind in _of(service):
            found.setdefault(workload, []).append(behind)
    return {workload: tuple(behind) for workload, behind in found.items()}


def changed(
    before: Mapping[WorkloadKey, tuple[Behind, ...]], gone: Iterable[Service], come: Iterable[Service]
) -> Mapping[WorkloadKey, tuple[Behind, ...]]:
    """The same with some services replaced. A workload for which nothing changes keeps its very tuple."""
    left = {service.host for service in gone}
    touched: dict[WorkloadKey, list[Behind]] = {}
    for service in gone:
        for workload, _ in _of(service):
            touched.setdefault(workload, [])
    for service in come:
        for workload, behind in _of(service):
            touched.setdefault(workload, []).append(behind)
    made = dict(before)
    for workload, new in touched.items():
        kept = before.get(workload, ())
        merged = tuple(sorted([*(each for each in kept if each[0] not in left), *new], key=lambda each: each[0]))
        if not merged:
            made.pop(workload, None)
        elif merged != kept:
            made[workload] = merged
    return made


def _of(service: Service) -> Iterator[tuple[WorkloadKey, Behind]]:
    for number, endpoints in service.endpoints.items():
        for endpoint in endpoints:
            at = endpoint.address.port if endpoint.pod else number
            yield (endpoint.namespace, endpoint.workload), (service.host, number, at)
