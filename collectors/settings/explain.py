"""pydantic's errors in our words: which field, what is wrong with it, and what would be right. Values, which may be
secrets, are not repeated."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from collectors.settings.document import Steps

MAX_ERRORS = 100
"""Of one model; the rest are counted."""
_SECRETS = ("password", "passwd", "secret", "token", "api_key", "apikey", "shared_key", "private_key", "credentials")


def explain(error: ValidationError, model: type[BaseModel]) -> Iterator[tuple[Steps, str]]:
    """Each error's path within `model`, and its message. What may be one of several things (a mapping or a word) is
    told once, with all that it may be."""
    told: set[Steps] = set()
    details = _without_echoes(error.errors(include_url=False))
    places = [_walk(one["loc"], model) for one in details[:MAX_ERRORS]]
    meant = {place.choice for place in places if place.choice is not None and place.inside}
    """Choices of which one thing is meant: what is wrong is within it."""
    for one, place in zip(details, places, strict=False):
        if place.choice is not None and not place.inside:
            if place.choice not in told and place.choice not in meant:
                told.add(place.choice)
                yield place.choice, _one_of(one, place.may_be)
        elif place.steps not in told:
            told.add(place.steps)
            if one["type"].startswith("union_tag_") and not isinstance(one["input"], dict):
                yield place.steps, "must be a mapping (type: ...)"
            elif one["type"].startswith("union_tag_"):
                yield (*place.steps, "type"), _no_type(one.get("ctx", {}).get("tag"), place.may_be)
            else:
                yield place.steps, _message(one, place.steps, place.around)
    if len(details) > MAX_ERRORS:
        yield (), f"has {len(details) - MAX_ERRORS} more errors"


def _without_echoes(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """A list whose items are wrong is told to be short of them: it is not, where they are reported."""

    def is_echo(one: ErrorDetails) -> bool:
        loc = one["loc"]
        return one["type"] == "too_short" and any(
            len(other["loc"]) > len(loc) and other["loc"][: len(loc)] == loc for other in details
        )

    return [one for one in details if not is_echo(one)]


def _one_of(details: ErrorDetails, members: list[Any]) -> str:
    """What all the members of a union would take."""
    mappings = [one for one in members if _is_model([one])]
    if isinstance(details["input"], dict) and mappings and details["type"] not in _NO_MAPPING:
        return str(details["msg"])  # the model's own judgement of the whole
    *first, last = dict.fromkeys(map(_spelt, members))
    return f"must be {', '.join(first)}, or {last}" if first else f"must be {last}"


_NO_MAPPING = frozenset(
    {"literal_error", "model_type", "dict_type", "string_type", "int_type", "float_type", "bool_type"}
)


def _spelt(member: Any) -> str:
    """A type in the words of who writes YAML."""
    if _is_model([member]):
        required = [name for name, field in member.model_fields.items() if field.is_required()]
        return f"a mapping ({', '.join(f'{name}: ...' for name in required or list(member.model_fields)[:3])})"
    if get_origin(member) is Literal:
        return ", ".join(map(str, get_args(member)))
    return _WORDS.get(get_origin(member) or member, "what is documented")


_WORDS: dict[Any, str] = {
    str: "text", int: "a number", float: "a number", bool: "true or false", dict: "a mapping (name: value)",
    tuple: "a list (- ...)", list: "a list (- ...)", frozenset: "a list (- ...)",
}  # fmt: skip


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
        case "int_type" | "int_from_float" | "int_parsing":
            return "must be a whole number, without quotes"
        case "float_type" | "float_parsing":
            return "must be a number, without quotes"
        case "finite_number":
            return "must be a finite number"
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
    known = sorted(field.alias or name for name, field in around.model_fields.items()) if around is not None else []
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


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an error is."""

    steps: Steps
    """Without what pydantic adds for its own sake: the members of a union, "[key]" for a mapping's key."""
    around: type[BaseModel] | None
    """The model that has the last step."""
    may_be: list[Any]
    """The types that may be there."""
    choice: Steps | None = None
    """The last union on the way whose members have no `type`: pydantic tells of each of them."""
    inside: bool = False
    """Whether the error is about a field or item of one of its members, and not about the choice."""


def _walk(loc: tuple[int | str, ...], model: type[BaseModel]) -> _Place:
    steps: list[int | str] = []
    current: list[Any] = [model]
    around: list[Any] = []
    members: list[Any] = []
    choice: Steps | None = None
    labelled = False
    for step in loc:
        if step == "[key]":
            continue
        if len(current) > 1 and not labelled:
            # The name of a member. One with a `type` is chosen by it, and no other is told of.
            labelled = True
            tagged = [each for each in current if _tag(each) == step]
            if not tagged:
                choice, members = tuple(steps), current
            current = tagged or [each for each in current if _label(each) == step] or current
            continue
        steps.append(step)
        around, current = current, [one for each in current for one in _within(each, step)]
        labelled = False
    models = [one for one in around if _is_model([one])]
    inside = choice is not None and len(steps) > len(choice)
    may_be = members if choice is not None and not inside else current
    return _Place(tuple(steps), models[0] if models else None, may_be, choice, inside)


def _label(member: Any) -> str:
    """What pydantic calls a union's member, of those that have fields or items of their own."""
    return member.__name__ if isinstance(member, type) else ""


def _is_model(types: list[Any]) -> bool:
    return any(isinstance(one, type) and issubclass(one, BaseModel) for one in types)


def _within(annotation: Any, step: int | str) -> list[Any]:
    """The types that a field or item of a type may have."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = annotation.model_fields
        named = {field.alias or name: field for name, field in fields.items()}
        field = named.get(str(step))
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
        return [one for each in get_args(annotation) for one in _members(each) if one is not NoneType]
    return [annotation]
