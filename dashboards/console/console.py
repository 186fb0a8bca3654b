"""What the pages are given: the mesh's two sources of knowledge and the clock."""

from dataclasses import dataclass

from dashboards.console.control import ControlPlane
from dashboards.console.telemetry import Telemetry
from mesh.clock import Clock


@dataclass(frozen=True, slots=True)
class Console:
    """Shared by all pages of all tabs."""

    telemetry: Telemetry
    control: ControlPlane
    clock: Clock
