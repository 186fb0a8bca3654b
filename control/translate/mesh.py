"""World to mesh: the composition of this package's parts."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from control.api.violation import Violation
from control.api.world import World
from control.ir.instances import Behind, WorkloadKey, changed, instances
from control.ir.mesh import Credential, Mesh
from control.ir.services import Service
from control.ir.settings import MeshSettings
from control.translate.kept import kept, same_objects
from control.translate.peers import peers
from control.translate.rules import Rules, rules
from control.translate.services import ServiceTranslator, TranslatedService


@dataclass(frozen=True, slots=True)
class Translated:
    """The mesh, and what could not be said in it (warnings; the rest of the mesh is whole)."""

    mesh: Mesh
    violations: tuple[Violation, ...] = ()
    world: World = field(default_factory=World, repr=False)
    services: Mapping[str, TranslatedService] = field(default_factory=dict, repr=False)
    """By host, with what each was made of."""
    rules: Rules | None = field(default=None, repr=False)
    captures: bool = False
    """Whether the connections of any workload are captured: only then anybody chooses an instance by its address."""


def translate(world: World, settings: MeshSettings | None = None, before: Translated | None = None) -> Translated:
    """Never raises for a World of parsed resources. Where the World `before` came to the same, the mesh has the same
    objects; services that are the same objects are not looked at again."""
    old = None if before is None else before.mesh
    settings = kept(None if old is None else old.settings, settings or MeshSettings())
    violations: list[Violation] = []
    policies = kept(None if old is None else old.peers, peers(world, settings.root_namespaces, violations))
    judged_alike = old is not None and old.settings is settings and old.peers is policies
    known = before.services if before is not None and judged_alike else {}
    translated = ServiceTranslator(settings, policies, known).services(world, violations)
    services: Mapping[str, Service] = {host: each.service for host, each in translated.items()}
    if old is not None and same_objects(old.services, services):
        services = old.services
    said = _rules(world, services, before)
    credentials = _credentials(world, old)
    judged_alike = judged_alike and old is not None and old.credentials is credentials
    captures = any(each.capture for each in world.workloads.values())
    alike = before is not None and judged_alike and _shows_as(services, said, captures, before)
    mesh = Mesh(
        settings=settings,
        services=services,
        routes=said.routes,
        destinations=said.destinations,
        gateways=said.gateways,
        credentials=credentials,
        peers=policies,
        addons=said.addons,
        filters=said.filters,
        instances=_instances(services, old),
        shape=before.mesh.shape if before is not None and alike else object(),
    )
    return Translated(mesh, tuple(violations), world, translated, said, captures)


def _credentials(world: World, old: Mesh | None) -> Mapping[tuple[str, str], Credential]:
    made = {
        key: Credential(each.chain_pem, each.key_pem, each.authorities_pem) for key, each in world.credentials.items()
    }
    return old.credentials if old is not None and old.credentials == made else made


def _rules(world: World, services: Mapping[str, Service], before: Translated | None) -> Rules:
    """A rule means the service that has the name that it says, so new names may be a new meaning."""
    if before is None or before.rules is None:
        return rules(world, services, None)
    if before.mesh.services.keys() == services.keys() and same_objects(before.world.resources, world.resources):
        return before.rules
    return rules(world, services, before.rules)


def _instances(services: Mapping[str, Service], old: Mesh | None) -> Mapping[WorkloadKey, tuple[Behind, ...]]:
    if old is None or old.instances is None:
        return instances(services.values())
    if old.services is services:
        return old.instances
    gone = [each for host, each in old.services.items() if services.get(host) is not each]
    come = [each for host, each in services.items() if old.services.get(host) is not each]
    return changed(old.instances, gone, come)


def _shows_as(services: Mapping[str, Service], said: Rules, captures: bool, before: Translated) -> bool:
    """Whether a mesh of the same settings has the same shape."""
    old = before.mesh.services
    if before.rules is None or not before.rules.same(said) or old.keys() != services.keys():
        return False
    if captures is not before.captures:
        return False
    return all(old[host] is each or old[host].shows_as(each, by_address=captures) for host, each in services.items())
