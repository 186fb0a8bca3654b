"""World to mesh: the composition of this package's parts."""

from dataclasses import dataclass

from control.api.violation import Violation
from control.api.world import World
from control.ir.mesh import Mesh
from control.ir.settings import MeshSettings


@dataclass(frozen=True, slots=True)
class Translated:
    """The mesh, and what could not be said in it (warnings; the rest of the mesh is whole)."""

    mesh: Mesh
    violations: tuple[Violation, ...] = ()


def translate(world: World, settings: MeshSettings | None = None) -> Translated:
    """Never raises for a World of parsed resources."""
    return Translated(Mesh(settings or MeshSettings()))
