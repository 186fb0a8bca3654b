"""The few words of Go's templates that our chart is written with, for machines without Helm.

`{{ VALUE }}`, `{{ toRawJson VALUE }}`, `{{ list VALUE... | toRawJson | sha256sum }}`, `{{ if CONDITION }}`, `{{ else
}}`, `{{ range VALUE }}`, `{{ end }}`, and `{{-`, which takes the space before it. https://pkg.go.dev/text/template
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_ACTION = re.compile(r"(\s*)\{\{-\s(.*?)\s\}\}|\{\{\s(.*?)\s\}\}", re.S)
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|[()|]|[^\s()|]+')


@dataclass(frozen=True, slots=True)
class Token:
    """Text, or what is between braces."""

    text: str
    action: bool


def render(template: str, values: Mapping[str, Any]) -> str:
    """Raises ValueError for a word that is none of ours."""
    text, end = _block(list(_tokens(template)), 0, values, None, active=True)
    assert end == -1, "an end too many"
    return text


def _tokens(template: str) -> Iterator[Token]:
    position = 0
    for match in _ACTION.finditer(template):
        yield Token(template[position : match.start()], False)
        yield Token(match[2] if match[2] is not None else match[3], True)
        position = match.end()
    yield Token(template[position:], False)


def _block(tokens: list[Token], at: int, values: Mapping[str, Any], dot: Any, *, active: bool) -> tuple[str, int]:
    """What a block gives, and where its `else` or `end` stands; -1 at the end of all."""
    out: list[str] = []
    while at < len(tokens):
        token = tokens[at]
        word, _, rest = token.text.partition(" ") if token.action else ("", "", "")
        if not token.action:
            out.append(token.text)
        elif word in ("else", "end"):
            return "".join(out), at
        elif word == "if":
            chosen = active and _truth(_evaluate(rest, values, dot))
            text, at = _block(tokens, at + 1, values, dot, active=chosen)
            other = ""
            if tokens[at].text == "else":
                other, at = _block(tokens, at + 1, values, dot, active=active and not chosen)
            out.append(text if chosen else other)
        elif word == "range":
            entries = _evaluate(rest, values, dot) if active else []
            body = at + 1
            _, at = _block(tokens, body, values, None, active=False)
            out += [_block(tokens, body, values, entry, active=True)[0] for entry in entries]
        elif active:
            found = _evaluate(token.text, values, dot)
            out.append(found if isinstance(found, str) else _raw_json(found))
        at += 1
    return "".join(out), -1


def _evaluate(text: str, values: Mapping[str, Any], dot: Any) -> Any:
    words = _WORD.findall(text)
    found, rest = _pipeline(words, values, dot)
    if rest:
        raise ValueError(f"{text}: what is {rest}?")
    return found


def _pipeline(words: list[str], values: Mapping[str, Any], dot: Any) -> tuple[Any, list[str]]:
    found, words = _call(words, values, dot, [])
    while words[:1] == ["|"]:
        found, words = _call(words[1:], values, dot, [found])
    return found, words


def _call(words: list[str], values: Mapping[str, Any], dot: Any, piped: list[Any]) -> tuple[Any, list[str]]:
    name, arguments, words = words[0], [], words[1:]
    if name not in _FUNCTIONS:
        found, words = _operand([name, *words], values, dot)
        return found, words
    while words and words[0] not in ("|", ")"):
        found, words = _operand(words, values, dot)
        arguments.append(found)
    return _FUNCTIONS[name](*arguments, *piped), words


def _operand(words: list[str], values: Mapping[str, Any], dot: Any) -> tuple[Any, list[str]]:
    word, words = words[0], words[1:]
    if word == "(":
        found, words = _pipeline(words, values, dot)
        if words[:1] != [")"]:
            raise ValueError("a bracket is missing")
        return found, words[1:]
    if word.startswith('"'):
        return json.loads(word), words
    if word == ".":
        return dot, words
    steps = word.split(".")
    if steps[:2] == ["$", "Values"]:
        found = values
        steps = steps[2:]
    elif steps[0] == "":
        found, steps = dot, steps[1:]
    else:
        raise ValueError(f"{word} is none of our words")
    for step in steps:
        # As in Go, what a mapping does not have is nothing.
        found = found.get(step)
    return found, words


def _truth(value: Any) -> bool:
    return bool(value)


def _raw_json(value: Any) -> str:
    return json.dumps(_numbers(value), ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _numbers(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _numbers(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_numbers(each) for each in value]
    return int(value) if isinstance(value, float) and value == int(value) else value


_FUNCTIONS: Mapping[str, Any] = {
    "toRawJson": _raw_json,
    "list": lambda *each: list(each),
    "sha256sum": lambda text: hashlib.sha256(text.encode()).hexdigest(),
    "not": lambda value: not _truth(value),
    "and": lambda *each: all(map(_truth, each)),
    "or": lambda *each: any(map(_truth, each)),
    "eq": lambda left, right: left == right,
}
