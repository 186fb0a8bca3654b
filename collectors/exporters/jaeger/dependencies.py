"""Counts which service calls which, from the spans in Elasticsearch, into `jaeger-dependencies-DAY`: what Jaeger has a
Spark job for.

Time is cut into windows. One is counted when it has been over for a while, so that late spans are in; its document's id
is its end, so that several collectors, or one that was restarted, store it once.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from typing import Any

from collectors.exporters.elasticsearch.client import Client, Denied
from collectors.exporters.jaeger.counts import JaegerCounts
from collectors.exporters.jaeger.indices import Indices
from collectors.exporters.sink import TooLarge, Unavailable
from mesh.clock import Clock

_log = logging.getLogger("remora.collect.jaeger")

LAG_S = 120.0
"""After a window's end, until it is counted."""
MARGIN_US = 600 * 1_000_000
"""A parent began at most so long before the window of its child."""
CATCH_UP = 24
"""Windows that are looked at after a start: those that are there already are not counted again."""
MAX_SPANS = 2_000_000
"""Of one window; a larger one is counted from these, and said so."""
MAX_TRACE_SPANS = 20_000
PAGE = 5_000
_KEEP_ALIVE = "1m"

Calls = dict[tuple[str, str], int]


class DependencyJob:
    """`run` counts until it is cancelled."""

    def __init__(
        self,
        client: Client,
        indices: Indices,
        counts: JaegerCounts,
        clock: Clock,
        interval_s: float,
        *,
        windows: int = CATCH_UP,
        page: int = PAGE,
    ) -> None:
        """`page`: spans of one answer."""
        self._client = client
        self._indices = indices
        self._counts = counts
        self._clock = clock
        self._interval_us = int(interval_s * 1e6)
        self._windows = windows
        self._page = page
        self._next: int | None = None
        """The end of the next window to be counted, microseconds since the epoch."""

    async def run(self) -> None:
        """Every window, one after the other; one that fails is tried again."""
        while True:
            try:
                await self.catch_up()
            except (Unavailable, Denied, TooLarge) as error:
                self._counts.dependency_failures.inc()
                _log.error("calls between services are not counted at present: %s", error)
            await asyncio.sleep(min(60.0, self._interval_us / 1e6 / 4))

    async def catch_up(self) -> None:
        """Count what is over. Raises Unavailable, Denied, TooLarge."""
        interval = self._interval_us
        last = int((self._clock.now() - LAG_S) * 1e6) // interval * interval
        if self._next is None:
            self._next = last - (self._windows - 1) * interval
        while self._next <= last:
            await self._window(self._next - interval, self._next)
            self._next += interval

    async def _window(self, start_us: int, end_us: int) -> None:
        index = self._indices.dependencies(end_us)
        path = f"/{index}/_create/{end_us}"
        if await self._is_there(index, end_us):
            return
        calls = await self._count(start_us, end_us)
        document = {
            "timestamp": datetime.fromtimestamp(end_us / 1e6, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "dependencies": [
                {"parent": parent, "child": child, "callCount": count}
                for (parent, child), count in sorted(calls.items())
            ],
        }
        try:
            await self._client.request("PUT", path, body=document)
        except Denied as error:
            if error.status != 409:  # another collector was quicker
                raise
        self._counts.dependency_windows.inc()

    async def _is_there(self, index: str, end_us: int) -> bool:
        try:
            answer = await self._client.request("GET", f"/{index}/_doc/{end_us}", params={"_source": "false"})
        except Denied as error:
            if error.status == 404:
                return False
            raise
        return bool(answer.get("found")) if isinstance(answer, dict) else False

    async def _count(self, start_us: int, end_us: int) -> Calls:
        calls: Calls = {}
        trace: list[dict[str, Any]] = []
        async for span in self._spans(start_us - MARGIN_US, end_us):
            if trace and trace[0]["traceID"] != span["traceID"]:
                count_calls(trace, start_us, calls)
                trace = []
            if len(trace) < MAX_TRACE_SPANS:
                trace.append(span)
        count_calls(trace, start_us, calls)
        return calls

    async def _spans(self, start_us: int, end_us: int) -> AsyncIterator[dict[str, Any]]:
        """By trace. As they were when the first page was asked for: by a scroll, which OpenSearch has, too."""
        body: dict[str, Any] = {
            "size": self._page,
            "_source": ["traceID", "spanID", "references", "process.serviceName", "startTime"],
            "query": {"range": {"startTime": {"gte": start_us, "lt": end_us}}},
            "sort": [{"traceID": "asc"}],
        }
        path = f"/{self._indices.spans(start_us, end_us - 1)}/_search"
        params = {"scroll": _KEEP_ALIVE, "ignore_unavailable": "true"}
        answer = await self._client.request("POST", path, params=params, body=body)
        seen = 0
        try:
            while hits := answer["hits"]["hits"]:
                for hit in hits:
                    yield hit["_source"]
                seen += len(hits)
                if seen >= MAX_SPANS:
                    _log.warning("calls between services are counted from %d spans of the window alone", seen)
                    return
                if len(hits) < self._page:
                    return
                further = {"scroll": _KEEP_ALIVE, "scroll_id": answer["_scroll_id"]}
                answer = await self._client.request("POST", "/_search/scroll", body=further)
        finally:
            if "_scroll_id" in answer:
                with contextlib.suppress(Unavailable, Denied):  # it ends by itself in a minute
                    await self._client.request("DELETE", "/_search/scroll", body={"scroll_id": answer["_scroll_id"]})


def count_calls(trace: Iterable[dict[str, Any]], start_us: int, calls: Calls) -> None:
    """Add a trace's calls: spans that began at `start_us` or after it, whose parent is of another service."""
    spans = list(trace)
    services = {span["spanID"]: span["process"]["serviceName"] for span in spans}
    for span in spans:
        if span["startTime"] < start_us:
            continue
        for reference in span.get("references") or ():
            if reference["refType"] == "CHILD_OF" and reference["traceID"] == span["traceID"]:
                parent, child = services.get(reference["spanID"]), span["process"]["serviceName"]
                if parent is not None and parent != child:
                    calls[parent, child] = calls.get((parent, child), 0) + 1
                break
