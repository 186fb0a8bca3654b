"""What injection answers: a patch, nothing to do and why, or a refusal. Only the types."""

from dataclasses import dataclass, field
from typing import Any

from control.api.resource import Path, spell

Operation = dict[str, Any]
"""One step of a JSON patch (RFC 6902): `op`, `path`, and `value` where the step has one."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong, or worth a warning, at a field of the pod."""

    path: Path
    message: str

    def __str__(self) -> str:
        where = spell_annotated(self.path)
        return f"{where}: {self.message}" if where else self.message


def spell_annotated(path: Path) -> str:
    """As control.api.resource.spell, but with names of annotations, which have dots, in brackets."""
    if len(path) == 3 and path[:2] in (("metadata", "annotations"), ("metadata", "labels")):
        return f"{spell(path[:2])}[{path[2]}]"
    return spell(path)


@dataclass(frozen=True, slots=True)
class Injected:
    """The pod goes into the mesh. An empty patch: it is there already."""

    patch: list[Operation]
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Skipped:
    """The pod stays as it is."""

    reason: str
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Denied:
    """The pod must not be created: injected it would be broken, left alone it would not be what it asks for."""

    reason: str
    findings: tuple[Finding, ...] = ()
    """The same, one by one, with where in the pod."""

    @classmethod
    def of(cls, findings: "list[Finding]") -> "Denied":
        """All that is wrong in one answer."""
        shown = [str(each) for each in findings[:_MAX_SHOWN]]
        if len(findings) > _MAX_SHOWN:
            shown.append(f"and {len(findings) - _MAX_SHOWN} more")
        return cls("; ".join(shown), tuple(findings))


_MAX_SHOWN = 20
"""An answer to an admission review is read by a person in one line of kubectl's."""

Outcome = Injected | Skipped | Denied
