"""Watches: the log of changes from a version on, as lines of JSON, with bookmarks, time limits and 410."""

import asyncio
import contextlib
from collections.abc import Mapping

import orjson
from aiohttp import web

from tests.kubernetes import failures, selectors
from tests.kubernetes.faults import Faults
from tests.kubernetes.lists import as_version
from tests.kubernetes.storage import Logged, Storage, Stored
from tests.kubernetes.tables import table
from tests.kubernetes.writes import Target

DEFAULT_TIMEOUT_S = 1800.0


class Watches:
    """Serves watch requests."""

    def __init__(self, storage: Storage, faults: Faults) -> None:
        self._storage = storage
        self._faults = faults
        self._changed = asyncio.Event()
        self._bookmarks = 0
        storage.on_change.append(self._wake)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def bookmark(self) -> None:
        """Send one to every watch that allows them, now."""
        self._bookmarks += 1
        self._wake()

    async def serve(self, request: web.Request, target: Target, *, as_table: bool = False) -> web.StreamResponse:
        """Raises ApiError (410, 400)."""
        query = request.query
        watch = _Watch(self._storage, target, query, as_table=as_table)
        gone = watch.version < self._storage.oldest
        if gone and self._faults.gone_by_status:
            raise failures.expired(watch.too_old)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        with self._faults.watch(request), contextlib.suppress(ConnectionError):
            await response.prepare(request)
            if self._faults.garbage:
                await response.write(self._faults.garbage.pop(0))
            if gone:
                await response.write(watch.error())
            else:
                await self._follow(response, watch, query)
            await response.write_eof()
        return response

    async def _follow(self, response: web.StreamResponse, watch: "_Watch", query: Mapping[str, str]) -> None:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + float(query.get("timeoutSeconds") or DEFAULT_TIMEOUT_S)
        silent = self._faults.watches_are_silent
        bookmarks = self._bookmarks
        with_bookmarks = query.get("allowWatchBookmarks") in ("true", "1")
        if not silent and (first := watch.initial()):
            await response.write(first)
        while True:
            changed = self._changed
            if not silent:
                if watch.version < self._storage.oldest and watch.position != self._storage.version:
                    watch.skip_compacted()
                if lines := watch.pending():
                    await response.write(lines)
                if bookmarks != self._bookmarks:
                    bookmarks = self._bookmarks
                    if with_bookmarks:
                        await response.write(watch.bookmark())
            if loop.time() >= ends_at:
                if with_bookmarks and not silent:
                    await response.write(watch.bookmark())
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(ends_at):
                    await changed.wait()


class _Watch:
    """One watch's place in the log."""

    def __init__(self, storage: Storage, target: Target, query: Mapping[str, str], *, as_table: bool) -> None:
        self._storage = storage
        self._target = target
        self._as_table = as_table
        self._include = query.get("includeObject", "")
        self._type = target.type.key
        self._kind = target.type.kind
        self._api_version = target.type.api_version(target.version)
        self._namespace = target.namespace
        self._labels = selectors.label_test(query.get("labelSelector", ""))
        self._fields = selectors.field_test(query.get("fieldSelector", ""))
        asked = query.get("resourceVersion", "")
        if asked and not asked.isdigit():
            raise failures.bad_request(
                f"Invalid value: {asked!r}: strconv.ParseUint: parsing {asked!r}: invalid syntax"
            )
        self._from_now = asked in ("", "0")
        self.version = storage.version if self._from_now else int(asked)
        self.position = self.version

    @property
    def too_old(self) -> str:
        return f"too old resource version: {self.version} ({self._storage.oldest})"

    def error(self) -> bytes:
        status = failures.expired(self.too_old).body
        return _line("ERROR", orjson.dumps(status))

    def initial(self) -> bytes:
        """Without a version a watch begins with everything that is there."""
        if not self._from_now:
            return b""
        found = self._storage.all(self._type, self._namespace)
        return b"".join(_line("ADDED", self._raw(each)) for each in found if self._selected(each.object))

    def skip_compacted(self) -> None:
        """A watch under way has seen what is compacted after it was sent."""
        self.position = max(self.position, self._storage.oldest - 1)

    def pending(self) -> bytes:
        lines = []
        for change in self._since(self.position):
            self.position = change.version
            if change.type == self._type and (not self._namespace or change.name[0] == self._namespace):
                lines.append(self._event(change))
        return b"".join(lines)

    def _since(self, version: int) -> list[Logged]:
        log = self._storage.log
        first = len(log)
        while first and log[first - 1].version > version:
            first -= 1
        return log[first:]

    def _event(self, change: Logged) -> bytes:
        before = change.before is not None and self._selected(change.before.object)
        after = change.after is not None and self._selected(change.after.object)
        if not before and not after:
            return b""
        kind = "DELETED" if not after else "MODIFIED" if before else "ADDED"
        return _line(kind, self._raw(change.last))

    def _raw(self, stored: Stored) -> bytes:
        if not self._as_table:
            return as_version(stored, self._api_version)
        metadata = {"resourceVersion": str(stored.version)}
        target = self._target
        return orjson.dumps(table(target.type, target.version, [stored.object], metadata, self._include))

    def _selected(self, found: Mapping[str, object]) -> bool:
        return self._labels(found) and self._fields(found)

    def bookmark(self) -> bytes:
        metadata = {"resourceVersion": str(self._storage.version), "creationTimestamp": None}
        return _line(
            "BOOKMARK", orjson.dumps({"kind": self._kind, "apiVersion": self._api_version, "metadata": metadata})
        )


def _line(kind: str, raw: bytes) -> bytes:
    return b'{"type":"%s","object":%s}\n' % (kind.encode(), raw)
