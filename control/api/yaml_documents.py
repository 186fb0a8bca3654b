"""YAML text to plain data with the line of every field. Refuses what two readers could take differently, and bombs.

The composer builds nodes without expanding aliases; this module turns nodes into dicts, lists and scalars itself, so
that duplicate keys, text that is no key, tags and repeated aliases are seen, and counts what it builds.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from control.api.resource import Path, spell
from control.api.yaml_events import MAX_NODES, TOO_MANY, BoundedComposer, TooMuch, Unsure, compose_all

MAX_DEPTH = 50
"""Of nesting. Istio's rules need a dozen."""

TOO_DEEP = f"is nested too deeply; at most {MAX_DEPTH} levels are read"

_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True)
class Document:
    """One document: its data, its text, where it began, and the line of each field."""

    value: Any
    text: str
    text_line: int
    """Where `text` begins. 0 if `text` read alone might not say the same."""
    line: int
    lines: dict[Path, int] = field(repr=False)


@dataclass(frozen=True, slots=True)
class NotYaml:
    """What could not be read, and why. Reading goes on with the next document where that is possible."""

    line: int
    path: str
    message: str


def size_problem(value: object) -> str:
    """Why plain data is too much for one document; empty if it is not. The bounds are those of YAML."""
    level: list[Any] = [value]
    nodes = 0
    for _ in range(MAX_DEPTH + 1):
        nodes += len(level)
        if nodes > MAX_NODES:
            return TOO_MANY
        within = [each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list)]
        if not within:
            return ""
        level = [inner for each in within for inner in each]
    return TOO_DEEP


class _Refused(Exception):
    def __init__(self, node: Node, path: Path, message: str) -> None:
        self.found = NotYaml(node.start_mark.line + 1, spell(path), message)


def read(text: str) -> Iterator[Document | NotYaml]:
    """The documents of `text`; those that hold nothing but comments are left out."""
    source = text.splitlines(keepends=True)
    # Python knows more line breaks than YAML 1.2, and a directive (%YAML 1.1) changes what words mean.
    plain = len(source) == text.count("\n") + (not text.endswith("\n")) and not any(s.startswith("%") for s in source)
    end = 0
    nodes: Iterator[Node]
    try:
        nodes = iter(compose_all(text))
    except Unsure:
        yaml = YAML(typ="safe", pure=True)
        yaml.Composer = BoundedComposer
        nodes = yaml.compose_all(text)
    except TooMuch as error:
        yield NotYaml(error.line, "", error.message)
        return
    while True:
        try:
            node = next(nodes, None)
        except TooMuch as error:
            yield NotYaml(error.line, "", error.message)
            return
        except (YAMLError, RecursionError, ValueError) as error:
            yield _explain(error, text)
            return
        if node is None:
            return
        start, end = _extent(source, node, end)
        if isinstance(node, ScalarNode) and node.tag == _TAG + "null":
            continue
        lines: dict[Path, int] = {}
        try:
            value = _Builder(lines).build(node, (), 0)
        except _Refused as refused:
            yield refused.found
            continue
        alone = plain and not any(map(_is_marker, source[start:end]))
        yield Document(value, "".join(source[start:end]), start + 1 if alone else 0, node.start_mark.line + 1, lines)


def _extent(source: list[str], node: Node, previous: int) -> tuple[int, int]:
    """First and end line index of the document around `node`, its leading comments included."""
    start = previous
    while start < node.start_mark.line and (source[start].startswith(("---", "...", "%")) or not source[start].strip()):
        start += 1
    end = node.start_mark.line
    while end < len(source) and not (end > node.start_mark.line and _is_marker(source[end])):
        end += 1
    return min(start, node.start_mark.line), end


def _is_marker(line: str) -> bool:
    return line[:3] in ("---", "...") and (len(line) == 3 or line[3] in " \t\r\n")


