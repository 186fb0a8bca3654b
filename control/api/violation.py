"""What is wrong with a rule, where, and what would be right. Only the type and its text form."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Violation:
    """One finding. `kind`, `namespace`, `name` and `path` are empty where the text did not get that far."""

    file: str
    line: int
    """1-based."""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    """As in `spec.http[0].route[1].weight`."""
    message: str = ""
    severity: Severity = "error"

    def __str__(self) -> str:
        """`file:line: kind/name: path: message`, one line; parts that are unknown are left out."""
        parts = [f"{self.file}:{self.line}"]
        if self.kind or self.name:
            parts.append(f"{self.kind or '?'}/{self.name or '?'}")
        if self.path:
            parts.append(self.path)
        if self.severity == "warning":
            parts.append("warning")
        return ": ".join([*parts, self.message])

    def to_json(self) -> dict[str, Any]:
        """The object of the REST interface."""
        return asdict(self)
