"""values.yaml: every value with its default, under the words of the model."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from remora.install.crds.schema import docstrings
from remora.install.text import documents
from remora.install.values import Values


def text() -> str:
    """The file's text."""
    head = "# What may be set, with what is usual. `remora install` has the same names: --set PATH=VALUE, -f FILE.\n"
    return head + "".join(f"{line}\n" for line in _lines(Values(), ""))


def _lines(model: BaseModel, indent: str) -> Iterator[str]:
    docs = docstrings(type(model))
    plain = model.model_dump(mode="json", by_alias=True)
    for name, field in type(model).model_fields.items():
        key, value = field.alias or name, getattr(model, name)
        doc = docs.get(name) or (type(value).__doc__ if isinstance(value, BaseModel) else None)
        if not indent:
            yield ""
        if doc:
            yield f"{indent}# {doc}"
        if isinstance(value, BaseModel):
            yield f"{indent}{key}:"
            yield from _lines(value, indent + "  ")
        else:
            yield from _entry(key, plain[key], indent)


def _entry(key: str, value: Any, indent: str) -> Iterator[str]:
    entry: Mapping[str, Any] = {key: value}
    for line in documents([entry]).splitlines():
        yield indent + line