def _explain(error: Exception, text: str) -> NotYaml:
    if isinstance(error, RecursionError):
        return NotYaml(1, "", TOO_DEEP)
    if isinstance(error, ReaderError):
        at = error.position if isinstance(error.position, int) else 0
        code = error.character if isinstance(error.character, int) else ord(str(error.character)[:1] or "\0")
        name = "a NUL character" if code == 0 else f"the character U+{code:04X}"
        line = text.count("\n", 0, at) + 1
        return NotYaml(line, "", f"is not YAML: it contains {name}; save the file as UTF-8 text")
    if isinstance(error, MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        problem = str(error.problem or error.context or "it cannot be read")
        source = text.splitlines()
        line = max(1, min(line, len(source)))  # at the text's end the mark is on the line after
        if (
            0 < line <= len(source)
            and "\t" in source[line - 1][: len(source[line - 1]) - len(source[line - 1].lstrip())]
        ):
            return NotYaml(line, "", "is not YAML: the line is indented with a tab; indent with spaces")
        if "'\\t'" in problem:
            return NotYaml(line, "", "is not YAML: a tab stands where only spaces may; use spaces")
        return NotYaml(line, "", f"is not YAML: {problem}")
    return NotYaml(1, "", f"is not YAML: {str(error).splitlines()[0] if str(error) else type(error).__name__}")


class _Builder:
    def __init__(self, lines: dict[Path, int]) -> None:
        self._lines = lines
        self._left = MAX_NODES

    def build(self, node: Node, path: Path, depth: int) -> Any:
        self._left -= 1
        if self._left < 0:
            raise _Refused(node, path[:1], TOO_MANY)
        if depth > MAX_DEPTH:
            raise _Refused(node, path[:4], TOO_DEEP)
        if isinstance(node, MappingNode):
            return self._mapping(node, path, depth)
        if isinstance(node, SequenceNode):
            _expect(node, path, "seq")
            items = []
            for index, item in enumerate(node.value):
                self._lines.setdefault((*path, index), item.start_mark.line + 1)
                items.append(self.build(item, (*path, index), depth + 1))
            return items
        return _scalar(node, path)

    def _mapping(self, node: MappingNode, path: Path, depth: int) -> dict[str, Any]:
        _expect(node, path, "map")
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, path)
            if key in result:
                first = self._lines[(*path, key)]
                raise _Refused(key_node, (*path, key), f"is written twice, first in line {first}; keep one of them")
            self._lines[(*path, key)] = key_node.start_mark.line + 1
            result[key] = self.build(value_node, (*path, key), depth + 1)
        return result

    def _key(self, node: Node, path: Path) -> str:
        if not isinstance(node, ScalarNode):
            raise _Refused(node, path, "has a list or a mapping for a key; keys are text")
        if node.tag == _TAG + "merge":
            raise _Refused(node, path, "has the merge key <<; write the fields out")
        value = _scalar(node, path)
        if isinstance(value, bool) or value is None or isinstance(value, float):
            raise _Refused(node, path, f"has the key {node.value!r}, which YAML reads as no text; quote it")
        # Port numbers as keys (portLevelMtls) are text to Kubernetes as well.
        return str(node.value) if isinstance(value, int) else str(value)


def _expect(node: Node, path: Path, short: str) -> None:
    if node.tag != _TAG + short:
        raise _Refused(node, path, f"has the YAML tag {str(node.tag)[:60]!r}; write plain values")


def _scalar(node: Node, path: Path) -> Any:
    assert isinstance(node, ScalarNode)
    tag, text = str(node.tag), node.value
    plain = node.style is None or not node.style
    if not tag.startswith(_TAG) or (not plain and tag != _TAG + "str"):
        raise _Refused(node, path, f"has the YAML tag {tag[:60]!r}; write plain values")
    short = tag.removeprefix(_TAG)
    try:
        if short == "null":
            return None
        if short == "bool":
            return text.lower() == "true"
        if short == "int":
            return _integer(text)
        if short == "float":
            return _float(text)
    except ValueError as error:
        raise _Refused(node, path, f"is {text[:60]!r}, which is no number; quote it if it is text") from error
    if short not in ("str", "timestamp"):
        raise _Refused(node, path, f"has the YAML tag {tag[:60]!r}; write plain values")
    if _NO_TEXT.search(text):
        raise _Refused(node, path, "contains a NUL or half a surrogate pair; write text")
    return text


def _integer(text: str) -> int:
    digits = text.replace("_", "")
    if len(digits) > 64:
        raise ValueError("too long")
    sign = -1 if digits.startswith("-") else 1
    digits = digits.lstrip("+-")
    for prefix, base in (("0x", 16), ("0o", 8), ("0b", 2)):
        if digits.lower().startswith(prefix):
            return sign * int(digits[2:], base)
    return sign * int(digits, 10)


def _float(text: str) -> float:
    value = float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError("not finite")
    return value
