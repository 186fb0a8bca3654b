"""What a service promises, and how soon a broken promise is told.

Multi-window, multi-burn-rate as in Google's SRE workbook, chapter 5 ("Alerting on SLOs", table 5-8): a burn rate of 1
uses up the error budget in exactly the objective's period; an alert fires while both a long window and a twelfth of it
burn faster than its factor, so that it comes soon and goes soon.
https://sre.google/workbook/alerting-on-slos/
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time that ratios are computed over."""

    name: str
    """In the names of recorded series."""
    seconds: float


BASE = Window("5m", 300)
"""The shortest: every rate is recorded over it. Four scrapes fit into it, at the longest interval in use (1 min)."""
_30M, _1H, _2H = Window("30m", 1800), Window("1h", 3600), Window("2h", 7200)
_6H, _1D, _3D = Window("6h", 21_600), Window("1d", 86_400), Window("3d", 259_200)

WINDOWS = (BASE, _30M, _1H, _2H, _6H, _1D, _3D)


@dataclass(frozen=True, slots=True)
class BurnRate:
    """One alert's condition."""

    long: Window
    short: Window
    factor: float
    severity: str
    for_s: float


BURN_RATES = (
    BurnRate(_1H, BASE, 14.4, "page", 120),
    BurnRate(_6H, _30M, 6, "page", 900),
    BurnRate(_1D, _2H, 3, "ticket", 3600),
    BurnRate(_3D, _6H, 1, "ticket", 10_800),
)
"""2 % of a month's budget within an hour, 5 % within six, 10 % within a day, 10 % within three."""


@dataclass(frozen=True, slots=True)
class Objectives:
    """Of every service alike."""

    available: float = 0.999
    """Share of requests that must not fail."""
    quick: float = 0.99
    """Share of requests that must be answered within `quick_ms`."""
    quick_ms: int = 1000
    """One of mesh.records.DURATION_BUCKETS_MS."""
    min_requests: int = 20
    """With fewer within the long window nothing is told: one failure of three requests is no trend."""
    scale: float = 1.0
    """Every stretch of time is multiplied by it: 1/60 makes minutes seconds, for trying an alert out. Names stay."""

    def range(self, window: Window) -> float:
        """A window's length in seconds."""
        return window.seconds * self.scale
