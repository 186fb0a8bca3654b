"""A YAML file as plain data with the line of every field. Refuses what two readers could take differently."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

MAX_FILE_BYTES = 1 << 20
MAX_DEPTH = 40
MAX_NODES = 50_000
"""Values, aliases counted as often as they are used."""

Steps = tuple[str | int, ...]
"""The way to a field: keys and indices."""

_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong."""

    file: str
    line: int
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.path}: {self.message}" if self.path else (
            f"{self.file}:{self.line}: {self.message}"
        )  # fmt: skip


class Invalid(Exception):
    """The settings cannot be used. Has every violation."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__("\n".join(map(str, violations)))
        self.violations = tuple(violations)


@dataclass(frozen=True, slots=True)
class Document:
    """What is in the file."""

    file: str
    value: Any
    lines: dict[Steps, int] = field(repr=False)
    violations: tuple[Violation, ...] = ()
    """What is wrong with it as YAML, where the rest can be judged all the same: a key that is written twice, a tag."""
    broken: tuple[Steps, ...] = ()
    """Fields that were left out for it: that they are missing is nobody's mistake."""

    def violation(self, steps: Steps, message: str) -> Violation:
        """At the field, or, where that is missing, at what it should be in."""
        within = steps
        while within and within not in self.lines:
            within = within[:-1]
        return Violation(self.file, self.lines.get(within, 1), spell(steps), message)


def spell(steps: Steps) -> str:
    """`routes[0].match.tags`."""
    text = ""
    for step in steps:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def read(path: Path) -> Document:
    """Raises Invalid where nothing can be made of it, OSError."""
    file = str(path)
    with open(path, "rb") as opened:
        data = opened.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise Invalid([Violation(file, 1, "", f"has more than {MAX_FILE_BYTES:,} bytes")])
    try:
        text = data.decode("utf-8-sig")
        nodes = list(YAML(typ="safe", pure=True).compose_all(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        raise Invalid([Violation(file, line, "", f"is not YAML: {error.problem or error.context}")]) from error
    except RecursionError as error:
        raise Invalid([Violation(file, 1, "", f"is nested deeper than {MAX_DEPTH} levels")]) from error
    except (YAMLError, ValueError) as error:
        raise Invalid([Violation(file, 1, "", f"is not YAML: {str(error).splitlines()[0]}")]) from error
    if len(nodes) > 1:
        line = nodes[1].start_mark.line + 1
        raise Invalid([Violation(file, line, "", "is a second document; write one")])
    builder = _Builder(file)
    value = builder.build(nodes[0], (), 0) if nodes else None
    return Document(file, value, builder.lines, tuple(builder.violations), tuple(builder.broken))


class _Broken:
    """Stands for a value that cannot be taken."""


_BROKEN = _Broken()


class _Builder:
    def __init__(self, file: str) -> None:
        self.lines: dict[Steps, int] = {}
        self.violations: list[Violation] = []
        self.broken: list[Steps] = []
        self._file = file
        self._left = MAX_NODES

    def build(self, node: Node, steps: Steps, depth: int) -> Any:
        """What is at the top; None where that is broken."""
        value = self._build(node, steps, depth)
        return None if value is _BROKEN else value

    def _build(self, node: Node, steps: Steps, depth: int) -> Any:
        self._left -= 1
        if self._left < 0:
            self._refuse(node, steps, f"makes more than {MAX_NODES:,} values, aliases counted each time")
        if depth > MAX_DEPTH:
            self._refuse(node, steps[:4], f"is nested deeper than {MAX_DEPTH} levels")
        if isinstance(node, MappingNode):
            return self._mapping(node, steps, depth) if node.tag == _TAG + "map" else self._tagged(node, steps)
        if isinstance(node, SequenceNode):
            return self._sequence(node, steps, depth) if node.tag == _TAG + "seq" else self._tagged(node, steps)
        return self._scalar(node, steps)

    def _sequence(self, node: SequenceNode, steps: Steps, depth: int) -> list[Any]:
        items = []
        for index, item in enumerate(node.value):
            self.lines[(*steps, index)] = item.start_mark.line + 1
            value = self._build(item, (*steps, index), depth + 1)
            # In its place, or those behind it would be told under other numbers.
            items.append(None if value is _BROKEN else value)
        return items

    def _mapping(self, node: MappingNode, steps: Steps, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        seen: set[str] = set()
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode) or key_node.tag != _TAG + "str":
                self._complain(key_node, steps, "has a key that is no text; quote it")
                continue
            key = str(key_node.value)
            if key in seen:
                first = self.lines[(*steps, key)]
                self._complain(key_node, (*steps, key), f"is written twice, first in line {first}; keep one")
                continue
            seen.add(key)
            self.lines[(*steps, key)] = key_node.start_mark.line + 1
            value = self._build(value_node, (*steps, key), depth + 1)
            if value is not _BROKEN:
                result[key] = value
        return result

    def _scalar(self, node: Node, steps: Steps) -> Any:
        tag, text = str(node.tag), str(node.value)
        match tag.removeprefix(_TAG):
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int" | "float" as kind:
                try:
                    return int(text) if kind == "int" else float(text)
                except ValueError:
                    self._complain(node, steps, "is no plain decimal number; quote it if it is text")
                    self.broken.append(steps)
                    return _BROKEN
            case "str" | "timestamp":
                return text
        return self._tagged(node, steps)

    def _tagged(self, node: Node, steps: Steps) -> _Broken:
        self._complain(node, steps, f"has the YAML tag {str(node.tag)[:60]}; write plain values")
        self.broken.append(steps)
        return _BROKEN

    def _complain(self, node: Node, steps: Steps, message: str) -> None:
        self.violations.append(Violation(self._file, node.start_mark.line + 1, spell(steps), message))

    def _refuse(self, node: Node, steps: Steps, message: str) -> None:
        self._complain(node, steps, message)
        raise Invalid(self.violations)
