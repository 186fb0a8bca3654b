"""Rules that contradict each other: where a mesh would quietly let the older one win, both are shown instead.

Of a thousand rules that contradict each other each is told of one other, and of how many there are: what is said grows
with the rules, not with their pairs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from control.analyze.reach import catches_everything
from control.analyze.subject import Subject
from control.api.hosts import owner
from control.api.kinds.destination_rule import DestinationRuleSpec
from control.api.kinds.peer_authentication import PeerAuthenticationSpec
from control.api.resource import Path, Resource
from control.api.violation import Severity, Violation
from control.translate.matches import gateway_name


@dataclass(frozen=True, slots=True, eq=False)
class _Claim:
    """What a rule says of a host, and where."""

    resource: Resource
    path: Path


def conflicts(subject: Subject) -> Iterator[Violation]:
    """Findings for each rule that another contradicts."""
    yield from _virtual_services(subject)
    for host, rules in subject.destination_rules.items():
        # A client's own namespace comes first, so rules of different namespaces do not meet.
        by_namespace: dict[str, list[Resource]] = {}
        for rule in rules:
            by_namespace.setdefault(rule.namespace, []).append(rule)
        for together in by_namespace.values():
            yield from _policies(host, together)
            yield from _subsets(host, together)
    yield from _peer_authentications(subject)


def _virtual_services(subject: Subject) -> Iterator[Violation]:
    claims: dict[tuple[str, str], list[_Claim]] = {}
    for resource, spec in subject.virtual_services():
        takes_all = any(catches_everything(route) for route in spec.http)
        gateways = dict.fromkeys(gateway_name(each, resource.namespace) for each in spec.gateways)
        for index, host in enumerate(spec.hosts):
            for gateway in gateways:
                # Istio merges rules of a gateway, what catches everything last.
                if gateway == "mesh" or takes_all:
                    claim = _Claim(resource, ("spec", "hosts", index))
                    claims.setdefault((gateway, subject.full(host, resource)), []).append(claim)
    for (gateway, host), claimed in claims.items():
        if gateway == "mesh":
            yield from _of_one_host(subject, host, claimed)
            continue
        message = f"{host} on {gateway} has another rule that catches everything, {{}}; only one can"
        for claim in claimed:
            yield from _told(claim, claimed, True, message, "warning")


def _of_one_host(subject: Subject, host: str, claimed: Sequence[_Claim]) -> Iterator[Violation]:
    """Nobody loses the say about his own services because others were quicker."""
    own = [claim for claim in claimed if claim.resource.namespace == owner(host)]
    others = [claim for claim in claimed if claim.resource.namespace != owner(host)]
    for claim in claimed:
        short = subject.short(host, claim.resource.namespace)
        another = f"{short} has another rule, {{}}; merge them into one, a host has one rule"
        if claim.resource.namespace == owner(host):
            message = f"{short} is also in {{}}, which has no effect on it beside this rule of its own namespace"
            yield from _told(claim, others, False, message, "warning")
            yield from _told(claim, own, True, another)
        else:
            message = f"{short} has a rule of its own namespace, {{}}; beside it this one has no effect on it"
            yield from _told(claim, own, False, message, "warning")
            yield from _told(claim, others, True, another)


def _policies(host: str, rules: Sequence[Resource]) -> Iterator[Violation]:
    claimed = [_Claim(rule, ("spec", "trafficPolicy")) for rule in rules if _spec(rule).traffic_policy is not None]
    message = f"{host} gets a traffic policy from {{}} too; write it in one of them"
    for claim in claimed:
        yield from _told(claim, claimed, True, message)


def _subsets(host: str, rules: Sequence[Resource]) -> Iterator[Violation]:
    by_name: dict[str, list[_Claim]] = {}
    for rule in rules:
        for index, subset in enumerate(_spec(rule).subsets):
            by_name.setdefault(subset.name, []).append(_Claim(rule, ("spec", "subsets", index)))
    for name, claimed in by_name.items():
        oldest = _subset(claimed[0])
        same = [claim for claim in claimed if _subset(claim) == oldest]
        different = [claim for claim in claimed if _subset(claim) != oldest]
        message = f"the subset {name!r} of {host} is defined differently by {{}}; define it in one of them"
        for claims, rivals in ((same, different), (different, same)):
            for claim in claims:
                yield from _told(claim, rivals, False, message)


def _peer_authentications(subject: Subject) -> Iterator[Violation]:
    """Of two for the same workloads the older would hold, be it the one that lets plaintext in."""
    claims: dict[tuple[str, frozenset[tuple[str, str]]], list[_Claim]] = {}
    for rule in subject.world.of_kind("PeerAuthentication"):
        assert isinstance(rule.spec, PeerAuthenticationSpec)
        labels = rule.spec.selector.match_labels if rule.spec.selector else {}
        claim = _Claim(rule, ("spec", "selector") if labels else ("spec",))
        claims.setdefault((rule.namespace, frozenset(labels.items())), []).append(claim)
    for (namespace, selected), claimed in claims.items():
        labels_text = ", ".join(f"{name}={value}" for name, value in sorted(selected))
        whom = (
            f"the workloads {labels_text} of namespace {namespace}" if labels_text else f"all of namespace {namespace}"
        )
        for claim in claimed:
            yield from _told(
                claim, claimed, True, f"is for {whom}, and so is {{}}; write what is to hold in one of them"
            )


def _spec(rule: Resource) -> DestinationRuleSpec:
    assert isinstance(rule.spec, DestinationRuleSpec)
    return rule.spec


def _subset(claim: _Claim) -> object:
    return _spec(claim.resource).subsets[int(claim.path[-1])]


def _told(
    claim: _Claim, rivals: Sequence[_Claim], among: bool, message: str, severity: Severity = "error"
) -> Iterator[Violation]:
    """Of the oldest of the `rivals`, and of how many there are beside it. `among`: the claim is one of them itself."""
    beside = len(rivals) - among - 1
    if beside >= 0:
        other = rivals[1] if among and rivals[0] is claim else rivals[0]
        more = f" and {beside} more" if beside else ""
        yield claim.resource.violation(claim.path, message.format(f"{_where(other.resource)}{more}"), severity)


def _where(resource: Resource) -> str:
    place = f" ({resource.file}:{resource.line})" if resource.file else ""
    return f"{resource.key}{place}"
