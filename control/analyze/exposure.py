"""Hosts that a rule brings to a gateway which does not answer for them (Istio's analyzer: IST0132, a warning).

The other way round, a Gateway for whose hosts there is no rule, is how everybody begins and no finding.
"""

from collections.abc import Iterator

from control.analyze.subject import Subject
from control.api.hosts import matches
from control.api.kinds.gateway import GatewaySpec
from control.api.resource import Resource
from control.api.violation import Violation
from control.translate.matches import gateway_name


def exposure(subject: Subject) -> Iterator[Violation]:
    """Warnings: nobody reaches such a host through the gateway."""
    gateways = {f"{r.namespace}/{r.name}": r for r in subject.world.of_kind("Gateway")}
    for resource, spec in subject.virtual_services():
        named = [gateway_name(each, resource.namespace) for each in spec.gateways]
        known = [gateways[name] for name in named if name in gateways]
        if not known or len(known) < len(named):
            continue  # within the mesh every host counts; a gateway that is missing has a finding of its own
        offered = [pattern for gateway in known for pattern in _hosts_for(gateway, resource.namespace)]
        for index, host in enumerate(spec.hosts):
            if not any(matches(pattern, host) or matches(host, pattern) for pattern in offered):
                there = ", ".join(dict.fromkeys(offered)) or f"nothing for namespace {resource.namespace}"
                message = (
                    f"is {host!r}, for which {', '.join(named)} does not answer: it has {there}; add the host there"
                )
                yield resource.violation(("spec", "hosts", index), message, "warning")


def _hosts_for(gateway: Resource, namespace: str) -> Iterator[str]:
    """The hosts of the gateway that rules of `namespace` may have: `HOST`, `*/HOST`, `./HOST` or `NAMESPACE/HOST`."""
    assert isinstance(gateway.spec, GatewaySpec)
    for server in gateway.spec.servers:
        for written in server.hosts:
            allowed, slash, host = written.rpartition("/")
            if not slash or allowed in ("*", namespace) or (allowed == "." and namespace == gateway.namespace):
                yield host
