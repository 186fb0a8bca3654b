"""Settings of the injector from `--values FILE` and `--set a.b=c`; every mistake with where it was written."""

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from control.api import yaml_documents
from control.api.field_errors import explain
from control.api.resource import Path, line_of, spell
from control.injector import InjectorSettings
from remora.documents import Document
from remora.failure import Failure


def settings(values: Sequence[Document], assignments: Sequence[str]) -> InjectorSettings:
    """Later files over earlier ones, assignments over files. Raises Failure."""
    # A request alone keeps the other requests and the limits.
    merged: dict[str, Any] = {"resources": InjectorSettings().resources.model_dump()}
    places: dict[Path, str] = {}
    for file in values:
        for document in yaml_documents.read(file.text):
            if isinstance(document, yaml_documents.NotYaml):
                raise Failure(f"{file.name}:{document.line}: {document.path} {document.message}")
            if not isinstance(document.value, dict):
                raise Failure(
                    f"{file.name}:{document.line}: is no mapping; write settings such as nativeSidecars: true"
                )
            merged = _over(merged, document.value)
            places |= {path: f"{file.name}:{line_of(document.lines, path, 1)}" for path in document.lines}
    texts: dict[Path, str] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        path = tuple(name.split("."))
        if not equals or not all(path):
            raise Failure(f"--set {assignment[:100]!r}: write NAME=VALUE, such as nativeSidecars=false")
        merged = _over(merged, _nested(path, _value(text, assignment)))
        places[path] = f"--set {name}"
        texts[path] = text
    return _checked(merged, places, texts)


def _checked(merged: dict[str, Any], places: dict[Path, str], texts: dict[Path, str]) -> InjectorSettings:
    try:
        return InjectorSettings.model_validate(merged)
    except ValidationError as error:
        # A port's number that is to be text: on a command line nobody quotes it.
        for each in error.errors(include_url=False):
            path = each["loc"]
            if each["type"] == "string_type" and path in texts:
                merged, text = _over(merged, _nested(path, texts[path])), texts.pop(path)
                return _checked(merged, places, {key: value for key, value in texts.items() if value != text} | texts)
        raise Failure(
            *(f"{_place(path, places)}: {spell(path)}: {message}".replace(": : ", ": ")
              for path, message in explain(error, InjectorSettings))
        ) from None  # fmt: skip


def _place(path: Path, places: dict[Path, str]) -> str:
    for length in range(len(path), 0, -1):
        if path[:length] in places:
            return places[path[:length]]
    return next(iter(places.values()), "settings").rpartition(":")[0] or "settings"


def _value(text: str, assignment: str) -> Any:
    documents = list(yaml_documents.read(text))
    if not documents:
        return None if text.strip() == "null" else ""
    if len(documents) > 1 or isinstance(documents[0], yaml_documents.NotYaml):
        raise Failure(f"--set {assignment[:100]!r}: the value is no YAML; quote it")
    return documents[0].value


def _nested(path: Path, value: Any) -> dict[str, Any]:
    for step in reversed(path):
        value = {str(step): value}
    assert isinstance(value, dict)
    return value


def _over(old: Any, new: Any) -> Any:
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    return old | {key: _over(old.get(key), value) for key, value in new.items()}
