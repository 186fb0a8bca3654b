"""Services of the World and ServiceEntries to services of the mesh, with their instances."""

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from control.api.kinds.service_entry import EntryEndpoint, EntryPort, ServiceEntrySpec
from control.api.protocols import AUTO, REQUESTS
from control.api.resource import Resource
from control.api.services import Port as WorldPort
from control.api.services import Service as WorldService
from control.api.violation import Violation
from control.api.workload import AppPort, Workload
from control.api.world import World
from control.ir.address import Address
from control.ir.policies import MtlsMode, PeerPolicies
from control.ir.services import Endpoint, Port, Resolution, Service
from control.ir.settings import MeshSettings
from control.translate.kept import kept
from control.translate.protocols import protocol
from control.translate.proxies import address, identity_of


@dataclass(frozen=True, slots=True, eq=False)
class TranslatedService:
    """A service of the mesh and what it was made of."""

    source: WorldService | Resource
    service: Service
    violations: tuple[Violation, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceTranslator:
    """Knows what holds for every service; one use each translation."""

    settings: MeshSettings
    peers: PeerPolicies
    known: Mapping[str, TranslatedService] = field(default_factory=dict)
    """What came of services under the same settings and policies."""

    def services(self, world: World, violations: list[Violation]) -> dict[str, TranslatedService]:
        """By host, sorted. Services come before entries that claim the same host."""
        found: dict[str, TranslatedService] = {}
        for service in world.services.values():
            known = self.known.get(service.host)
            if known is None or known.source is not service:
                said: list[Violation] = []
                made = kept(None if known is None else known.service, self._service(service, said))
                known = TranslatedService(service, made, tuple(said))
            found[service.host] = known
            violations += known.violations
        for resource in world.of_kind("ServiceEntry"):
            assert isinstance(resource.spec, ServiceEntrySpec)
            for index, host in enumerate(resource.spec.hosts):
                if host in found:
                    message = f"{host} is already another service's name, which goes on to hold"
                    violations.append(resource.violation(("spec", "hosts", index), message, "warning"))
                    continue
                known = self.known.get(host)
                if known is None or known.source is not resource:
                    made = kept(None if known is None else known.service, self._entry(resource, resource.spec, host))
                    known = TranslatedService(resource, made)
                found[host] = known
        return dict(sorted(found.items()))

    def _service(self, service: WorldService, violations: list[Violation]) -> Service:
        for index, port in enumerate(service.ports):
            for workload, app in port.members if service.resource is not None else ():
                if port.protocol not in REQUESTS and port.protocol != AUTO and _shares_address(workload, app):
                    assert service.resource is not None
                    message = f"is {port.protocol}, but {workload.name} takes it at an address with other ports, where "
                    message += "only requests can be told apart: give it an inbound address of its own"
                    violations.append(service.resource.violation(("spec", "ports", index), message, "warning"))
        return Service(
            host=service.host,
            name=service.name,
            namespace=service.namespace,
            ports=tuple(Port(port.number, port.name, protocol(port.protocol)) for port in service.ports),
            endpoints={port.number: tuple(self._endpoints(service, port)) for port in service.ports},
            resolution=Resolution.DNS if service.external_name else Resolution.PUSHED,
            addresses=service.addresses,
        )

    def _endpoints(self, service: WorldService, port: WorldPort) -> Iterator[Endpoint]:
        if service.external_name:
            yield Endpoint(Address(service.external_name, port.number), namespace=service.namespace)
        for each in port.others:
            yield Endpoint(
                Address(each.host, each.port),
                namespace=service.namespace,
                cluster_id=each.cluster or self.settings.cluster_id,
                locality=each.locality,
                zones=service.nearest.get(each.host, frozenset()),
            )
        for workload, app in port.members:
            if workload.addresses:
                yield self._pod(service, workload, app)
                continue
            at = app.inbound or workload.inbound
            if at is not None:
                yield self._endpoint(workload, at)

    def _endpoint(self, workload: Workload, inbound: str) -> Endpoint:
        labels = workload.effective_labels
        at = address(inbound)
        together = [each.service_port for each in workload.ports if (each.inbound or workload.inbound) == inbound]
        mode = self.peers.of_workload(workload.namespace, labels, together)
        return Endpoint(
            address=at,
            labels=labels,
            tls=mode is not MtlsMode.DISABLE,
            principal=str(identity_of(workload, self.settings.trust_domain)),
            workload=workload.name,
            namespace=workload.namespace,
            cluster_id=self.settings.cluster_id,
        )

    def _pod(self, service: WorldService, workload: Workload, app: AppPort) -> Endpoint:
        """Clients reach it at its own port, whoever takes the connection there."""
        labels = workload.effective_labels
        mode = self.peers.of_port(workload.namespace, labels, app.service_port)
        at = address(app.app)
        return Endpoint(
            address=at,
            labels=labels,
            tls=workload.capture and mode is not MtlsMode.DISABLE,
            principal=str(identity_of(workload, self.settings.trust_domain)) if workload.capture else "",
            workload=workload.name,
            namespace=workload.namespace,
            cluster_id=workload.cluster or self.settings.cluster_id,
            pod=True,
            locality=workload.locality,
            zones=service.nearest.get(at.host, frozenset()),
            called=(workload.owner or workload.name, workload.canonical_service, workload.canonical_revision),
        )

    def _entry(self, resource: Resource, spec: ServiceEntrySpec, host: str) -> Service:
        resolution = Resolution.PUSHED if spec.resolution == "STATIC" else Resolution.DNS
        endpoints = spec.endpoints or (EntryEndpoint(address=host),)
        if all(_is_address(endpoint.address) for endpoint in endpoints):
            resolution = Resolution.PUSHED
        return Service(
            host=host,
            name=host,
            namespace=resource.namespace,
            ports=tuple(Port(port.number, port.name, protocol(port.protocol)) for port in spec.ports),
            endpoints={port.number: tuple(self._outside(e, port, resource) for e in endpoints) for port in spec.ports},
            resolution=resolution,
            external=True,
            sans=spec.subject_alt_names,
        )

    def _outside(self, endpoint: EntryEndpoint, port: EntryPort, resource: Resource) -> Endpoint:
        number = endpoint.ports.get(port.name, port.target_port or port.number)
        return Endpoint(
            address=Address(endpoint.address, number),
            weight=endpoint.weight,
            labels=endpoint.labels,
            namespace=resource.namespace,
        )


def _shares_address(workload: Workload, port: AppPort) -> bool:
    if workload.addresses:
        return False
    at = port.inbound or workload.inbound
    return sum((each.inbound or workload.inbound) == at for each in workload.ports) > 1


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
