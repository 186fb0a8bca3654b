"""PeerAuthentication to peer policies."""

from collections.abc import Iterator

from control.api.kinds.peer_authentication import Mode, PeerAuthenticationSpec
from control.api.resource import Resource
from control.api.violation import Violation
from control.api.world import World
from control.ir.policies import MtlsMode, PeerPolicies, PeerPolicy


def peers(world: World, root_namespaces: tuple[str, ...], violations: list[Violation]) -> PeerPolicies:
    """All of them, with a warning where a port's mode cannot be kept."""
    found = []
    for resource in world.of_kind("PeerAuthentication"):
        spec = resource.spec
        assert isinstance(spec, PeerAuthenticationSpec)
        found.append(
            PeerPolicy(
                namespace=resource.namespace,
                selector=spec.selector.match_labels if spec.selector else {},
                mode=_mode(spec.mtls.mode),
                ports={port: _mode(mtls.mode) for port, mtls in sorted(spec.port_level_mtls.items())},
            )
        )
    policies = PeerPolicies(tuple(found), root_namespaces)
    for resource in world.of_kind("PeerAuthentication"):
        violations += _ports_that_differ(world, resource, policies)
    return policies


def _ports_that_differ(world: World, resource: Resource, policies: PeerPolicies) -> Iterator[Violation]:
    spec = resource.spec
    assert isinstance(spec, PeerAuthenticationSpec)
    if not spec.port_level_mtls or spec.selector is None:
        return
    numbers: set[int] = set()
    near = [each for (namespace, _), each in world.workloads.items() if namespace == resource.namespace]
    for workload in sorted(near, key=lambda w: w.name):
        labels = workload.effective_labels
        if not spec.selector.match_labels.items() <= labels.items():
            continue
        by_address: dict[str | None, list[int]] = {}
        for port in workload.ports:
            at = port.app if workload.addresses else port.inbound or workload.inbound
            by_address.setdefault(at, []).append(port.service_port)
        for ports in by_address.values():
            numbers.update(ports)
            if len({policies.of_port(workload.namespace, labels, number) for number in ports}) > 1:
                mode = policies.of_workload(workload.namespace, labels, ports)
                message = (
                    f"differs between ports of {workload.name}, which share one address; {mode.value} holds for all"
                )
                yield resource.violation(("spec", "portLevelMtls"), message, "warning")
    for number in sorted(set(spec.port_level_mtls) - numbers):
        message = f"names port {number}, which no selected workload has; they have {sorted(numbers) or 'none'}"
        yield resource.violation(("spec", "portLevelMtls", str(number)), message, "warning")


def _mode(mode: Mode) -> MtlsMode | None:
    return None if mode == "UNSET" else MtlsMode(mode)
