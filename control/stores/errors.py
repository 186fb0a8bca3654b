"""What can be wrong with a store."""

from collections.abc import Sequence

from control.api.violation import Violation


class StoreError(Exception):
    """The store cannot be read or written. Its text is one line for the person who runs the control plane."""


class StoreCorrupt(StoreError):
    """Something is stored that is no rule, or that is missing. Nothing is served from half a store."""

    def __init__(self, message: str, violations: Sequence[Violation] = ()) -> None:
        super().__init__(message)
        self.violations = tuple(violations)


class NothingApplied(StoreError):
    """A change could not be written, for lack of space for example; the store is as it was."""


class ChangedMeanwhile(NothingApplied):
    """What was to be changed is not any more what whoever asked for it had read."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__("nothing was applied: " + "; ".join(f"{each.name}: {each.message}" for each in violations))
        self.violations = tuple(violations)
