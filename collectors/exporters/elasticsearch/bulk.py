"""Requests to `_bulk` and what their answers say. Pure: no I/O, bodies as bytes, answers as parsed JSON.

https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-bulk
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from collectors.exporters.elasticsearch.documents import Document
from collectors.records import LogRecord, Sample

FILTER_PATH = "items.*._index,items.*.status,items.*.error.type,items.*.error.reason,items.*.error.caused_by.reason"
"""Of an answer we want no more; `_index` tells when a stream rolled over."""

MAX_REASON_CHARS = 500

_PREVIEW = re.compile(
    r"\. Preview of field's value: '.*?'(?=: |$)| The prefix of the first immense term is: '\[[-\d, ]*\]\.\.\.',?"
)
"""It may be what redaction would have hidden in a log."""


class Item(NamedTuple):
    """A record on its way."""

    record: LogRecord | Sample
    stream: str
    document: Document


@dataclass(slots=True)
class Request:
    """One body, and the items in it in their order."""

    items: list[Item] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)
    size_bytes: int = 0

    def body(self) -> bytes:
        """NDJSON; the last line ends too, as the API wants it. To be asked for once: the lines are not kept."""
        body = b"".join(self.lines)
        self.lines.clear()
        return body


class Packing:
    """Puts items into as few requests as the bounds allow, in order. One that is larger than a request goes alone."""

    def __init__(self, *, max_bytes: int, max_items: int) -> None:
        self._max_bytes = max_bytes
        self._max_items = max_items
        self._heads: dict[str, bytes] = {}
        self._open = Request()

    def add(self, item: Item) -> Request | None:
        """The request that is full, if the item did not fit into it any more; the item is in the next one."""
        head = self._heads.get(item.stream)
        if head is None:
            # The names of streams are our own and need no escapes.
            head = self._heads[item.stream] = f'{{"create":{{"_index":"{item.stream}","_id":"'.encode()
        line = b'%b%b"}}\n%b\n' % (head, item.document.id.encode("ascii"), item.document.source)
        full, request = None, self._open
        if request.items and (
            request.size_bytes + len(line) > self._max_bytes or len(request.items) >= self._max_items
        ):
            full, request = request, Request()
            self._open = request
        request.items.append(item)
        request.lines.append(line)
        request.size_bytes += len(line)
        return full

    def rest(self) -> Request | None:
        """What was added last, if anything."""
        request, self._open = self._open, Request()
        return request if request.items else None


def requests(items: Iterable[Item], *, max_bytes: int, max_items: int) -> Iterator[Request]:
    """All of them packed."""
    packing = Packing(max_bytes=max_bytes, max_items=max_items)
    for item in items:
        if (full := packing.add(item)) is not None:
            yield full
    if (rest := packing.rest()) is not None:
        yield rest


class Fate(Enum):
    """What became of an item."""

    STORED = "stored"
    KNOWN = "known"
    """409: the backing index has this id, so that the record was stored before."""
    BUSY = "busy"
    """429 and 5xx: later."""
    FORBIDDEN = "forbidden"
    """401, 403, 404: later, when somebody has put the privileges, the blocks or the templates right."""
    REFUSED = "refused"
    """Other 4xx: never, as it is."""


class Answer(NamedTuple):
    """Of one item."""

    fate: Fate
    backing: str
    """The backing index that has the item, where it is stored or known."""
    why: str
    """In Elasticsearch's words; empty when stored or known."""


class MalformedAnswer(Exception):
    """The answer is none of the bulk API."""


def answers(request: Request, answer: Any) -> list[Answer]:
    """One for each item, in order. Raises MalformedAnswer: nothing can be said of any item then."""
    try:
        entries = [entry["create"] for entry in answer["items"]]
        found = [_answer(entry) for entry in entries]
    except (KeyError, TypeError, AttributeError) as error:
        raise MalformedAnswer("the answer is none of Elasticsearch's bulk API") from error
    if len(found) != len(request.items):
        raise MalformedAnswer(f"the answer speaks of {len(found)} records, the request of {len(request.items)}")
    return found


def _answer(entry: dict[str, Any]) -> Answer:
    status = entry["status"]
    if status in (200, 201):
        return Answer(Fate.STORED, entry["_index"], "")
    if status == 409:
        return Answer(Fate.KNOWN, entry["_index"], "")
    why = reason(status, entry.get("error"))
    if status == 429 or status >= 500:
        return Answer(Fate.BUSY, "", why)
    if status in (401, 403, 404):
        return Answer(Fate.FORBIDDEN, "", why)
    return Answer(Fate.REFUSED, "", why)


def reason(status: int, error: Any) -> str:
    """`400 document_parsing_exception: ...`, on one line and shortened, without the record's values that Elasticsearch
    quotes."""
    if isinstance(error, dict):
        cause = error.get("caused_by")
        parts = [error.get("type"), error.get("reason"), cause.get("reason") if isinstance(cause, dict) else None]
        text = ": ".join(str(part) for part in parts if part)
    else:
        text = str(error or "")
    text = _PREVIEW.sub("", " ".join(text.split()))
    if len(text) > MAX_REASON_CHARS:
        text = text[: MAX_REASON_CHARS - 1] + "…"
    return f"{status} {text}".rstrip()
