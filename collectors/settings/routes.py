"""Settings of routes: which records go where."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from collectors.settings.buffers import SIGNALS, Signal
from collectors.settings.types import Model, wrong

Severity = Literal["error", "warning", "info", "debug"]

MAX_ANY_PARTS = 3
"""`**` in one pattern: what can be matched in many ways takes long where it does not match."""


def _bounded(pattern: str) -> str:
    if pattern.split(".").count("**") > MAX_ANY_PARTS:
        raise wrong(f"has more than {MAX_ANY_PARTS} parts **")
    if any("**" in part and part != "**" for part in pattern.split(".")):
        raise wrong("has ** beside other text in one part; ** stands alone between dots, * is any text within a part")
    return pattern


TagPattern = Annotated[
    str, StringConstraints(min_length=1, max_length=512, pattern=r"^[^\s{}\[\]]+$"), AfterValidator(_bounded)
]
"""Parts between dots: `*` is any text within one part, a part `**` is any number of parts, none included."""


class Match(Model):
    """`routes[].match`: what is given must all be true; of a list, one."""

    signals: tuple[Signal, ...] = Field(default=(), max_length=3)
    """What it takes of `logs`, `traces` and `metrics`. Default: all; logs alone where tags or severities are given."""
    tags: tuple[TagPattern, ...] = Field(default=(), max_length=256)
    """Of log records; with it a route takes logs alone."""
    severities: tuple[Severity, ...] = Field(default=(), max_length=4)
    """Of log records; with it a route takes logs alone."""


class RouteSettings(Model):
    """`routes[]`. A record takes the first route that matches it; with `continue` it looks for another after it."""

    match: Match = Match()
    """Which records. Default: all."""
    processors: tuple[str, ...] = Field(default=(), max_length=32)
    """Names of processors; records go through them in this order."""
    exporters: tuple[str, ...] = Field(max_length=32)
    """All of them have to have it on disk before it is acknowledged. None: the record is dropped, and counted."""
    proceed: bool = Field(default=False, alias="continue")
    """Records that it takes are offered to the routes behind it, too."""

    def signals(self) -> tuple[Signal, ...]:
        """What it can take."""
        if self.match.signals:
            return self.match.signals
        return ("logs",) if self.match.tags or self.match.severities else SIGNALS


def compile_tags(patterns: tuple[str, ...]) -> re.Pattern[str] | None:
    """One expression for all, to be matched in full; None if there are no patterns: then every tag matches."""
    return re.compile("|".join(f"(?:{_expression(pattern)})" for pattern in patterns)) if patterns else None


def _expression(pattern: str) -> str:
    parts = pattern.split(".")
    # One ** after another says nothing more.
    parts = [part for index, part in enumerate(parts) if part != "**" or parts[index - 1 : index] != ["**"]]
    if parts == ["**"]:
        return ".*"
    text = ""
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if part != "**":
            # [^.]* between literals of one part: nothing here can be matched in two ways for long.
            text += "[^.]*".join(re.escape(one) for one in re.split(r"\*", part)) + ("" if last else r"\.")
        elif not last:
            text += r"(?:[^.]+\.)*"
        else:
            text = text.removesuffix(r"\.") + r"(?:\.[^.]+)*"
    return text
