"""Values as a user gives them, in files and by `--set`, to a checked `Values`: or every mistake, with its place and
the fix.

Files and `--set` are laid over the defaults as Helm does it: mappings are merged, lists replaced, null takes a key
away.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from pydantic import ValidationError

from control.api.field_errors import explain
from control.api.resource import Path, line_of, spell
from control.api.scalars import shorten
from control.api.yaml_documents import NotYaml, read
from remora.documents import Document
from remora.failure import Failure
from remora.install import values as models
from remora.install.values import Values

MAX_INDEX = 1_000
"""Of a list's entry in `--set`."""

_STEP = re.compile(r"((?:[^\\.\[\]=,]|\\.)+)((?:\[\d{1,4}\])*)(?:\.|\Z)")
_INTEGER = re.compile(r"-?(0|[1-9]\d{0,17})\Z")
_RIGHT = {
    models._NAME: "lower-case letters, digits and -, 63 at most",
    models._DOMAIN: "a DNS name in lower case",
    models._IMAGE: "an image such as registry.example.com/remora:1.2",
    models._QUANTITY: "a quantity such as 500m, 2 or 1Gi",
    models._DURATION: "a length of time such as 5s, 10m or 24h",
    models._CIDR: "a range of addresses such as 10.0.0.0/8",
    models._URL: "a URL such as https://es.example.com:9200",
    models._ITEMS: "* or a list with commas, such as 3306,8000-8100 or 10.0.0.0/8",
    models._CLUSTER: "a name of letters, digits, - and .",
    models._BYTES: "a size such as 512MiB or 1GiB",
}
"""What a pattern wants, in words."""


@dataclass(slots=True)
class _Laid:
    """Values so far, and who said what."""

    data: dict[str, Any]
    said: dict[Path, str] = field(default_factory=dict)
    raw: dict[Path, str] = field(default_factory=dict)
    """Text of `--set`, for fields that want text where it looks like a number."""
    taken: list[Path] = field(default_factory=list)
    """What a null took away."""
    mistakes: list[str] = field(default_factory=list)

    def place(self, path: Path) -> str:
        for length in range(len(path), 0, -1):
            if path[:length] in self.said:
                return self.said[path[:length]]
        # What is wrong may be how fields below fit together.
        return next((place for known, place in self.said.items() if known[: len(path)] == path), "values")


def load(files: Sequence[Document], sets: Sequence[str], *, revision: str | None = None) -> Values:
    """Raises Failure with one line for each mistake."""
    laid = _Laid(Values().plain())
    for file in files:
        _lay_file(laid, file)
    for text in sets:
        _lay_set(laid, text)
    if revision is not None:
        _put(laid, ("revision",), revision, "--revision")
    if laid.mistakes:
        raise Failure(*laid.mistakes)
    return _checked(laid)


def _checked(laid: _Laid) -> Values:
    try:
        values = Values.model_validate(laid.data)
        nulls = [path for path in laid.taken if _at(values.plain(), path) is not None]
        if nulls:
            raise Failure(
                *(
                    f"{laid.place(path)}: {spell(path)}: is null; leave it out for what is usual, or write a value"
                    for path in nulls
                )
            )
        if wrong := list(_injectors_view(values, laid)):
            raise Failure(*wrong)
        return values
    except ValidationError as error:
        again = False
        for details in error.errors(include_url=False):
            path = tuple(details["loc"])
            if details["type"] == "string_type" and path in laid.raw:
                _set_at(laid.data, path, laid.raw.pop(path))
                again = True
        if again:
            return _checked(laid)
        raise Failure(*_explained(error, laid)) from error


def _injectors_view(values: Values, laid: _Laid) -> Iterator[str]:
    """What the injector would say of its settings: it knows more of annotations' texts and of templates."""
    from control.injector.settings import InjectorSettings
    from remora.install.parts.settings import AS_THEY_ARE

    sidecar = values.plain()["sidecar"]
    try:
        InjectorSettings.model_validate({name: sidecar[name] for name in AS_THEY_ARE})
    except ValidationError as error:
        for path, message in explain(error, InjectorSettings):
            whole: Path = ("sidecar", *path)
            yield f"{laid.place(whole)}: {spell(whole)}: {message}"


def _explained(error: ValidationError, laid: _Laid) -> Iterator[str]:
    for path, message in explain(error, Values):
        for pattern, right in _RIGHT.items():
            if f"'{pattern}" in message:
                message = f"is {shorten(_at(laid.data, path))}; write {right}"
                break
        yield f"{laid.place(path)}: {spell(path) + ': ' if path else ''}{message}"


