"""docs/settings.md: every field of the settings file with its type, bounds, default and meaning, out of the models and
the docstrings of their fields. `python -m collectors.settings.reference` writes it; a test fails while it is not
current."""

import ast
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from collectors.exporters.http import ClientSettings
from collectors.processors.filtering import Condition
from collectors.processors.patterns import CompiledPattern
from collectors.processors.relabel_settings import RelabelRule
from collectors.receivers.listeners import Address, ServerTls
from collectors.settings.buffers import BufferSettings, SpillSettings
from collectors.settings.registry import EXPORTERS, PROCESSORS, RECEIVERS, load_type
from collectors.settings.routes import RouteSettings
from collectors.settings.types import Secret, parse_duration, parse_size

PATH = Path(__file__).parents[2] / "docs" / "settings.md"

_HEAD = """\
# Every setting of the collector

Written by `python -m collectors.settings.reference` out of the models, not by hand. What the parts are for is in
[collectors.md](collectors.md), [logs.md](logs.md), [traces.md](traces.md), [metrics.md](metrics.md) and
[elasticsearch.md](elasticsearch.md). Durations have a unit (`200ms`, `10s`, `2h`, `7d`); sizes have one (`64MiB`,
`1.5GB`) or are bytes. Where the default is empty there is none: what that means is said behind it.
"""
_SHARED: dict[type[BaseModel], tuple[str, str]] = {
    ClientSettings: ("client", "Back ends"),
    BufferSettings: ("buffer", "Buffer"),
    SpillSettings: ("spill", "Spill"),
    ServerTls: ("tls", "TLS of a listener"),
    RelabelRule: ("rule", "Relabelling rule"),
    Condition: ("condition", "Condition of a filter"),
}
"""Models that several types have: told once, under this anchor and heading."""


def render() -> str:
    """The page."""
    parts = [_HEAD, "\n## routes\n", *_model(RouteSettings, "routes[]", "###")]
    for section, types in (("receivers", RECEIVERS), ("processors", PROCESSORS), ("exporters", EXPORTERS)):
        parts.append(f"\n## {section}\n")
        for name, module in sorted(types.items()):
            where = f"receivers.{name}" if section == "receivers" else f"{section}.NAME, type: {name}"
            parts += _model(load_type(module).Settings, where, "###")
    parts.append("\n## Shared\n")
    for model, (anchor, heading) in _SHARED.items():
        parts += [f'\n<a id="{anchor}"></a>\n', *_model(model, heading, "###", shared=True)]
    return "".join(parts)


def fields_of(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo, str]]:
    """Each field's name in the file, and what its docstring says."""
    docstrings: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if base is not BaseModel and issubclass(base, BaseModel):
            docstrings |= _docstrings(base)
    for name, field in model.model_fields.items():
        yield field.alias or name, field, docstrings.get(name, "")


def _model(model: type[BaseModel], where: str, level: str, *, shared: bool = False) -> Iterator[str]:
    yield f"\n{level} {where}\n\n{_one_line(inspect.getdoc(model) or '')}\n\n"
    client = issubclass(model, ClientSettings) and not shared
    if client:
        yield "Besides the fields [of all back ends](#client):\n\n"
    rows, inner = [], []
    for name, field, meaning in fields_of(model):
        if client and _is_same(name, field):
            continue
        rows.append(f"| `{name}` | {_type(field)} | {_default(field)} | {_one_line(meaning)} |\n")
        inner += [(name, one) for one in _models(field.annotation) if one not in _SHARED]
    if rows:
        yield "| field | | default | |\n| --- | --- | --- | --- |\n"
        yield from rows
    for name, one in inner:
        # `and` of tail_sampling has what it is one of.
        kind = one.model_fields.get("type")
        tag = f", type: {get_args(kind.annotation)[0]}" if kind is not None and kind.is_required() else ""
        if not where.endswith(f"{tag}.policies") and "policies[]" not in where:
            several = "[]" if get_origin(_plain(model.model_fields[name].annotation)) is tuple else ""
            yield from _model(one, f"{where}: {name}{several}{tag}", "####")


def _is_same(name: str, field: FieldInfo) -> bool:
    base = ClientSettings.model_fields.get(name)
    return base is not None and (base.annotation, base.default) == (field.annotation, field.default)


