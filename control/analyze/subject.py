"""A World prepared for questions: which hosts there are, which subsets, which gateways."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from control.api.hosts import SUFFIX, full_name
from control.api.kinds.destination_rule import DestinationRuleSpec
from control.api.kinds.service_entry import ServiceEntrySpec
from control.api.kinds.virtual_service import VirtualServiceSpec
from control.api.resource import Resource
from control.api.world import World


@dataclass(frozen=True)
class Subject:
    """What is analyzed."""

    world: World

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

    def short(self, host: str) -> str:
        """A service's host as people write it: `reviews`, or `reviews.other` outside the default namespace."""
        if not host.endswith(f".{SUFFIX}"):
            return host
        name, _, namespace = host.removesuffix(f".{SUFFIX}").partition(".")
        return name if namespace == "default" else f"{name}.{namespace}"
