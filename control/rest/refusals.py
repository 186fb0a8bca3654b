"""Why a call of the REST interface did nothing. One place turns them into answers (`routes`)."""

from collections.abc import Sequence
from typing import Any

from control.api.violation import Violation


class Refusal(Exception):
    """Base: `status` and what the body says."""

    status = 400

    def body(self) -> dict[str, Any]:
        return {"error": str(self)}


class BadCall(Refusal):
    """The call makes no sense, whatever is stored."""


class Unprocessable(Refusal):
    """A value that cannot be taken; the text begins with the path of its field."""

    status = 422


class NotFound(Refusal):
    """What is named does not exist."""

    status = 404


class Unavailable(Refusal):
    """Nothing wrong with the call; the machine cannot do it now."""

    status = 503


class Invalid(Refusal):
    """Rules that must not be stored, or must not go."""

    status = 422

    def __init__(self, violations: Sequence[Violation], status: int = 422) -> None:
        super().__init__(f"{len(violations)} violations")
        self.violations = tuple(violations)
        self.status = status

    def body(self) -> dict[str, Any]:
        return {"violations": [violation.to_json() for violation in self.violations]}
