"""pydantic's errors in our words: which field, what is wrong with it, and what would be right."""

import difflib
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from control.api.resource import Path
from control.api.scalars import shorten

_TYPES = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false", "list": "a list",
          "dict": "a mapping", "NoneType": "empty"}  # fmt: skip

MAX_ERRORS = 50
"""Shown per document; the rest are counted."""


def explain(error: ValidationError, model: type[BaseModel]) -> Iterator[tuple[Path, str]]:
    """Each error's path within `model` and its message."""
    seen: set[Path] = set()
    for count, details in enumerate(error.errors(include_url=False)):
        if count == MAX_ERRORS:
            yield (), f"has {error.error_count() - MAX_ERRORS} more errors"
            return
        path = _path(details["loc"])
        if details["type"] == "too_short" and details["input"]:  # its items are wrong, and reported
            continue
        if path in seen:  # a union reports each of its members
            continue
        seen.add(path)
        yield path, _message(details, model)


def _path(loc: tuple[int | str, ...]) -> Path:
    # A mapping's bad key is reported as (..., key, "[key]"), a union's member by its type's name.
    return tuple(step for step in loc if step not in ("[key]", "int", "str", "constrained-str", "constrained-int"))


def _message(details: ErrorDetails, model: type[BaseModel]) -> str:
    kind, context, value = details["type"], details.get("ctx", {}), details["input"]
    match kind:
        case "extra_forbidden":
            return _unknown(details["loc"], model)
        case "missing":
            return "is required; add it"
        case "literal_error":
            return _not_one_of(value, str(context.get("expected", "")))
        case "string_type":
            hint = f'; quote it: "{_plain(value)}"' if isinstance(value, bool | int | float) else ""
            return f"is {_show(value)}; write text{hint}"
        case "int_type" | "int_parsing" | "int_from_float":
            unquote = isinstance(value, str) and value.strip().lstrip("-").isdigit()
            hint = " without quotes" if unquote else ""
            return f"is {_show(value)}; write a whole number{hint}"
        case "float_type" | "float_parsing":
            return f"is {_show(value)}; write a number"
        case "bool_type" | "bool_parsing":
            return f"is {_show(value)}; write true or false"
        case "tuple_type" | "list_type":
            return f"is {_show(value)}; write a list (- ...)"
        case "dict_type" | "model_type" | "model_attributes_type" | "mapping_type":
            return f"is {_show(value)}; write a mapping ({_fields_hint(details['loc'], model)})"
        case "greater_than_equal":
            return f"is {_show(value)}; it must be at least {context['ge']}"
        case "less_than_equal":
            return f"is {_show(value)}; it must be at most {context['le']}"
        case "too_short":
            return "is empty; write at least one"
        case "too_long":
            actual = context.get("actual_length")  # not known of a map, which is not looked at to its end
            has = f"has {actual} entries" if actual is not None else "has too many entries"
            return f"{has}; at most {context.get('max_length')} are allowed"
        case "string_too_long":
            return f"is longer than {context.get('max_length')} characters"
        case _:
            return str(details["msg"])


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _show(value: object) -> str:
    if isinstance(value, str):
        return f"the text {shorten(value)}"
    if value is None:
        return "empty"
    if isinstance(value, dict | list):
        return _TYPES[type(value).__name__]
    return f"{_plain(value)} ({_TYPES.get(type(value).__name__, type(value).__name__)})"


def _not_one_of(value: object, expected: str) -> str:
    allowed = [word.strip("'") for word in expected.replace(" or ", ", ").split(", ") if word]
    guess = did_you_mean(value, allowed) if isinstance(value, str) else ""
    return f"is {shorten(value)}; it must be {'one of ' if len(allowed) > 1 else ''}{', '.join(allowed)}{guess}"


def _unknown(loc: tuple[int | str, ...], model: type[BaseModel]) -> str:
    around = _model_at(model, loc[:-1])
    if around is None:
        return "is an unknown field; remove it"
    known = sorted(_names(around))
    guess = did_you_mean(str(loc[-1]), known)
    listed = "" if guess else f"; known here are {', '.join(known)}"
    return f"is an unknown field{guess}{listed}"


def _fields_hint(loc: tuple[int | str, ...], model: type[BaseModel]) -> str:
    around = _model_at(model, loc)
    return ", ".join(f"{name}: ..." for name in sorted(_names(around))[:4]) if around else "name: value"


def did_you_mean(word: str, known: list[str]) -> str:
    """`; did you mean X?`, or nothing where nothing is close."""
    lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower()[:100], list(lower), n=1, cutoff=0.6)
    return f"; did you mean {lower[close[0]]}?" if close else ""


def _names(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield field.alias or name


def _model_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> type[BaseModel] | None:
    current: Any = model
    for step in loc:
        current = _strip(current)
        if isinstance(current, type) and issubclass(current, BaseModel):
            fields: Mapping[str, Any] = {f.alias or n: f.annotation for n, f in current.model_fields.items()}
            current = fields.get(str(step))
        elif get_origin(current) is tuple:
            current = get_args(current)[0]
        elif get_origin(current) is dict:
            current = get_args(current)[1]
        else:
            return None
    current = _strip(current)
    return current if isinstance(current, type) and issubclass(current, BaseModel) else None


def _strip(annotation: Any) -> Any:
    """The type within Annotated and Optional."""
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation = get_args(annotation)[0]
        elif origin in (Union, UnionType):
            annotation = next(a for a in get_args(annotation) if a is not type(None))
        else:
            return annotation
