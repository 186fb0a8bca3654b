"""Once for all backing indices of a data stream: an `_id` is unique in one of them only.

A record that is sent again after a rollover (its first answer was lost, or its sender got no acknowledgement) is
created a second time in the new backing index. So the younger copy is found and removed: whoever was made before, or
shortly after, the present index was begun is looked for by id in those before it. Lookups are real-time gets, which
need no refresh; they are made after the bulk request, so that no rollover can fall between looking and storing, and for
known records (409) too, so that a crash between storing and looking is made up for when the batch comes again
(docs/decisions/0011-once-across-rollovers.md).
"""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from collectors.exporters.elasticsearch.bulk import Answer, Fate, Item
from collectors.exporters.elasticsearch.client import NDJSON, Client, Denied, LacksPrivilege
from collectors.exporters.sink import Unavailable

_log = logging.getLogger("remora.collect.elasticsearch")

MAX_OLDER = 8
"""Older backing indices that are looked into, the newest first."""


@dataclass(frozen=True, slots=True)
class Backing:
    """A data stream as it was when last asked about."""

    current: str
    created: float
    """When the current index was made, seconds by Elasticsearch's clock."""
    older: tuple[tuple[str, float], ...]
    """Names, and when their successors were made; newest first."""


def suspects(
    pairs: Iterable[tuple[Item, Answer]], backing: Backing, skew_s: float
) -> list[tuple[Item, tuple[str, ...]]]:
    """Items that may be in an older index, with the indices to look into. A record that was made after the current
    index was, cannot: `skew_s` is how far a sender's clock may be ahead. A time that could not be tells nothing."""
    found = []
    for item, _ in pairs:
        if item.document.clock_off:
            since = 0.0
        elif item.record.time >= backing.created + skew_s:
            continue
        else:
            since = item.record.time - skew_s
        indices = tuple(name for name, until in backing.older[:MAX_OLDER] if until > since)
        if indices:
            found.append((item, indices))
    return found


def parse_backing(settings: Any, current: str) -> Backing:
    """From the answer of `GET /STREAM/_settings`. Indices are in order of their generation, the end of their names."""
    made = {
        name: float(entry["settings"]["index"]["creation_date"]) / 1000
        for name, entry in (settings.items() if isinstance(settings, dict) else ())
    }
    names = sorted(made, key=lambda name: name.rpartition("-")[2], reverse=True)
    if current not in made:
        return Backing(current, float("inf"), tuple((name, float("inf")) for name in names))
    older: list[tuple[str, float]] = []
    successor = current
    for name in names[names.index(current) + 1 :]:
        older.append((name, made[successor]))
        successor = name
    return Backing(current, made[current], tuple(older))


class OnceAcrossRollovers:
    """Removes the younger of two copies."""

    def __init__(self, client: Client, skew_s: float) -> None:
        self._client = client
        self._skew_s = skew_s
        self._backing: dict[str, Backing] = {}
        self._asking = asyncio.Lock()
        self.removed = 0
        """Copies."""

    async def settle(self, pairs: list[tuple[Item, Answer]]) -> None:
        """Return when no item that is stored or known has a copy in an older index. Raises Unavailable; the same items
        must then be sent again, and settled."""
        try:
            await self._settle(pairs)
        except LacksPrivilege as error:
            raise LacksPrivilege(
                "may not look for copies in older indices: grant the index privileges read, view_index_metadata and"
                f" delete, or set `once_across_rollovers: false` ({error})"
            ) from error

    async def _settle(self, pairs: list[tuple[Item, Answer]]) -> None:
        by_index: dict[tuple[str, str], list[tuple[Item, Answer]]] = {}
        for pair in pairs:
            if pair[1].fate in (Fate.STORED, Fate.KNOWN):
                by_index.setdefault((pair[0].stream, pair[1].backing), []).append(pair)
        for (stream, index), group in by_index.items():
            backing = await self._about(stream, index)
            found = suspects(group, backing, self._skew_s)
            if found:
                await self._remove(index, await self._copied(found))

    async def _about(self, stream: str, index: str) -> Backing:
        async with self._asking:
            backing = self._backing.get(stream)
            if backing is None or backing.current != index:
                try:
                    settings = await self._client.request(
                        "GET", f"/{stream}/_settings/index.creation_date", params={"expand_wildcards": "all"}
                    )
                except Denied as error:
                    raise Unavailable(f"cannot read the settings of {stream}: {error}") from error
                if backing is not None:
                    _log.info("%s has rolled over to %s", stream, index)
                backing = self._backing[stream] = parse_backing(settings, index)
            return backing

    async def _copied(self, found: list[tuple[Item, tuple[str, ...]]]) -> list[str]:
        """Ids that an older index has."""
        docs = [{"_index": index, "_id": item.document.id} for item, indices in found for index in indices]
        params = {"_source": "false", "filter_path": "docs._id,docs.found,docs.error.type"}
        try:
            answer = await self._client.request("POST", "/_mget", params=params, body={"docs": docs})
        except Denied as error:
            raise Unavailable(f"cannot look for copies in older indices: {error}") from error
        copies: dict[str, None] = {}
        for each in _docs(answer, len(docs)):
            # An index that was deleted meanwhile has no copy any more.
            kind = (each.get("error") or {}).get("type")
            if kind not in (None, "index_not_found_exception", "index_closed_exception"):
                raise Unavailable(f"cannot look for copies in older indices: {kind}")
            if each.get("found"):
                copies[each["_id"]] = None
        return list(copies)

    async def _remove(self, index: str, ids: list[str]) -> None:
        if not ids:
            return
        body = b"".join(orjson.dumps({"delete": {"_index": index, "_id": each}}) + b"\n" for each in ids)
        params = {"filter_path": "items.*.status,items.*.error.type"}
        try:
            answer = await self._client.request("POST", "/_bulk", params=params, body=body, kind=NDJSON)
        except Denied as error:
            raise Unavailable(f"cannot remove copies from {index}: {error}") from error
        entries = answer.get("items", []) if isinstance(answer, dict) else []
        bad = [entry["delete"] for entry in entries if entry["delete"]["status"] not in (200, 404)]
        if bad or len(entries) != len(ids):
            why = (bad[0].get("error") or {}).get("type") if bad else "no answer"
            raise Unavailable(f"cannot remove copies from {index}: {why}")
        self.removed += len(ids)
        _log.info("removed %d records from %s that an older index of the stream has", len(ids), index)


def _docs(answer: Any, expected: int) -> list[dict[str, Any]]:
    docs = answer.get("docs") if isinstance(answer, dict) else None
    if not isinstance(docs, list) or len(docs) != expected:
        raise Unavailable("the answer to _mget is none of Elasticsearch's")
    return docs
