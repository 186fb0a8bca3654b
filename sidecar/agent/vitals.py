"""What the agent says about itself: names, meanings and values of its own metrics."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Vital:
    """A counter if the name ends in `_total`, else a gauge."""

    name: str
    help: str
    value: float
