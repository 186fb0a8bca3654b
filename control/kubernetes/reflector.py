"""One kind of objects of a cluster, kept as it is there: listed in pages, watched from there on, listed again at need.

It follows what client-go's reflector does and the API's own description, with two differences: lists are always read
consistently (never with resourceVersion=0, which may go back in time and is not paginated), and only what `decode`
makes of an object is kept.
https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from control.kubernetes.backoff import Backoff
from control.kubernetes.client import KubeClient
from control.kubernetes.errors import ApiError
from control.kubernetes.outages import ApiHealth, Condition, ReflectorMetrics, State
from control.kubernetes.resources import ApiResource, Call
from control.kubernetes.watch_events import EventDecoder, NoWatchEvent, WatchEvent
from mesh.clock import Clock

_log = logging.getLogger("control.kubernetes")

T = TypeVar("T")
Name = tuple[str, str]
"""(namespace, name); the namespace is empty for what belongs to none."""
Decode = Callable[[Mapping[str, Any]], T | None]
"""What is kept of an object; None: nothing, as if it were not there. May raise where Kubernetes would not write so."""
UNREADABLE = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError)
"""What a decoder may raise."""
OnChange = Callable[[Name, T | None, T | None], None]
"""Called with what an object was and what it is, None for not there. Equal ones are no change."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often and how long. Seconds."""

    page_objects: int = 200
    """Of a list's page: some 2 MB of pods, decoded within 20 ms."""
    slice_s: float = 0.01
    """Others get the event loop at least this often while a page is taken over."""
    list_timeout_s: float = 60.0
    watch_s: float = 300.0
    """A watch is asked for anew after this long, up to twice of it: connections that are dead and do not show it."""
    idle_s: float = 150.0
    """A watch on which nothing came for so long is taken for dead; API servers send a bookmark each minute."""
    first_retry_s: float = 0.5
    most_retry_s: float = 30.0
    forbidden_retry_s: float = 30.0
    missing_retry_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the reflectors of one cluster share."""

    client: KubeClient
    clock: Clock
    rng: random.Random
    health: ApiHealth
    metrics: ReflectorMetrics
    cluster: str = ""
    """A label of metrics."""
    pace: Pace = Pace()


class _Relist(Exception):
    """What a watch knows does not go on from here."""


class Reflector(Generic[T]):
    """`run` it in a TaskScope; `synced` is set once everything is known, or known not to exist."""

    def __init__(
        self,
        around: Surroundings,
        candidates: Sequence[ApiResource],
        decode: Decode[T],
        on_change: OnChange[T],
        *,
        namespace: str = "",
        field_selector: str = "",
        label_selector: str = "",
        required: bool = True,
    ) -> None:
        """`candidates`: the resource in each version that will do, the best first. One that is not `required` counts as
        synced while it is forbidden."""
        self._around = around
        self._candidates = tuple(candidates)
        self._decode = decode
        self._on_change = on_change
        self._namespace = namespace
        selectors = {"fieldSelector": field_selector, "labelSelector": label_selector}
        self._selector = {name: value for name, value in selectors.items() if value}
        self._required = required
        self._resource = self._candidates[0]
        self._items: dict[Name, T] = {}
        self._version: str | None = None
        self._backoff = Backoff(around.rng, first_s=around.pace.first_retry_s, most_s=around.pace.most_retry_s)
        self.name = f"{self._resource} of namespace {namespace}" if namespace else str(self._resource)
        if field_selector:
            self.name += f" ({field_selector})"
        self._labels = (around.cluster, self.name)
        self._condition = Condition(around.cluster, self.name, around.health, around.metrics, lambda: len(self._items))
        self._said_undecodable = False
        self._paged = True
        self.synced = asyncio.Event()

    @property
    def items(self) -> Mapping[Name, T]:
        """What is there, as far as is known."""
        return MappingProxyType(self._items)

    @property
    def state(self) -> State:
        return self._condition.state

    @property
    def resource(self) -> ApiResource:
        """The version in use."""
        return self._resource

    async def run(self) -> None:
        """For ever. No failure of the API server ends it."""
        while True:
            try:
                if self._version is None:
                    await self._list()
                await self._watch()
            except _Relist as reason:
                _log.info("%s are listed again: %s", self.name, reason)
                self._version = None
                await asyncio.sleep(self._backoff.next_s())
            except ApiError as error:
                await asyncio.sleep(self._failed(error))

    def _failed(self, error: ApiError) -> float:
        """How long to wait, in seconds."""
        pace = self._around.pace
        if error.expired:
            # Not an outage. Listed anew in a moment; the jitter is for all the watches that hear it at once.
            _log.info("%s are listed again: %s", self.name, error)
            self._version = None
            # Pages that expire while they are read would do so again: the next list comes whole.
            self._paged = error.call.verb != "list"
            return self._backoff.next_s()
        state = self._condition.failed(error)
        if state is State.MISSING:
            self._none_there()
            at = self._candidates.index(self._resource)
            self._resource = self._candidates[(at + 1) % len(self._candidates)]
            # Another version may be served; all having been tried, it is missing.
            return 0.0 if at + 1 < len(self._candidates) else self._backoff.about_s(pace.missing_retry_s)
        if state is State.FORBIDDEN:
            if not self._required:
                self.synced.set()
            # An API server that has just started forbids everything for a second, until it has read its own roles.
            return min(pace.forbidden_retry_s, self._backoff.next_s())
        if error.status in (400, 422) or "Too large resource version" in error.message:
            self._version = None  # it does not know the version that we go on from: it was restored from a backup
        return self._backoff.next_s(error.retry_after_s)

    def _none_there(self) -> None:
        """Without its CRD a resource has no objects: what was known of it is gone with it."""
        if self._resource is self._candidates[-1]:
            self._version = None
            for name in list(self._items):
                self._put(name, None)
            self._note_size()
            self.synced.set()

    # Lists.

    async def _list(self) -> None:
        """Raises ApiError."""
        around, pace = self._around, self._around.pace
        began = around.clock.monotonic()
        seen: set[Name] = set()
        params = dict(self._selector)
        if self._paged:
            params["limit"] = str(pace.page_objects)
        try:
            while True:
                page = await around.client.list(
                    self._resource, self._namespace, params=params, timeout_s=pace.list_timeout_s
                )
                token = await self._take_page(page, seen)
                if not token:
                    break
                params["continue"] = token
        except ApiError:
            around.metrics.lists.labels(*self._labels, "failed").inc()
            raise
        for name in [name for name in self._items if name not in seen]:
            self._put(name, None)  # it was deleted while nobody watched
        self._version = str(_mapping(page.get("metadata")).get("resourceVersion") or "")
        self._paged = True
        around.metrics.lists.labels(*self._labels, "done").inc()
        around.metrics.list_time.labels(*self._labels).observe(around.clock.monotonic() - began)
        self._note_size()
        self._condition.works()
        self.synced.set()

    async def _take_page(self, page: dict[str, Any], seen: set[Name]) -> str:
        """The token of the next one; empty for none. Raises ApiError where it is no list."""
        items = page.get("items") or []
        if not isinstance(items, list):
            raise ApiError(Call("list", self._resource, self._namespace), 200, "NotAList", "the answer has no items")
        loop = asyncio.get_running_loop()
        turn_ends = loop.time() + self._around.pace.slice_s
        items.reverse()
        while items:
            item = items.pop()  # freed one by one: a page is a hundred times what is kept of it
            name = _name(item)
            if name is not None:
                seen.add(name)
                self._take(name, item)
            if loop.time() >= turn_ends:
                await asyncio.sleep(0)
                turn_ends = loop.time() + self._around.pace.slice_s
        return str(_mapping(page.get("metadata")).get("continue") or "")

    # Watches.

    async def _watch(self) -> None:
        """Until the server ends it, which it does every few minutes. Raises ApiError, _Relist."""
        around, pace = self._around, self._around.pace
        if not self._version:
            raise _Relist("the list has no resourceVersion")
        timeout_s = int(pace.watch_s * around.rng.uniform(1.0, 2.0)) or 1
        params = {
            **self._selector,
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(timeout_s),
        }
        call = Call("watch", self._resource, self._namespace)
        decoder = EventDecoder()
        began, events, opened = around.clock.monotonic(), 0, False
        try:
            async with around.client.stream(call, params=params, idle_timeout_s=pace.idle_s) as stream:
                opened = True
                self._condition.works()
                async for data in stream.iter_any():
                    for event in decoder.feed(data):
                        self._take_event(event)
                        events += 1
                    if events:
                        self._backoff.reset()
                    self._note_size()
        except NoWatchEvent as error:
            raise _Relist(str(error)) from error
        except ApiError as error:
            if error.reason != "Timeout" or not opened:
                raise
            _log.debug("nothing came on the watch of %s for %.0f s; it is begun again", self.name, pace.idle_s)
        if around.clock.monotonic() - began >= 1.0:
            self._backoff.reset()
        elif not events:
            # Accepted and ended at once, again and again: something in between does not let watches pass.
            await asyncio.sleep(self._backoff.next_s())

    def _take_event(self, event: WatchEvent) -> None:
        """Raises _Relist."""
        self._around.metrics.events.labels(*self._labels, event.type).inc()
        if event.type == "ERROR":
            code, message = event.object.get("code"), event.object.get("message")
            raise _Relist(f"the watch ended with {code}: {' '.join(str(message).split())[:200]}")
        if event.type != "BOOKMARK":
            name = _name(event.object)
            if name is not None:
                if event.type == "DELETED":
                    self._put(name, None)
                else:
                    self._take(name, event.object)
        self._version = event.version or self._version

    # What is kept.

    def _take(self, name: Name, found: Mapping[str, Any]) -> None:
        try:
            self._put(name, self._decode(found))
        except UNREADABLE as error:
            self._around.metrics.undecodable.labels(*self._labels).inc()
            if not self._said_undecodable:
                self._said_undecodable = True
                what = f"{name[0]}/{name[1]}" if name[0] else name[1]
                _log.warning(
                    "%s %s is not as Kubernetes describes it (%r); what was known goes on", self.name, what, error
                )

    def _put(self, name: Name, after: T | None) -> None:
        before = self._items.get(name)
        if after is None:
            if before is None:
                return
            del self._items[name]
        elif before is not None and before == after:
            return
        else:
            self._items[name] = after
        self._on_change(name, before, after)

    def _note_size(self) -> None:
        self._around.metrics.objects.labels(*self._labels).set(len(self._items))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _name(found: object) -> Name | None:
    metadata = _mapping(_mapping(found).get("metadata"))
    name, namespace = metadata.get("name"), metadata.get("namespace", "")
    return (namespace, name) if isinstance(name, str) and name and isinstance(namespace, str) else None
