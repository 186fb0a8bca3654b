"""What is wrong with a rule, where, and what would be right. Only the type and its text form."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Violation:
    """One finding. `kind`, `namespace`, `name` and `path` are empty where the text did not get that far."""

    file: str
    """Empty for what is in none: a cluster's rule."""
    line: int
    """1-based; 0 where there is no file."""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    """As in `spec.http[0].route[1].weight`."""
    message: str = ""
    severity: Severity = "error"

    def __str__(self) -> str:
        """`file:line: kind/name: path: message`, one line; parts that are unknown are left out. What is in no file is
        `kind namespace/name: path: message`."""
        parts = [f"{self.file}:{self.line}"] if self.file else []
        if self.kind or self.name:
            name = self.name or "?"
            what = f"/{name}" if self.file or not self.namespace else f" {self.namespace}/{name}"
            parts.append(f"{self.kind or '?'}{what}")
        if self.path:
            parts.append(self.path)
        if self.severity == "warning":
            parts.append("warning")
        return ": ".join([*parts, self.message])

    def to_json(self) -> dict[str, Any]:
        """The object of the REST interface."""
        return asdict(self)
