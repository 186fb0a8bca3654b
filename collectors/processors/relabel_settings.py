"""Relabelling rules as the settings have them, in Prometheus' words."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, InstanceOf, model_validator

from collectors.processors.patterns import CompiledPattern
from collectors.processors.relabeling import ACTIONS, ANYTHING, LABEL_NAME, TARGET, Rule
from collectors.settings.types import Model, wrong

Action = Literal[
    "replace", "keep", "drop", "keepequal", "dropequal", "hashmod", "labelmap", "labeldrop", "labelkeep", "lowercase",
    "uppercase",
]  # fmt: skip

_NEEDS_TARGET = frozenset({"replace", "hashmod", "lowercase", "uppercase", "keepequal", "dropequal"})


def _action(value: object) -> object:
    if isinstance(value, str) and value.lower() in ACTIONS:
        return value.lower()
    raise wrong(f"is no action; there are {', '.join(ACTIONS)}")


def _regex(value: object) -> CompiledPattern:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise wrong("is no expression; write it as text")
    try:
        # A dot means any character, a line feed included, as in Prometheus 3.
        return CompiledPattern(f"(?s:{value})")
    except ValueError as error:
        raise wrong(f"is no regular expression of RE2's syntax: {error}") from error


Regex = Annotated[InstanceOf[CompiledPattern], BeforeValidator(_regex)]
"""Of Prometheus' kind: matched against the whole text."""


class RelabelRule(Model):
    """One of `rules`, with Prometheus' names and defaults."""

    action: Annotated[Action, BeforeValidator(_action)] = "replace"
    """What is done."""
    source_labels: tuple[str, ...] = Field(default=(), max_length=64)
    """Labels whose values, joined by the separator, the expression is matched against."""
    separator: str = ";"
    """Between the values of several source labels."""
    target_label: str = ""
    """The label that gets the outcome."""
    regex: Regex = ANYTHING
    """Matched against the whole of the joined values; for labelmap, labeldrop and labelkeep against labels' names."""
    modulus: int = Field(default=0, ge=0, le=2**63 - 1)
    """Of hashmod: by what the hash is divided."""
    replacement: str = "$1"
    """What the label becomes; `$1` is the first group."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        action, target = self.action, self.target_label
        if action in _NEEDS_TARGET and not target:
            raise wrong(f"needs a target_label for the action {action}")
        if action == "replace" and not TARGET.fullmatch(target):
            raise wrong(f"has the target_label {target!r}, which is no label name")
        if action in _NEEDS_TARGET - {"replace"} and not LABEL_NAME.fullmatch(target):
            raise wrong(f"has the target_label {target!r}, which is no label name")
        if (action == "hashmod") != bool(self.modulus):
            raise wrong("needs a modulus for hashmod, and no other action takes one")
        if action in ("labeldrop", "labelkeep") and self.model_fields_set - {"action", "regex"}:
            raise wrong(f"takes nothing but a regex for {action}: it is matched against the labels' names")
        for name in self.source_labels:
            if not LABEL_NAME.fullmatch(name):
                raise wrong(f"has the source label {name[:100]!r}, which is no label name")
        if "le" in self.source_labels or target == "le":
            raise wrong("names the label le; a histogram is relabelled whole, its buckets cannot be told apart")
        return self

    def rule(self) -> Rule:
        """As relabelling wants it."""
        return Rule(
            self.action,
            self.source_labels,
            self.separator,
            self.target_label,
            self.regex,
            self.modulus,
            self.replacement,
        )
