"""Prometheus' relabelling rules over a map of labels. Pure.

https://prometheus.io/docs/prometheus/latest/configuration/configuration/#relabel_config, and to the letter
prometheus/model/relabel/relabel.go. Expressions are RE2's as there, and anchored at both ends.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from collectors.processors.patterns import CompiledPattern

NAME = "__name__"
"""The label that holds the metric's name."""

LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
TARGET = re.compile(r"(?:(?:[a-zA-Z_]|\$(?:\{\w+\}|\w+))+\w*)+")
"""A label's name that may be made of groups of the match."""

ACTIONS = (
    "replace", "keep", "drop", "keepequal", "dropequal", "hashmod", "labelmap", "labeldrop", "labelkeep", "lowercase",
    "uppercase",
)  # fmt: skip

ANYTHING = CompiledPattern("(?s:(.*))")
_REFERENCE = re.compile(r"\$(?:\$|\{(\w+)\}|(\w+))")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, checked."""

    action: str = "replace"
    source_labels: tuple[str, ...] = ()
    separator: str = ";"
    target_label: str = ""
    regex: CompiledPattern = ANYTHING
    modulus: int = 0
    replacement: str = "$1"


def relabel(labels: Mapping[str, str], rules: Sequence[Rule]) -> dict[str, str] | None:
    """The labels after all rules, without those that are empty; None if a rule drops it."""
    found = {name: value for name, value in labels.items() if value}
    for rule in rules:
        if not _apply(rule, found):
            return None
    return {name: value for name, value in found.items() if value}


def _apply(rule: Rule, labels: dict[str, str]) -> bool:
    """Change `labels` in place; False to drop."""
    value = rule.separator.join(labels.get(name, "") for name in rule.source_labels)
    match rule.action:
        case "replace":
            _replace(rule, labels, value)
        case "keep":
            return rule.regex.fullmatch(value) is not None
        case "drop":
            return rule.regex.fullmatch(value) is None
        case "keepequal":
            return labels.get(rule.target_label, "") == value
        case "dropequal":
            return labels.get(rule.target_label, "") != value
        case "hashmod":
            digest = hashlib.md5(value.encode(), usedforsecurity=False).digest()
            labels[rule.target_label] = str(int.from_bytes(digest[8:], "big") % rule.modulus)
        case "lowercase":
            labels[rule.target_label] = value.lower()
        case "uppercase":
            labels[rule.target_label] = value.upper()
        case "labelmap":
            for name, mapped in list(labels.items()):
                if (found := rule.regex.fullmatch(name)) is not None:
                    labels[expand(rule.replacement, found)] = mapped
        case "labeldrop" | "labelkeep":
            for name in list(labels):
                if (rule.regex.fullmatch(name) is not None) == (rule.action == "labeldrop"):
                    del labels[name]
        case _:
            raise AssertionError(rule.action)
    return True


def _replace(rule: Rule, labels: dict[str, str], value: str) -> None:
    found = rule.regex.fullmatch(value)
    if found is None:
        return
    target = expand(rule.target_label, found)
    replaced = expand(rule.replacement, found) if LABEL_NAME.fullmatch(target) else ""
    if replaced:
        labels[target] = replaced
    else:
        labels.pop(target if LABEL_NAME.fullmatch(target) else rule.target_label, None)


def expand(template: str, found: Any) -> str:
    """Go's Regexp.Expand: `$1`, `${1}`, `${name}`; what names no group is empty; `$$` is a dollar."""

    def group(reference: "re.Match[str]") -> str:
        name = reference[1] or reference[2]
        if name is None:
            return "$"
        try:
            return found[int(name) if name.isascii() and name.isdigit() else name] or ""
        except IndexError:
            return ""

    return _REFERENCE.sub(group, template)
