"""What a check found."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the answer."""

    check: str
    """What was looked at, in a word or two."""
    level: Level
    said: str
    fix: str = ""
    """What to do; empty where all is well."""

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def ok(check: str, said: str) -> Finding:
    """All is well."""
    return Finding(check, "ok", said)


def warning(check: str, said: str, fix: str) -> Finding:
    """It works, but not as one might think."""
    return Finding(check, "warning", said, fix)


def error(check: str, said: str, fix: str) -> Finding:
    """It does not work."""
    return Finding(check, "error", said, fix)
