"""Rules that contradict each other: where a mesh would quietly let the older one win, both are shown instead."""

from collections.abc import Iterator
from itertools import combinations

from control.analyze.reach import catches_everything
from control.analyze.subject import Subject
from control.api.hosts import owner
from control.api.kinds.destination_rule import DestinationRuleSpec
from control.api.kinds.virtual_service import VirtualServiceSpec
from control.api.resource import Path, Resource
from control.api.violation import Violation
from control.translate.matches import gateway_name


def conflicts(subject: Subject) -> Iterator[Violation]:
    """Each finding once for each of the two rules."""
    yield from _virtual_services(subject)
    for host, rules in subject.destination_rules.items():
        for one, other in combinations(rules, 2):
            # A client's own namespace comes first, so rules of different namespaces do not meet.
            if one.namespace == other.namespace:
                yield from _destination_rules(host, one, other)


def _virtual_services(subject: Subject) -> Iterator[Violation]:
    claims: dict[tuple[str, str], list[tuple[Resource, VirtualServiceSpec, Path]]] = {}
    for resource, spec in subject.virtual_services():
        for index, host in enumerate(spec.hosts):
            for gateway in dict.fromkeys(gateway_name(each, resource.namespace) for each in spec.gateways):
                claim = (resource, spec, ("spec", "hosts", index))
                claims.setdefault((gateway, subject.full(host, resource)), []).append(claim)
    for (gateway, host), claimed in claims.items():
        for (one, one_spec, one_path), (other, other_spec, other_path) in combinations(claimed, 2):
            if gateway == "mesh":
                yield _of_one_host(subject, host, one, one_path, other)
                yield _of_one_host(subject, host, other, other_path, one)
            elif _takes_all(one_spec) and _takes_all(other_spec):
                # Istio merges rules of a gateway, what catches everything last.
                message = f"{host} on {gateway} has two rules that catch everything, this and {{}}; only one can"
                yield one.violation(one_path, message.format(_where(other)), "warning")
                yield other.violation(other_path, message.format(_where(one)), "warning")


def _of_one_host(subject: Subject, host: str, one: Resource, path: Path, other: Resource) -> Violation:
    """What is said of `one`. Nobody loses the say about his own services because others were quicker."""
    short = subject.short(host, one.namespace)
    if owner(host) == one.namespace != other.namespace:
        message = f"{short} is also in {_where(other)}, which has no effect on it beside this rule of its own namespace"
        return one.violation(path, message, "warning")
    if owner(host) == other.namespace != one.namespace:
        message = f"{short} has a rule of its own namespace, {_where(other)}; beside it this one has no effect on it"
        return one.violation(path, message, "warning")
    return one.violation(path, f"{short} has another rule, {_where(other)}; merge them into one, a host has one rule")


def _takes_all(spec: VirtualServiceSpec) -> bool:
    return any(catches_everything(route) for route in spec.http)


def _destination_rules(host: str, one: Resource, other: Resource) -> Iterator[Violation]:
    first, second = one.spec, other.spec
    assert isinstance(first, DestinationRuleSpec)
    assert isinstance(second, DestinationRuleSpec)
    if first.traffic_policy is not None and second.traffic_policy is not None:
        message = f"{host} gets a traffic policy from {{}} too; write it in one of them"
        yield one.violation(("spec", "trafficPolicy"), message.format(_where(other)))
        yield other.violation(("spec", "trafficPolicy"), message.format(_where(one)))
    names = {subset.name: index for index, subset in enumerate(first.subsets)}
    for index, subset in enumerate(second.subsets):
        if subset.name in names and subset != first.subsets[names[subset.name]]:
            message = f"the subset {subset.name!r} of {host} is defined differently by {{}}; define it in one of them"
            yield one.violation(("spec", "subsets", names[subset.name]), message.format(_where(other)))
            yield other.violation(("spec", "subsets", index), message.format(_where(one)))


def _where(resource: Resource) -> str:
    place = f" ({resource.file}:{resource.line})" if resource.file else ""
    return f"{resource.key}{place}"