def _lay_file(laid: _Laid, file: Document) -> None:
    found = False
    for document in read(file.text.removeprefix("\ufeff")):
        if isinstance(document, NotYaml):
            at = f"{document.path}: " if document.path else ""
            laid.mistakes.append(f"{file.name}:{document.line}: {at}{document.message}")
        elif found:
            laid.mistakes.append(f"{file.name}:{document.line}: is a second document; values are one mapping")
        elif not isinstance(document.value, Mapping):
            laid.mistakes.append(
                f"{file.name}:{document.line}: is no mapping; write for example `control: {{replicas: 3}}`"
            )
        else:
            lines = document.lines

            def place(path: Path, lines: Mapping[Path, int] = lines, line: int = document.line) -> str:
                return f"{file.name}:{line_of(lines, path, line)}"

            _merge(laid, (), document.value, place)
        found = True


def _merge(laid: _Laid, path: Path, value: Any, place: Any) -> None:
    there = _at(laid.data, path) if path else laid.data
    if isinstance(value, Mapping) and isinstance(there, Mapping) and (value or not path):
        for key, each in value.items():
            _merge(laid, (*path, key), each, place)
    elif value is None:
        _take_away(laid, path)
        laid.said[path] = place(path)
    else:
        _put(laid, path, value, place(path))
        for below in _paths(value, path):
            laid.said[below] = place(below)


def _paths(value: Any, path: Path) -> Iterator[Path]:
    steps = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for step, each in steps:
        yield (*path, step)
        yield from _paths(each, (*path, step))


def _lay_set(laid: _Laid, text: str) -> None:
    for pair in _split(text, ","):
        name, equals, raw = pair.partition("=")
        path = _path(name)
        if not equals or path is None:
            laid.mistakes.append(f"--set {shorten(pair)}: is not PATH=VALUE, such as control.replicas=3")
            continue
        value = _value(raw)
        place = f"--set {pair}" if pair.isprintable() and len(pair) <= 100 else f"--set {shorten(pair)}"
        try:
            if value is None:
                _take_away(laid, path)
                laid.said[path] = place
                continue
            _put(laid, path, value, place)
        except (TypeError, KeyError, IndexError):
            laid.mistakes.append(f"{place}: has a list's index or a field where the values have something else")
            continue
        if not isinstance(value, str | list):
            laid.raw[path] = raw


def _path(text: str) -> Path | None:
    steps: list[str | int] = []
    position = 0
    while match := _STEP.match(text, position):
        steps.append(re.sub(r"\\(.)", r"\1", match[1]))
        for index in re.findall(r"\d+", match[2]):
            if int(index) > MAX_INDEX:
                return None
            steps.append(int(index))
        position = match.end()
        if position == len(text):
            return tuple(steps) if not text.endswith(".") or text.endswith("\\.") else None
    return None


def _split(text: str, at: str) -> Iterator[str]:
    """At commas, but for those after a backslash or within braces."""
    piece, depth, escaped = "", 0, False
    for character in text:
        if escaped:
            piece += character if character in at + "{}" else "\\" + character
            escaped = False
            continue
        if character == "\\":
            escaped = True
            continue
        depth += (character == "{") - (character == "}")
        if character == at and depth <= 0:
            yield piece
            piece = ""
        else:
            piece += character
    yield piece + ("\\" if escaped else "")


def _value(raw: str) -> Any:
    if raw.startswith("{") and raw.endswith("}"):
        return [_value(each) for each in _split(raw[1:-1], ",")] if len(raw) > 2 else []
    if raw in ("true", "false"):
        return raw == "true"
    if raw == "null":
        return None
    return int(raw) if _INTEGER.match(raw) else raw


def _put(laid: _Laid, path: Path, value: Any, place: str) -> None:
    _set_at(laid.data, path, value)
    for known in [each for each in laid.said if each[: len(path)] == path]:
        del laid.said[known]
    laid.said[path] = place


def _set_at(data: Any, path: Path, value: Any) -> None:
    for step, following in pairwise(path):
        empty: Any = [] if isinstance(following, int) else {}
        if isinstance(step, int):
            if step == len(data):
                data.append(empty)
        elif step not in data:
            data[step] = empty
        data = data[step]
    last = path[-1]
    if isinstance(last, int) and isinstance(data, list) and last == len(data):
        data.append(value)
    elif isinstance(last, int) != isinstance(data, list):
        raise TypeError
    else:
        data[last] = value


def _take_away(laid: _Laid, path: Path) -> None:
    around = _at(laid.data, path[:-1]) if len(path) > 1 else laid.data
    if isinstance(around, dict):
        around.pop(str(path[-1]), None)
        laid.taken.append(path)


def _at(data: Any, path: Path) -> Any:
    for step in path:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return None
    return data
