"""A parsed rule: who it is, what it says, and where each of its fields was written."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from control.api.model import Model
from control.api.violation import Severity, Violation

Path = tuple[str | int, ...]
"""Steps from the document's root to a field, as in `("spec", "http", 0, "route")`."""


class Key(NamedTuple):
    """A resource's identity. Kinds are spelt as in YAML; every kind is namespaced."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Resource:
    """One rule. Two are equal when they say the same, wherever it was written and whenever it was stored."""

    key: Key
    api_version: str
    spec: Model
    document: Mapping[str, Any]
    """Plain data, with `metadata.namespace` filled in, without `status` and what only a server sets."""
    source: str | Callable[[], str] = field(compare=False, repr=False)
    """The document as it was written, or what writes it when somebody asks."""
    file: str = field(default="", compare=False)
    line: int = field(default=1, compare=False)
    lines: Mapping[Path, int] = field(default_factory=dict, compare=False, repr=False)
    text_line: int = field(default=0, compare=False)
    """Where `text` begins in the file, if it says the same as a file of its own; else 0."""
    created_at: float = field(default=0.0, compare=False)
    """Seconds since the epoch, set by the store; the older of two rules comes first where Istio says so."""

    @property
    def text(self) -> str:
        """The document as it was written, comments included, without `---`."""
        return self.source if isinstance(self.source, str) else self.source()

    @property
    def kind(self) -> str:
        return self.key.kind

    @property
    def namespace(self) -> str:
        return self.key.namespace

    @property
    def name(self) -> str:
        return self.key.name

    def place(self, path: Path) -> str:
        """Where a field is, within a sentence: `line 12`, or `spec.http[0]` of what is in no file."""
        return f"line {line_of(self.lines, path, self.line)}" if self.file else spell(path)

    def violation(self, path: Path, message: str, severity: Severity = "error") -> Violation:
        """A finding at `path` of this resource."""
        return Violation(self.file, line_of(self.lines, path, self.line), *self.key, spell(path), message, severity)


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a parse gave. With any violation of severity error nothing of it may be applied."""

    resources: tuple[Resource, ...] = ()
    violations: tuple[Violation, ...] = ()

    @property
    def ok(self) -> bool:
        return not any(violation.severity == "error" for violation in self.violations)


def spell(path: Path) -> str:
    """`("spec", "http", 0, "route")` as `spec.http[0].route`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text


def line_of(lines: Mapping[Path, int], path: Path, default: int) -> int:
    """The line of the field, or of the nearest one around it that was written."""
    for length in range(len(path), 0, -1):
        line = lines.get(path[:length])
        if line is not None:
            return line
    return default
