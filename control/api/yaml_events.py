"""Nodes of YAML documents out of libyaml's events: the same that ruamel.yaml composes in Python, twenty times sooner.

Only for text about which both readers say the same; of everything else, errors included, this module says nothing
(Unsure) and the Python reader decides. Without the extension (ruamel.yaml.clib) it is always unsure.
"""

import re
from collections.abc import Iterator
from typing import Any

from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.resolver import implicit_resolvers
from ruamel.yaml.tag import Tag

try:
    from _ruamel_yaml import CParser  # type: ignore[import-not-found,unused-ignore]
except ImportError:  # a platform without a wheel and without a compiler
    CParser = None

MAX_LEVELS = 200
"""Of nesting that is followed here. What is deeper is refused in any case, and the Python reader says so."""

_TAG = "tag:yaml.org,2002:"
# One of each: a tag works out its text once.
_STR, _MAP, _SEQ = (Tag(suffix=_TAG + name) for name in ("str", "map", "seq"))
_ORDINARY = re.compile(r"[\n -~\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd]*\Z")
"""Characters that both readers take alike: no tabs, no control characters, no line breaks but one."""

_MARKED = re.compile(r"^(?:%|\.\.\.)", re.MULTILINE)
"""Directives, which change what words mean, and ends of documents, which libyaml takes twice."""


def _resolvers() -> dict[str, list[tuple[Tag, Any]]]:
    """YAML 1.2's meanings of plain scalars, by their first character, in ruamel.yaml's own order."""
    found: dict[str, list[tuple[Tag, Any]]] = {}
    for versions, tag, pattern, first in implicit_resolvers:
        if (1, 2) in versions:
            named = Tag(suffix=str(tag))
            for character in first:
                found.setdefault(character or "", []).append((named, pattern))
    return found


_RESOLVERS = _resolvers()


class Unsure(Exception):
    """The Python reader has to look at this text."""


def compose_all(text: str) -> list[Node]:
    """The root of each document. Raises Unsure."""
    if CParser is None or _MARKED.search(text) or not _ORDINARY.match(text):
        raise Unsure
    try:
        return list(_documents(CParser(text)))
    except (YAMLError, ValueError) as error:
        raise Unsure from error


def _documents(parser: Any) -> Iterator[Node]:
    while True:
        event = parser.get_event()
        match event:
            case StreamStartEvent() | DocumentEndEvent():
                pass
            case DocumentStartEvent():
                yield _compose(parser)
            case StreamEndEvent():
                return
            case _:
                raise Unsure


def _compose(parser: Any) -> Any:
    """One document's nodes. `open_` are the collections around the next event, each with the key that waits for its
    value."""
    anchors: dict[str, Node] = {}
    open_: list[tuple[Any, list[Any]]] = []
    while True:
        event = parser.get_event()
        kind = type(event)
        node: Any
        if kind is ScalarEvent:
            if event.tag is not None:
                raise Unsure
            value = event.value
            tag = _resolve(value) if event.implicit[0] else _STR
            if not value and not event.style and not (open_ and open_[-1][1]):
                raise Unsure  # of nothing, each has its own idea where it is; a key's value is where the key is
            node = ScalarNode(tag, value, event.start_mark, event.end_mark, style=event.style)
        elif kind is MappingStartEvent or kind is SequenceStartEvent:
            if event.tag is not None or len(open_) >= MAX_LEVELS:
                raise Unsure
            tag, made = (_MAP, MappingNode) if kind is MappingStartEvent else (_SEQ, SequenceNode)
            node = made(tag, [], event.start_mark, None, flow_style=event.flow_style)
        elif kind is MappingEndEvent or kind is SequenceEndEvent:
            node, waiting = open_.pop()
            node.end_mark = event.end_mark
            if not open_:
                return node
            continue
        elif kind is AliasEvent:
            if event.anchor not in anchors or not open_ or (type(open_[-1][0]) is MappingNode and not open_[-1][1]):
                raise Unsure  # unknown, or a key
            node = anchors[event.anchor]
        else:
            raise Unsure
        if kind is not AliasEvent and event.anchor is not None:
            if event.anchor in anchors:
                raise Unsure
            anchors[event.anchor] = node
        if open_:
            around, waiting = open_[-1]
            if type(around) is SequenceNode:
                around.value.append(node)
            elif waiting:
                around.value.append((waiting.pop(), node))
            else:
                waiting.append(node)
        elif kind is ScalarEvent:
            return node
        if kind is MappingStartEvent or kind is SequenceStartEvent:
            open_.append((node, []))


def _resolve(value: str) -> Tag:
    for tag, pattern in _RESOLVERS.get(value[:1], ()):
        if pattern.match(value):
            return tag
    return _STR
