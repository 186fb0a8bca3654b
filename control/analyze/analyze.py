"""The World as it would be after a change, checked: which problems the change brings, and which it has itself."""

from collections.abc import Collection

from control.api.resource import Key, Parsed
from control.api.violation import Violation
from control.api.world import World


def analyze(world: World, parsed: Parsed, deleted: Collection[Key] = ()) -> list[Violation]:
    """Findings about applying `parsed` and deleting `deleted`; errors mean that nothing should be applied.

    `parsed.violations` are not repeated.
    """
    return []


def analyze_stored(world: World) -> list[Violation]:
    """Every finding about what is stored."""
    return []
