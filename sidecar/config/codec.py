"""Frozen configuration types <-> plain msgpack values, driven by their annotations. Agent and worker share it."""

import types
import typing
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, Union


def to_plain(value: Any) -> Any:
    """Dataclass -> list of its name and its fields, Enum -> its value, frozenset -> sorted list. What msgpack packs
    unchanged stays as it is."""
    kind: Any = type(value)
    return _writer(kind)(value)


def _unchanged(value: Any) -> Any:
    return value


@cache
def _writer(kind: Any) -> Callable[[Any], Any]:
    """Of a declared type: what is in a long tuple is not looked at where all of its kind is plain."""
    origin = typing.get_origin(kind)
    if origin in (Union, types.UnionType):
        writers = {member: _writer(member) for member in typing.get_args(kind) if isinstance(member, type)}
        others = [_writer(member) for member in typing.get_args(kind) if not isinstance(member, type)]
        other = others[0] if others else _unchanged
        return lambda value: writers.get(type(value), other)(value)
    if origin is tuple:
        items = [_writer(argument) for argument in typing.get_args(kind) if argument is not Ellipsis]
        if all(item is _unchanged for item in items):
            return _unchanged
        if typing.get_args(kind)[-1] is Ellipsis:
            item = items[0]
            return lambda value: [item(each) for each in value]
        return lambda value: [write(each) for write, each in zip(items, value, strict=True)]
    if origin is frozenset:
        member = _writer(typing.get_args(kind)[0])
        return lambda value: sorted((member(each) for each in value), key=repr)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return lambda value: value.value
    return _dataclass_writer(kind) if is_dataclass(kind) else _unchanged


def _dataclass_writer(kind: Any) -> Callable[[Any], Any]:
    writers: list[tuple[str, Callable[[Any], Any]]] = []

    def write(value: Any) -> Any:
        if not writers:  # resolved on first use: types may refer to each other
            hints = typing.get_type_hints(kind)
            writers.extend((field.name, _writer(hints[field.name])) for field in fields(kind))
        return [kind.__name__, *[write(getattr(value, name)) for name, write in writers]]

    return write


def from_plain(kind: Any, plain: Any) -> Any:
    """Inverse of `to_plain`. Raises ValueError, TypeError or LookupError when `plain` is not a `kind`."""
    return _reader(kind)(plain)


@cache
def _reader(kind: Any) -> Callable[[Any], Any]:
    origin = typing.get_origin(kind)
    if origin in (Union, types.UnionType):
        return _union_reader(typing.get_args(kind))
    if origin is tuple:
        arguments = typing.get_args(kind)
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            item = _reader(arguments[0])
            return lambda plain: tuple([item(each) for each in plain])
        items = [_reader(argument) for argument in arguments]
        return lambda plain: tuple(read(each) for read, each in zip(items, plain, strict=True))
    if origin is frozenset:
        member = _reader(typing.get_args(kind)[0])
        return lambda plain: frozenset([member(each) for each in plain])
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind
    if is_dataclass(kind):
        return _dataclass_reader(kind)
    if kind is float:
        return _read_float
    return _plain_reader(kind)


def _read_float(plain: Any) -> float:
    """A whole number may have been written where a fraction is due; a text or a truth value may not."""
    if type(plain) is not float and type(plain) is not int:
        raise TypeError(f"expected float, got {type(plain).__name__}")
    return float(plain)


def _plain_reader(kind: Any) -> Callable[[Any], Any]:
    def read(plain: Any) -> Any:
        if type(plain) is not kind:
            raise TypeError(f"expected {kind.__name__}, got {type(plain).__name__}")
        return plain

    return read


def _union_reader(members: tuple[Any, ...]) -> Callable[[Any], Any]:
    by_name = {member.__name__: member for member in members if isinstance(member, type) and is_dataclass(member)}
    others = [member for member in members if not is_dataclass(member) and member is not type(None)]
    optional = type(None) in members
    if len(others) > 1:
        raise TypeError(f"a union may have one member that is no dataclass: {members}")

    def read(plain: Any) -> Any:
        if plain is None and optional:
            return None
        if by_name and isinstance(plain, list) and plain and plain[0] in by_name:
            return _reader(by_name[plain[0]])(plain)
        if others:
            return _reader(others[0])(plain)
        raise ValueError(f"no member of {members} fits")

    return read


def _dataclass_reader(kind: Any) -> Callable[[Any], Any]:
    hints = typing.get_type_hints(kind)
    names = [field.name for field in fields(kind)]
    readers: list[Callable[[Any], Any]] = []

    def read(plain: Any) -> Any:
        if not readers:  # resolved on first use: types may refer to each other
            readers.extend(_reader(hints[name]) for name in names)
        if not isinstance(plain, list) or not plain or plain[0] != kind.__name__:
            raise ValueError(f"expected a {kind.__name__}")
        return kind(*(each(item) for each, item in zip(readers, plain[1:], strict=True)))

    return read
