"""What `remora up` was asked for."""

from dataclasses import dataclass
from pathlib import Path

from remora.up.back_ends import Elasticsearch
from remora.up.grafana import Grafana


@dataclass(frozen=True, slots=True)
class Options:
    """The flags, checked."""

    state: Path
    samples: bool = True
    """Bookinfo and its first rules."""
    load: bool = True
    seconds: float | None = None
    """End after so long; None: when told."""
    console_port: int | None = None
    """None: the usual one if it is free, else any."""
    ingress_port: int | None = None
    elasticsearch: Elasticsearch | None = None
    """Where logs and traces go besides the embedded store."""
    collector_config: Path | None = None
    """The collector's settings, instead of those that `up` would make."""

    grafana: Grafana | None = None
    """Gets dashboards and data sources when the mesh is up."""

    @property
    def has_load(self) -> bool:
        """There is nobody to visit without the samples."""
        return self.load and self.samples


CONSOLE_PORT = 20001
INGRESS_PORT = 8080
TRACE_SAMPLING_PERCENT = 100
"""On a laptop every request is worth looking at."""
