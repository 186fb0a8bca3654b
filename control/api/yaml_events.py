"""Nodes of YAML documents out of libyaml's events: the same that ruamel.yaml composes in Python, twenty times sooner.

Only for text about which both readers say the same; of everything else, errors included, this module says nothing
(Unsure) and the Python reader decides. Without the extension (ruamel.yaml.clib) it is always unsure.
"""

import re
from collections.abc import Iterator
from typing import Any

from ruamel.yaml.composer import Composer
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

from control.api.source import MAX_DOCUMENTS

try:
    from _ruamel_yaml import CParser  # type: ignore[import-not-found,unused-ignore]
except ImportError:  # a platform without a wheel and without a compiler
    CParser = None

MAX_LEVELS = 200
"""Of nesting that is followed here. What is deeper is refused in any case, and the Python reader says so."""

MAX_NODES = 50_000
"""Values in one document, aliases counted as often as they are used."""
TOO_MANY = f"has more than {MAX_NODES} values, aliases counted each time; split it"
TOO_MANY_DOCUMENTS = f"has more than {MAX_DOCUMENTS:,} documents, empty ones counted; split the file"

_MAX_COMPOSED = 2 * MAX_NODES
"""Of one document: values with their keys. Composing ends there; whoever builds values counts them exactly."""
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


class TooMuch(Exception):
    """More than is read of one file; `message` says what is to be done."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


class BoundedComposer(Composer):  # type: ignore[misc,unused-ignore]
    """ruamel.yaml's own, in Python. Raises TooMuch."""

    def __init__(self, loader: Any = None) -> None:
        super().__init__(loader)
        # It would have every text of such a warning kept for ever; the last of equal anchors is meant, as YAML says.
        self.warn_double_anchors = False
        self._documents = 0
        self._composed = 0

    def compose_document(self) -> Any:
        """The root node of one document."""
        self._composed = 0
        self._documents += 1
        if self._documents > MAX_DOCUMENTS:
            raise TooMuch(self.parser.peek_event().start_mark.line + 1, TOO_MANY_DOCUMENTS)
        return super().compose_document()

    def compose_node(self, parent: Any, index: Any) -> Any:
        """One node, with what is in it."""
        self._composed += 1
        if self._composed > _MAX_COMPOSED:
            raise TooMuch(self.parser.peek_event().start_mark.line + 1, TOO_MANY)
        return super().compose_node(parent, index)


def compose_all(text: str) -> list[Node]:
    """The root of each document. Raises Unsure, TooMuch."""
    if CParser is None or _MARKED.search(text) or not _ORDINARY.match(text):
        raise Unsure
    try:
        return list(_documents(CParser(text)))
    except (YAMLError, ValueError) as error:
        raise Unsure from error


def _documents(parser: Any) -> Iterator[Node]:
    left = MAX_DOCUMENTS
    while True:
        event = parser.get_event()
        match event:
            case StreamStartEvent() | DocumentEndEvent():
                pass
            case DocumentStartEvent():
                left -= 1
                if left < 0:
                    raise TooMuch(event.start_mark.line + 1, TOO_MANY_DOCUMENTS)
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
    left = _MAX_COMPOSED
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
        left -= 1
        if left < 0:
            raise TooMuch(event.start_mark.line + 1, TOO_MANY)
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
