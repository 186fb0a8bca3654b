"""The rules of a cluster: the last good version of each, and what its status is to say. The store feeds it."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from prometheus_client import CollectorRegistry, Gauge

from control.api.kinds import Kind
from control.api.resource import Key, Resource
from control.api.violation import Violation
from control.kubernetes.resources import ApiResource
from control.kubernetes.status import Condition, StatusWriter, Subject, message_of
from control.stores.kubernetes.gateway_status import GatewayStatus
from control.stores.kubernetes.rules import Rule
from control.stores.stored import StoredRule, Verdict

_log = logging.getLogger("remora.store")


GATEWAYS_OWN = ("Programmed", "ResolvedRefs")
NO_STATUS = GatewayStatus(())
"""Of one that is not in effect."""


class RuleBook:
    """A rule that is wrong never displaces the last good version of itself."""

    def __init__(self, status: StatusWriter, registry: CollectorRegistry) -> None:
        self._status = status
        self._rules: dict[Key, tuple[Rule, Subject]] = {}
        self._good: dict[Key, Resource] = {}
        self._stored: dict[Key, StoredRule] = {}
        self._findings: Mapping[Key, Sequence[Violation]] | None = None
        self._gateways: Mapping[Key, GatewayStatus] | None = None
        self.dirty = False
        """Whether `good` is another than when this was last set to False."""
        refused = Gauge(
            "remora_rules_refused",
            "Rules of the cluster that are wrong; of each the last good version goes on",
            registry=registry,
        )
        refused.set_function(lambda: float(sum(rule.resource is None for rule, _ in self._rules.values())))

    @property
    def good(self) -> Mapping[Key, Resource]:
        """What holds."""
        return MappingProxyType(self._good)

    def newest(self, key: Key) -> Rule | None:
        """The newest version seen, good or not."""
        found = self._rules.get(key)
        return found[0] if found is not None else None

    def stored(self, keys: Iterable[Key] | None = None) -> dict[Key, StoredRule]:
        """The newest versions of all, or of those of `keys` that there are, with what their status is to say."""
        return dict(self._stored) if keys is None else {key: self._stored[key] for key in keys if key in self._stored}

    def changed(self, kind: Kind, resource: ApiResource, name: tuple[str, str], after: Rule | None) -> None:
        """A rule is new, another, or gone."""
        key = Key(kind.name, *name)
        before = self._rules.get(key)
        if after is None:
            if before is not None:
                del self._rules[key], self._stored[key]
                self._status.forget(before[1])
            if self._good.pop(key, None) is not None:
                self.dirty = True
            return
        subject = Subject(resource, kind.name, *name)
        self._rules[key] = after, subject
        if after.resource is not None:
            if self._good.get(key) != after.resource:
                self._good[key] = after.resource
                self.dirty = True
        elif before is None or before[0].violations != after.violations:
            goes_on = "the last good version goes on" if key in self._good else "there is no good version of it"
            for violation in after.violations:
                _log.warning("%s; %s", violation, goes_on)
        self._report(key)

    def analyzed(self, findings: Iterable[Violation]) -> None:
        """What is to be said of the rules beside each other."""
        by_key: dict[Key, list[Violation]] = {}
        for each in findings:
            by_key.setdefault(Key(each.kind, each.namespace, each.name), []).append(each)
        self._findings = by_key
        for key in self._rules:
            self._report(key)

    def gateways(self, found: Mapping[Key, GatewayStatus]) -> None:
        """What is to be said of Gateways beyond that."""
        before, self._gateways = self._gateways, found
        for key in self._rules:
            if key.kind == "Gateway" and (before is None or before.get(key) != found.get(key)):
                self._report(key)

    def _report(self, key: Key) -> None:
        rule, subject = self._rules[key]
        conditions, addresses = self._conditions(key, rule), rule.reported.addresses
        if key.kind == "Gateway" and self._gateways is None:
            conditions += tuple(each for each in rule.reported.conditions if each.type in GATEWAYS_OWN)
        elif key.kind == "Gateway" and self._gateways is not None:
            known = self._gateways.get(key, NO_STATUS)
            conditions, addresses = conditions + known.of(rule.generation), known.addresses
        self._status.want(subject, conditions, rule.reported, addresses)
        verdicts = tuple(Verdict(each.type, each.status, each.reason, each.message) for each in conditions)
        self._stored[key] = StoredRule(key, rule.etag, rule.text, rule.document, rule.created_at, verdicts)

    def _conditions(self, key: Key, rule: Rule) -> tuple[Condition, ...]:
        if rule.resource is None:
            lines = [_line(each) for each in rule.violations]
            if key in self._good:
                lines.append("the last good version goes on")
            return (Condition("Accepted", "False", "Invalid", message_of(lines), rule.generation),)
        accepted = Condition("Accepted", "True", "Accepted", "", rule.generation)
        if self._findings is None:
            return accepted, *(each for each in rule.reported.conditions if each.type == "Analyzed")
        found = self._findings.get(key, ())
        if not found:
            return accepted, Condition("Analyzed", "True", "NoFindings", "", rule.generation)
        reason = "Errors" if any(each.severity == "error" for each in found) else "Warnings"
        text = message_of(_line(each) for each in found)
        return accepted, Condition("Analyzed", "False", reason, text, rule.generation)


def _line(violation: Violation) -> str:
    """Without file and line, which it has not, nor kind and name, under which it is shown."""
    return f"{violation.path}: {violation.message}" if violation.path else violation.message
