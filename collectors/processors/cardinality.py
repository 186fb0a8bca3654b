"""The processor `cardinality`: bounds of one's own in place of those that every collector has (cardinality_guard)."""

from pydantic import Field

from collectors.pipeline import Consumer
from collectors.processors.cardinality_guard import Bounds, CardinalityGuard
from collectors.settings.context import Context
from collectors.settings.types import Duration, Model

_MOST = 10_000_000
_USUAL = Bounds()


class Settings(Model):
    """`processors.NAME` with `type: cardinality`. A histogram is one series."""

    max_series: int = Field(default=_USUAL.series, ge=1, le=_MOST)
    """In all."""
    max_series_per_target: int = Field(default=_USUAL.target, ge=1, le=_MOST)
    """Of one `instance`."""
    max_series_per_metric: int = Field(default=_USUAL.metric, ge=1, le=_MOST)
    """Of one name."""
    expiry: Duration = Field(default=_USUAL.expiry_s, ge=1.0, le=86_400)
    """A series without a sample for so long does not count any more."""

    def bounds(self) -> Bounds:
        """As the guard wants them."""
        return Bounds(self.max_series, self.max_series_per_target, self.max_series_per_metric, self.expiry)


def build(settings: Settings, name: str, context: Context, then: Consumer) -> Consumer:
    """See collectors.settings.registry."""
    guard = CardinalityGuard(settings.bounds(), context.telemetry, context.clock, then)
    context.telemetry.cardinality[name] = guard.report
    return guard
