"""The Helm chart: the same objects, with the references to values left in as templates.

Only what `remora.install.expressions` knows is written here, so that `evaluate` and Helm come to the same. Control
lines trim what is before them, and stand on lines of their own.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from remora.install.expressions import (
    ABSENT,
    All,
    Concat,
    Condition,
    Digest,
    Document,
    Each,
    Either,
    Is,
    Item,
    Node,
    Not,
    Ref,
    When,
    look_up,
)
from remora.install.text import flow
from remora.install.values import Values

_DEFAULTS = Values().plain()


def template(nodes: list[Node]) -> str:
    """One template of the chart: each object a document, there or not."""
    return "".join(f"{line}\n" for node in nodes for line in _document(node))


def _document(node: Node) -> Iterator[str]:
    if isinstance(node, When):
        yield f"{{{{- if {_condition(node.condition)} }}}}"
        yield from _document(node.then)
        if node.otherwise is not ABSENT:
            yield "{{- else }}"
            yield from _document(node.otherwise)
        yield "{{- end }}"
    else:
        yield "---"
        yield from _block(node, "", compact=True)


def _block(node: Node, indent: str, *, compact: bool) -> Iterator[str]:
    if isinstance(node, Mapping):
        for key, each in node.items():
            yield from _keyed(key, each, indent, compact)
    else:
        assert isinstance(node, list | tuple), node
        for each in node:
            yield from _listed(each, indent, compact)


def _keyed(key: str, node: Node, indent: str, compact: bool) -> Iterator[str]:
    match node:
        case When(condition, then, otherwise):
            yield f"{{{{- if {_condition(condition)} }}}}"
            yield from _keyed(key, then, indent, compact)
            if otherwise is not ABSENT:
                yield "{{- else }}"
                yield from _keyed(key, otherwise, indent, compact)
            yield "{{- end }}"
        case Document(tree):
            yield f"{indent}{_key(key)}: |"
            yield from _block(tree, indent + "  ", compact=False)
        case Mapping() | list() | tuple() if node:
            yield f"{indent}{_key(key)}:"
            yield from _block(node, indent + "  ", compact=compact)
        case _:
            yield f"{indent}{_key(key)}: {_inline(node)}"


def _listed(node: Node, indent: str, compact: bool) -> Iterator[str]:
    match node:
        case When(condition, then, otherwise):
            yield f"{{{{- if {_condition(condition)} }}}}"
            yield from _listed(then, indent, compact)
            if otherwise is not ABSENT:
                yield "{{- else }}"
                yield from _listed(otherwise, indent, compact)
            yield "{{- end }}"
        case Each(ref, entry):
            yield f"{{{{- range {_value(ref)} }}}}"
            yield from _listed(entry, indent, compact)
            yield "{{- end }}"
        case Mapping() | list() | tuple() if node:
            first, *rest = _block(node, indent + "  ", compact=compact)
            if compact and not first.startswith("{{"):
                yield f"{indent}- {first.lstrip()}"
            else:
                yield f"{indent}-"
                yield first
            yield from rest
        case _:
            yield f"{indent}- {_inline(node)}"


def _key(key: str) -> str:
    return key if key.replace("-", "").replace("_", "").replace(".", "").replace("/", "").isalnum() else flow(key)


def _inline(node: Node) -> str:
    match node:
        case Ref() | Item():
            return f"{{{{ toRawJson {_value(node)} }}}}"
        case Concat(parts):
            return '"' + "".join(map(_piece, parts)) + '"'
        case Digest(refs):
            return f"{{{{ list {' '.join(map(_value, refs))} | toRawJson | sha256sum }}}}"
        case _:
            return _literal(flow(node))


def _piece(part: str | Ref | Item | When | Concat) -> str:
    match part:
        case str():
            return _literal(json.dumps(part, ensure_ascii=False)[1:-1])
        case Ref():
            return f"{{{{ {'' if isinstance(look_up(part, _DEFAULTS), str) else 'toRawJson '}{_value(part)} }}}}"
        case Item():
            return f"{{{{ {_value(part)} }}}}"
        case Concat(parts):
            return "".join(map(_piece, parts))
        case When(condition, then, otherwise):
            assert isinstance(then, str | Ref | Item | When | Concat)
            text = f"{{{{ if {_condition(condition)} }}}}{_piece(then)}"
            if otherwise is not ABSENT:
                assert isinstance(otherwise, str | Ref | Item | When | Concat)
                text += f"{{{{ else }}}}{_piece(otherwise)}"
            return text + "{{ end }}"


def _literal(text: str) -> str:
    # Braces of the manifest's own would begin a template.
    return text.replace("{{", '{{ "{{" }}')


def _value(ref: Ref | Item) -> str:
    if isinstance(ref, Ref):
        return f"$.Values.{ref.path}"
    return f".{ref.name}" if ref.name else "."


def _condition(condition: Condition) -> str:
    match condition:
        case Ref() | Item():
            return _value(condition)
        case Is(ref, text):
            return f"(eq {_value(ref)} {flow(text)})"
        case Not(inner):
            return f"(not {_condition(inner)})"
        case All(conditions):
            return f"(and {' '.join(map(_condition, conditions))})"
        case Either(conditions):
            return f"(or {' '.join(map(_condition, conditions))})"


def chart() -> dict[str, Any]:
    """Chart.yaml."""
    from importlib.metadata import version

    return {
        "apiVersion": "v2",
        "name": "remora",
        "description": "A service mesh and observability stack in Python",
        "type": "application",
        "version": version("remora"),
        "appVersion": version("remora"),
        "kubeVersion": ">=1.28.0-0",
    }


def values_schema() -> dict[str, Any]:
    """values.schema.json, by which Helm refuses wrong names and values as `remora install` does."""
    schema = Values.model_json_schema(by_alias=True)
    # Helm puts it there by itself.
    schema["properties"]["global"] = {"type": "object"}
    return {"$schema": "http://json-schema.org/draft-07/schema#", **schema}
