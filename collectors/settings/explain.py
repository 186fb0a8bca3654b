"""pydantic's errors in our words: which field, what is wrong with it, and what would be right. Values, which may be
secrets, are not repeated."""

import difflib
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from collectors.settings.document import Steps

MAX_ERRORS = 100
"""Of one model; the rest are counted."""
_SECRETS = ("password", "passwd", "secret", "token", "api_key", "apikey", "shared_key", "private_key", "credentials")


def explain(error: ValidationError, model: type[BaseModel]) -> Iterator[tuple[Steps, str]]:
    """Each error's path within `model`, and its message."""
    seen: set[Steps] = set()
    for number, details in enumerate(error.errors(include_url=False)):
        if details["type"] == "too_short" and details["input"]:
            continue  # its items are wrong, and reported
        if number == MAX_ERRORS:
            yield (), f"has {error.error_count() - MAX_ERRORS} more errors"
            return
        steps, around, there = _walk(details["loc"], model)
        if steps not in seen:  # a union reports each of its members
            seen.add(steps)
            if details["type"].startswith("union_tag_"):
                yield (*steps, "type"), _no_type(details.get("ctx", {}).get("tag"), there)
            else:
                yield steps, _message(details, steps, around)


def _message(details: ErrorDetails, steps: Steps, around: type[BaseModel] | None) -> str:
    kind, context = details["type"], details.get("ctx", {})
    match kind:
        case "extra_forbidden":
            return _unknown(str(steps[-1]), around)
        case "missing":
            return "is required; add it"
        case "literal_error" | "enum":
            return f"must be {context.get('expected', 'one of what is documented')}"
        case "string_type":
            return "must be text; quote it"
        case "int_type" | "int_from_float":
            return "must be a whole number, without quotes"
        case "float_type":
            return "must be a number, without quotes"
        case "bool_type":
            return "must be true or false"
        case "tuple_type" | "list_type" | "frozen_set_type" | "set_type":
            return "must be a list (- ...)"
        case "dict_type" | "model_type" | "model_attributes_type" | "mapping_type":
            return "must be a mapping (name: value)"
        case "greater_than_equal":
            return f"must be at least {_number(context['ge'])}"
        case "greater_than":
            return f"must be more than {_number(context['gt'])}"
        case "less_than_equal":
            return f"must be at most {_number(context['le'])}"
        case "less_than":
            return f"must be less than {_number(context['lt'])}"
        case "too_short" | "string_too_short":
            return f"is too short; at least {context.get('min_length', 1)}"
        case "too_long" | "string_too_long":
            return f"is too long; at most {context.get('max_length')}"
        case "string_pattern_mismatch":
            return f"must match {context.get('pattern')}"
        case _:
            return str(details["msg"])


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _unknown(name: str, around: type[BaseModel] | None) -> str:
    known = sorted(around.model_fields) if around is not None else []
    if f"{name}_file" in known:
        return f"is not taken from the settings, since they are read by many: write {name}_file: PATH"
    files = [each for each in known if each.endswith("_file")]
    if any(word in name.lower() for word in _SECRETS) and files:
        return f"is unknown; secrets are given by files: {', '.join(files)}"
    listed = f"; known are {', '.join(known)}" if known else ""
    return f"is unknown{did_you_mean(name, known) or listed}"


def did_you_mean(word: str, known: list[str]) -> str:
    """`; did you mean X?`, or nothing where nothing is close."""
    close = difflib.get_close_matches(word.lower()[:100], known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def _no_type(said: str | None, members: list[Any]) -> str:
    """Of a mapping whose `type` says which of several models it is."""
    known = [tag for tag in map(_tag, members) if tag is not None]
    if said is None:
        return f"is required; one of {', '.join(known)}"
    return f"is no type that there is{did_you_mean(said, known)}; there are {', '.join(known)}"


def _tag(model: Any) -> str | None:
    """The one `type` of a model that has one."""
    field = model.model_fields.get("type") if isinstance(model, type) and issubclass(model, BaseModel) else None
    values = get_args(field.annotation) if field is not None else ()
    return values[0] if len(values) == 1 and isinstance(values[0], str) else None


def _walk(loc: tuple[int | str, ...], model: type[BaseModel]) -> tuple[Steps, type[BaseModel] | None, list[Any]]:
    """The path, without what pydantic adds for its own sake: the members of a union, "[key]" for a mapping's key; the
    model that has its last step, and what may be there."""
    steps: list[int | str] = []
    current: list[Any] = [model]
    around: list[Any] = []
    for step in loc:
        if step == "[key]":
            continue
        if len(current) > 1 and (tagged := [each for each in current if _tag(each) == step]):
            current = tagged
            continue
        following = [one for each in current for one in _within(each, step)]
        if following or not steps or isinstance(step, int) or _is_model(current):
            steps.append(step)
            around, current = current, following
    models = [one for one in around if isinstance(one, type) and issubclass(one, BaseModel)]
    return tuple(steps), models[0] if models else None, current


def _is_model(types: list[Any]) -> bool:
    return any(isinstance(one, type) and issubclass(one, BaseModel) for one in types)


def _within(annotation: Any, step: int | str) -> list[Any]:
    """The types that a field or item of a type may have."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = annotation.model_fields.get(str(step))
        return [] if field is None else _members(field.annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is dict:
        return _members(arguments[1])
    if origin in (tuple, list, frozenset, set) and isinstance(step, int):
        return _members(arguments[0] if len(arguments) == 1 or arguments[-1] is ... else arguments[step])
    return []


def _members(annotation: Any) -> list[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _members(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return [one for each in get_args(annotation) for one in _members(each)]
    return [annotation]
