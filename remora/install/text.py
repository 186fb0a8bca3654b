"""Data as YAML text: the form for people, and the strict one that a template can say word for word."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./@-]*( [A-Za-z0-9_./@(][A-Za-z0-9_./@()-]*)*\Z")
# What some reader of YAML 1.1 or 1.2 takes for something else than text.
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


def flow(data: Any) -> str:
    """One line of JSON, which is YAML: keys sorted, as Helm's toRawJson has them."""
    return json.dumps(data, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


class Inline(str):
    """Text that is YAML already, of one line."""

    __slots__ = ()


def strict(data: Any) -> str:
    """Block mappings and lists, one entry a line, and JSON for what they end in."""
    return "".join(f"{line}\n" for line in _strict_lines(data, ""))


def _strict_lines(data: Any, indent: str) -> Iterator[str]:
    if isinstance(data, Mapping) and data:
        for key, each in data.items():
            if isinstance(each, Mapping | list) and each:
                yield f"{indent}{key}:"
                yield from _strict_lines(each, indent + "  ")
            else:
                yield f"{indent}{key}: {_leaf(each)}"
    elif isinstance(data, list) and data:
        for each in data:
            if isinstance(each, Mapping | list) and each:
                yield f"{indent}-"
                yield from _strict_lines(each, indent + "  ")
            else:
                yield f"{indent}- {_leaf(each)}"
    else:
        yield f"{indent}{_leaf(data)}"


def _leaf(data: Any) -> str:
    return str(data) if isinstance(data, Inline) else flow(data)


def documents(objects: Iterable[Mapping[str, Any] | list[Any]]) -> str:
    """Objects as one stream of YAML documents, keys in the order in which they were written."""
    return "---\n".join("".join(f"{line}\n" for line in _lines(each, "")) for each in objects)


def _lines(data: Any, indent: str) -> Iterator[str]:
    if isinstance(data, Mapping):
        for key, each in data.items():
            yield from _entry(f"{indent}{_scalar(key)}:", each, indent + ("" if isinstance(each, list) else "  "))
    else:
        for each in data:
            if isinstance(each, Mapping | list) and each:
                first, *rest = _lines(each, indent + "  ")
                yield f"{indent}- {first.lstrip()}"
                yield from rest
            else:
                yield from _entry(f"{indent}-", each, indent + "  ")


def _entry(head: str, value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, Mapping | list) and value:
        yield head
        yield from _lines(value, indent)
    elif isinstance(value, str) and "\n" in value and _is_block(value):
        yield f"{head} |" if value.endswith("\n") else f"{head} |-"
        yield from (f"{indent}{line}" if line else "" for line in value.removesuffix("\n").split("\n"))
    else:
        yield f"{head} {_scalar(value)}"


def _is_block(text: str) -> bool:
    # A literal block keeps neither spaces that begin it nor line feeds that end it as they are.
    return text[0] not in " \n" and not text.endswith("\n\n") and all(c == "\n" or c.isprintable() for c in text)


def _scalar(value: Any) -> str:
    if isinstance(value, Inline):
        return str(value)
    if isinstance(value, str) and _PLAIN.match(value) and value.lower() not in _WORDS:
        return value
    return flow(value)