def _docstrings(model: type[BaseModel]) -> dict[str, str]:
    """By field: the string behind it."""
    (node,) = ast.parse(inspect.cleandoc("\n" + inspect.getsource(model))).body
    assert isinstance(node, ast.ClassDef)
    found: dict[str, str] = {}
    for field, following in zip(node.body, node.body[1:], strict=False):
        is_text = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and is_text:
            found[field.target.id] = str(following.value.value)  # type: ignore[attr-defined]
    return found


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _plain(annotation: Any) -> Any:
    """Without Annotated and None."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, UnionType):
        members = [one for one in get_args(annotation) if one is not NoneType]
        return _plain(members[0]) if len(members) == 1 else annotation
    return annotation


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) is Literal:
        return []
    return [one for each in get_args(annotation) for one in _models(each)]


def _parser(metadata: list[Any]) -> Any:
    return next((one.func for one in metadata if getattr(one, "func", None) in (parse_duration, parse_size)), None)


def _type(field: FieldInfo) -> str:
    # An optional duration has its parser within the union.
    metadata = [*field.metadata, *_inner_metadata(field.annotation)]
    parser = _parser(metadata)
    if parser is not None:
        kind = "duration" if parser is parse_duration else "size"
    else:
        kind = _named(field.annotation)
    return kind + _bounds(metadata, parser)


def _inner_metadata(annotation: Any) -> list[Any]:
    found: list[Any] = []
    if get_origin(annotation) is Annotated:
        base, *metadata = get_args(annotation)
        return [*metadata, *_inner_metadata(base)]
    if get_origin(annotation) in (Union, UnionType):
        for one in get_args(annotation):
            found += _inner_metadata(one)
    return found


_NAMES: dict[Any, str] = {
    str: "text", int: "whole number", float: "number", bool: "`true` or `false`", Path: "path",
    Secret: "path of a secret", Address: "`HOST:PORT`", CompiledPattern: "RE2 expression",
}  # fmt: skip


def _named(annotation: Any) -> str:
    plain = _plain(annotation)
    origin, arguments = get_origin(plain), get_args(plain)
    if plain in _NAMES:
        return _NAMES[plain]
    if origin is Literal:
        return ", ".join(f"`{one}`" for one in arguments)
    if origin in (Union, UnionType):
        # A whole number is a number, where both may be.
        return " or ".join(
            dict.fromkeys(_named(float if one is int else one) for one in arguments if one is not NoneType)
        )
    if origin in (tuple, frozenset, list):
        return f"list of {_named(arguments[0])}"
    if origin is dict:
        return f"mapping of text to {_named(arguments[1])}"
    if isinstance(plain, type) and issubclass(plain, BaseModel):
        shared = _SHARED.get(plain)
        return "mapping" if shared is None else f"[{shared[1]}](#{shared[0]})"
    return str(getattr(plain, "__name__", plain))


def _bounds(metadata: list[Any], parser: Any) -> str:
    least: Ge | Gt | None = next((one for one in metadata if isinstance(one, Ge | Gt)), None)
    most: Le | Lt | None = next((one for one in metadata if isinstance(one, Le | Lt)), None)
    lengths = [one for one in metadata if isinstance(one, MinLen | MaxLen)]
    said = []
    if least is not None:
        bound: Any = least.ge if isinstance(least, Ge) else least.gt
        said.append(f"{'at least' if isinstance(least, Ge) else 'more than'} {_value(bound, parser)}")
    if most is not None:
        bound = most.le if isinstance(most, Le) else most.lt
        said.append(f"{'at most' if isinstance(most, Le) else 'less than'} {_value(bound, parser)}")
    said += [
        f"at least {one.min_length}" if isinstance(one, MinLen) else f"at most {one.max_length:,}" for one in lengths
    ]
    return f", {', '.join(said)}" if said else ""


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "*required*"
    value = field.default
    if value is None or value in ("", (), {}) or isinstance(value, BaseModel):
        return ""
    if field.annotation is not None and _is_fsync(field):
        return "`always`"
    if isinstance(value, CompiledPattern):
        return f"`{value.text.removeprefix('(?s:').removesuffix(')')}`"
    if isinstance(value, tuple | frozenset):
        return ", ".join(f"`{one}`" for one in (value if isinstance(value, tuple) else sorted(value)))
    parser = _parser([*field.metadata, *_inner_metadata(field.annotation)])
    return f"`{value}`" if type(value) is int and parser is None else f"`{_value(value, parser)}`"


def _is_fsync(field: FieldInfo) -> bool:
    return any(getattr(one, "func", None) is not None and one.func.__name__ == "_fsync" for one in field.metadata)


def _value(value: Any, parser: Any) -> str:
    if parser is parse_duration:
        return _duration(float(value))
    if parser is parse_size:
        for unit, size in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
            if value and value % size == 0:
                return f"{value // size}{unit}"
        return str(value)
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)


def _duration(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        # A day is told as 24h, as people do; 120 s as 2m.
        if seconds >= length * (2 if unit == "d" else 1) and seconds % length == 0:
            return f"{seconds / length:g}{unit}"
    return f"{seconds * 1000:g}ms" if 0 < seconds < 1 else f"{seconds:g}s"


if __name__ == "__main__":
    PATH.write_text(render(), encoding="utf-8")
    sys.stdout.write(f"{PATH} is written\n")
