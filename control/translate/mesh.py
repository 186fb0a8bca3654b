"""World to mesh: the composition of this package's parts."""

from dataclasses import dataclass

from control.api.violation import Violation
from control.api.world import World
from control.ir.mesh import Mesh
from control.ir.settings import MeshSettings
from control.translate.addons import addons
from control.translate.destinations import destinations
from control.translate.gateways import gateways
from control.translate.peers import peers
from control.translate.python_filters import python_filters
from control.translate.routes import routes
from control.translate.services import ServiceTranslator


@dataclass(frozen=True, slots=True)
class Translated:
    """The mesh, and what could not be said in it (warnings; the rest of the mesh is whole)."""

    mesh: Mesh
    violations: tuple[Violation, ...] = ()


def translate(world: World, settings: MeshSettings | None = None) -> Translated:
    """Never raises for a World of parsed resources."""
    settings = settings or MeshSettings()
    violations: list[Violation] = []
    policies = peers(world, settings.root_namespaces, violations)
    services = ServiceTranslator(settings, policies).services(world, violations)
    mesh = Mesh(
        settings=settings,
        services=services,
        routes=routes(world, services),
        destinations=destinations(world, services),
        gateways=gateways(world),
        peers=policies,
        addons=addons(world),
        filters=python_filters(world),
    )
    return Translated(mesh, tuple(violations))
