"""What a schema has against an object, told apart by what the API server makes of it."""

from collections.abc import Iterable
from dataclasses import dataclass, field

Cause = tuple[str, str]
"""(field, message)."""


@dataclass(slots=True)
class Findings:
    """Empty lists: nothing."""

    unknown: list[str] = field(default_factory=list)
    """Paths of fields that the schema does not have: dropped, told of or refused, as the client asks."""
    mistyped: list[Cause] = field(default_factory=list)
    doubled: list[Cause] = field(default_factory=list)
    """Items of a list that is a set, or a map by some of their fields."""
    invalid: list[Cause] = field(default_factory=list)
    """What has its type, and a value that may not be."""

    @property
    def causes(self) -> list[Cause]:
        """Why it is refused, whatever the client asks."""
        return [*self.mistyped, *self.doubled, *self.invalid]


def at(steps: Iterable[str | int]) -> str:
    """`spec.http[0].match`."""
    path = ""
    for step in steps:
        path += f"[{step}]" if isinstance(step, int) else f".{step}"
    return path.lstrip(".")
