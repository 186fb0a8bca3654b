"""Which of the addresses in a Service's slices its clients get. Pure.

Slices overlap while the endpoint controller moves endpoints between them; a dual-stack service has every pod twice;
pods that terminate serve only where nobody else does, as kube-proxy has it.
https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#duplicate-endpoints
"""

from collections.abc import Iterable
from typing import NamedTuple

from control.stores.kubernetes.services import ServiceFacts, SliceFacts


class Chosen(NamedTuple):
    """One instance at one port."""

    address: str
    port: int
    name: str
    """The port's; may be empty."""
    pod: str = ""
    node: str = ""
    zone: str = ""
    zones: frozenset[str] = frozenset()


class _Found(NamedTuple):
    chosen: Chosen
    ready: bool
    main: bool
    """Of the service's main family of addresses."""


def choose(service: ServiceFacts, slices: Iterable[SliceFacts]) -> dict[str, tuple[Chosen, ...]]:
    """By the port's name, in the order of addresses."""
    found: dict[str, dict[tuple[str, int], _Found]] = {port.name: {} for port in service.ports}
    for each in slices:
        main = not service.families or each.family == service.families[0]
        for name, number in each.ports.items():
            at = found.get(name)
            if at is not None:
                _collect(at, each, name, number, main)
    return {name: _best(at.values()) for name, at in found.items()}


def _collect(at: dict[tuple[str, int], _Found], each: SliceFacts, name: str, number: int, main: bool) -> None:
    for endpoint in each.endpoints:
        key = (endpoint.address, number)
        before = at.get(key)
        useless = not endpoint.ready and not endpoint.serving
        if useless or (before is not None and (before.ready or not endpoint.ready)):
            continue
        chosen = Chosen(endpoint.address, number, name, endpoint.pod, endpoint.node, endpoint.zone, endpoint.zones)
        at[key] = _Found(chosen, endpoint.ready, main)


def _best(found: Iterable[_Found]) -> tuple[Chosen, ...]:
    """Those that are ready, else those that end and still serve; each pod once, at the main family's address if it has
    one there."""
    candidates = list(found)
    if any(each.ready for each in candidates):
        candidates = [each for each in candidates if each.ready]
    main = [each.chosen for each in candidates if each.main]
    pods = {each.pod for each in main if each.pod}
    bare = any(not each.pod for each in main)
    rest = [each.chosen for each in candidates if not each.main]
    taken: dict[str, None] = {}
    for each in rest:
        if each.pod and each.pod not in pods:
            if each.pod in taken:
                continue
            taken[each.pod] = None
            main.append(each)
        elif not each.pod and not bare:
            main.append(each)
    return tuple(sorted(main, key=lambda each: (each.address, each.port)))
