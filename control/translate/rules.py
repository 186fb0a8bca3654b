"""What the rules of a World say, of which none is looked at again while it and the names of services are the same."""

from collections.abc import Container, Mapping
from dataclasses import dataclass

from control.api.world import World
from control.ir.addons import Addons
from control.ir.mesh import Gateway
from control.ir.policies import DestinationPolicy
from control.ir.python_filters import PythonFilter
from control.ir.routes import HostRoutes
from control.translate.addons import addons
from control.translate.destinations import destinations
from control.translate.gateways import gateways
from control.translate.kept import kept, kept_all, kept_values
from control.translate.python_filters import python_filters
from control.translate.routes import routes


@dataclass(frozen=True, slots=True, eq=False)
class Rules:
    """As a Mesh has them."""

    routes: tuple[HostRoutes, ...]
    destinations: Mapping[tuple[str, str], DestinationPolicy]
    gateways: Mapping[str, Gateway]
    addons: Addons
    filters: tuple[PythonFilter, ...]

    def same(self, other: "Rules") -> bool:
        """Whether the two have the very same objects."""
        return (
            len(self.routes) == len(other.routes)
            and all(mine is its for mine, its in zip(self.routes, other.routes, strict=True))
            and self.destinations is other.destinations
            and self.gateways is other.gateways
            and self.addons is other.addons
            and self.filters is other.filters
        )


def rules(world: World, hosts: Container[str], before: Rules | None) -> Rules:
    """With the objects of `before` where they are equal. `hosts` are the services' full names."""
    made = Rules(
        routes(world, hosts), destinations(world, hosts), gateways(world), addons(world), python_filters(world)
    )
    if before is None:
        return made
    return Rules(
        kept_all(before.routes, made.routes),
        kept_values(before.destinations, made.destinations),
        kept_values(before.gateways, made.gateways),
        kept(before.addons, made.addons),
        kept(before.filters, made.filters),
    )
