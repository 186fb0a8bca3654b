"""A World prepared for questions: which hosts there are, which subsets, which gateways."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from control.api.field_errors import did_you_mean
from control.api.hosts import SUFFIX, full_name
from control.api.kinds.destination_rule import DestinationRuleSpec
from control.api.kinds.service_entry import ServiceEntrySpec
from control.api.kinds.virtual_service import VirtualServiceSpec
from control.api.resource import Resource
from control.api.world import World

MANY_NAMES = 200
MAX_COMPARED = 5_000


@dataclass(frozen=True)
class Subject:
    """What is analyzed."""

    world: World
    _compared: list[int] = field(default_factory=lambda: [0])
    """Names that were looked at for guesses."""
    _names: dict[str, list[str]] = field(default_factory=dict)

    @cached_property
    def ports(self) -> dict[str, set[int]]:
        """Every host that requests can be sent to, with its ports."""
        hosts = {s.host: {port.number for port in s.ports} for s in self.world.services.values()}
        for resource in self.world.of_kind("ServiceEntry"):
            assert isinstance(resource.spec, ServiceEntrySpec)
            for host in resource.spec.hosts:
                hosts.setdefault(host, {port.number for port in resource.spec.ports})
        return hosts

    @cached_property
    def destination_rules(self) -> dict[str, list[Resource]]:
        """By the full host."""
        found: dict[str, list[Resource]] = {}
        for resource in self.world.of_kind("DestinationRule"):
            assert isinstance(resource.spec, DestinationRuleSpec)
            found.setdefault(self.full(resource.spec.host, resource), []).append(resource)
        return found

    @cached_property
    def subsets(self) -> dict[str, set[str]]:
        """By the full host: what any DestinationRule defines."""
        found: dict[str, set[str]] = {}
        for host, rules in self.destination_rules.items():
            for rule in rules:
                assert isinstance(rule.spec, DestinationRuleSpec)
                found.setdefault(host, set()).update(subset.name for subset in rule.spec.subsets)
        return found

    def full(self, host: str, resource: Resource) -> str:
        """The full name of a host that a rule writes."""
        return full_name(host, resource.namespace, self.ports)

    def virtual_services(self) -> Iterator[tuple[Resource, VirtualServiceSpec]]:
        """Oldest first."""
        for resource in self.world.of_kind("VirtualService"):
            assert isinstance(resource.spec, VirtualServiceSpec)
            yield resource, resource.spec

    def names(self, namespace: str) -> list[str]:
        """Of every host, as people write them in rules of `namespace`; sorted."""
        if namespace not in self._names:
            self._names[namespace] = sorted({self.short(host, namespace) for host in self.ports})
        return self._names[namespace]

    def guess(self, written: str, names: Sequence[str]) -> str:
        """`; did you mean ...?`, or nothing. `names` are sorted.

        Comparing two words takes 0.03 ms, and thousands may be unknown among thousands: of many names the neighbours in
        the alphabet are looked at, and after so many comparisons nothing is guessed any more.
        """
        if len(names) > MANY_NAMES:
            at = bisect_left(names, written)
            names = names[max(0, at - MANY_NAMES // 2) : at + MANY_NAMES // 2]
        if self._compared[0] >= MAX_COMPARED:
            return ""
        self._compared[0] += len(names)
        return did_you_mean(written, list(names))

    def short(self, host: str, namespace: str) -> str:
        """A service's host as people write it in rules of `namespace`: `reviews`, or of another's `reviews.other`."""
        if not host.endswith(f".{SUFFIX}"):
            return host
        name, _, its = host.removesuffix(f".{SUFFIX}").partition(".")
        return name if its == namespace else f"{name}.{its}"
