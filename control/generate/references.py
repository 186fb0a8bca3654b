"""Whether a snapshot is whole: everything that it refers to is in it."""

from control.generate.types import Snapshot


def check(snapshot: Snapshot) -> list[str]:
    """What is referred to and missing, one line each; empty if nothing is."""
    return []
