"""Numbers and times as people read them. Pure; the same number looks the same on every page."""

from typing import Literal, Protocol

Health = Literal["idle", "healthy", "degraded", "failing"]

DEGRADED_RATE = 0.001
"""Share of failed requests from which something is called degraded: Kiali's default, 0.1 %."""

FAILING_RATE = 0.05
"""Share of failed requests from which something is called failing."""

NOTHING = "–"
"""Shown where there is no value."""


class Traffic(Protocol):
    """What a node, an edge and a service have in common."""

    @property
    def requests_per_s(self) -> float: ...
    @property
    def bytes_per_s(self) -> float: ...
    @property
    def error_rate(self) -> float: ...


def flow(of: Traffic) -> str:
    """Requests, or bytes where there are no requests to count: `12.3 req/s`, `4.56 kB/s`."""
    if of.requests_per_s > 0 or of.bytes_per_s <= 0:
        return rate(of.requests_per_s)
    text = quantity(of.bytes_per_s)
    return f"{text[:-1]} {text[-1]}B/s" if text[-1] in "kM" else f"{text} B/s"


def errors(of: Traffic) -> str:
    """The share of requests that failed; nothing where no requests are known."""
    return NOTHING if has_bytes_alone(of) else percent(of.error_rate)


def has_bytes_alone(of: Traffic) -> bool:
    """Whether these are connections without requests."""
    return of.bytes_per_s > 0 and of.requests_per_s <= 0


def health_of(of: Traffic) -> "Health":
    """As `health`; bytes that flow are healthy."""
    return health(of.requests_per_s or of.bytes_per_s, of.error_rate)


def rate(requests_per_s: float) -> str:
    """`12.3 req/s`; what is there but tiny is never shown as zero."""
    return f"{quantity(requests_per_s)} req/s"


def quantity(value: float) -> str:
    """Three significant digits with k and M; `<0.01` for what is there but tiny."""
    if value <= 0:
        return "0"
    if value < 0.01:
        return "<0.01"
    if value < 1:
        return f"{value:.2f}"
    # Boundaries lie where rounding would otherwise print one digit too many, such as 1000 for 999.6.
    for limit, divisor, suffix in ((999.5, 1, ""), (999_500, 1_000, "k"), (float("inf"), 1_000_000, "M")):
        if value < limit:
            scaled = value / divisor
            return f"{scaled:.{2 if scaled < 9.995 else 1 if scaled < 99.95 else 0}f}{suffix}"
    raise AssertionError("unreachable: the last limit is infinite")


def percent(share: float) -> str:
    """A share from 0 to 1 as `2.5 %`. Some errors never show as `0 %`, nor some successes as `100 %` errors."""
    if share <= 0:
        return "0 %"
    if share >= 1:
        return "100 %"
    points = share * 100
    if points < 0.1:
        return "<0.1 %"
    if points > 99.9:
        return ">99.9 %"
    return f"{points:.1f} %" if points < 9.95 or points > 99 else f"{points:.0f} %"


def duration(milliseconds: float | None) -> str:
    """`0.42 ms`, `12.3 ms`, `1.25 s`, `2 min 5 s`; a dash for None."""
    if milliseconds is None:
        return NOTHING
    if milliseconds < 9.995:
        return f"{milliseconds:.2f} ms"
    if milliseconds < 99.95:
        return f"{milliseconds:.1f} ms"
    if milliseconds < 999.5:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    return span_of_time(seconds)


def tick(milliseconds: float) -> str:
    """A round offset on an axis, without zeros that say nothing: `0`, `2.5 ms`, `10 ms`."""
    number, _, unit = duration(milliseconds).partition(" ")
    if milliseconds <= 0:
        return "0"
    if "." in number:
        number = number.rstrip("0").rstrip(".")
    return f"{number} {unit}"


def span_of_time(seconds: float) -> str:
    """The two largest units: `45 s`, `2 min 5 s`, `3 h 10 min`, `2 d 4 h`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    for size, unit, below, below_unit in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size} {unit}" + (f" {rest} {below_unit}" if rest else "")
    raise AssertionError("unreachable: a minute or more has a unit")


def health(requests_per_s: float, error_rate: float) -> Health:
    """The word, and with it the colour, for a share of failures."""
    if requests_per_s <= 0:
        return "idle"
    if error_rate < DEGRADED_RATE:
        return "healthy"
    return "degraded" if error_rate < FAILING_RATE else "failing"


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters; an ellipsis says that some are missing."""
    return text if len(text) <= limit else text[: max(0, limit - 1)] + "…"


def count(number: int, noun: str) -> str:
    """`1 span`, `2 spans`, `1,000 spans`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
