"""The console's colours where Python draws (charts). `assets/console.css` has the same ones for the pages around."""

from dataclasses import dataclass

from dashboards.console.formatting import Health


@dataclass(frozen=True, slots=True)
class Palette:
    """One theme."""

    background: str
    surface: str
    border: str
    text: str
    muted: str
    accent: str
    healthy: str
    degraded: str
    failing: str
    idle: str

    def of(self, health: Health) -> str:
        """The colour of a word; the word is always shown beside it."""
        return {"idle": self.idle, "healthy": self.healthy, "degraded": self.degraded, "failing": self.failing}[health]


LIGHT = Palette(
    background="#f4f7f9",
    surface="#ffffff",
    border="#d6dee7",
    text="#0f1c2e",
    muted="#56677d",
    accent="#0f766e",
    healthy="#15803d",
    degraded="#b45309",
    failing="#c81e1e",
    idle="#8595a8",
)

DARK = Palette(
    background="#0a121d",
    surface="#111c2b",
    border="#26364c",
    text="#e5edf6",
    muted="#93a5bb",
    accent="#2dd4bf",
    healthy="#4ade80",
    degraded="#fbbf24",
    failing="#f87171",
    idle="#6b7f97",
)

SERVICES: tuple[str, ...] = (
    "#3b82f6", "#f59e0b", "#10b981", "#a855f7", "#ec4899", "#06b6d4", "#84cc16", "#f97316",
)  # fmt: skip
"""Tell services apart within one trace, readable on both themes; their names stand beside."""


def service_colours(services: tuple[str, ...]) -> dict[str, str]:
    """A colour for each of a trace's services, by name, so that it does not change with the order of spans."""
    return {name: SERVICES[index % len(SERVICES)] for index, name in enumerate(sorted(set(services)))}
