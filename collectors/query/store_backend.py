"""The embedded store behind the API. It is opened when it is first asked, and again if it was not there yet."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from collectors.exporters.jaeger.documents import has_tag, span_document, trace_id_text
from collectors.query.backend import (
    MAX_ANSWER_SPANS,
    MAX_TRACE_SPANS,
    BackendError,
    Document,
    Found,
    Link,
    Operation,
    TraceQuery,
)
from collectors.records import SpanRecord
from collectors.store.errors import StoreError, StoreMissing
from collectors.store.reader import Reader
from collectors.store.search import SpanFilter

T = TypeVar("T")


class StoreBackend:
    """See backend.Backend. One question at a time; the others wait, in threads of their own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reader: Reader | None = None
        self._opening = asyncio.Lock()

    async def services(self) -> list[str]:
        """See backend.Backend."""
        return await self._ask(Reader.span_services, [])

    async def operations(self, service: str, kind: str) -> list[Operation]:
        """See backend.Backend."""
        nothing: list[tuple[str, str]] = []
        found = await self._ask(lambda reader: reader.span_operations(service), nothing)
        return [Operation(name, of) for name, of in found if kind in ("", of)]

    async def find(self, query: TraceQuery) -> Found:
        """See backend.Backend."""
        return await self._ask(lambda reader: _find(reader, query), Found())

    async def trace(self, trace_id: str) -> list[Document]:
        """See backend.Backend."""
        return await self._ask(lambda reader: _documents(reader, trace_id), [])

    async def dependencies(self, end_us: int, lookback_us: int) -> list[Link]:
        """See backend.Backend."""
        since, until = (end_us - lookback_us) / 1e6, end_us / 1e6
        nothing: list[tuple[str, str, int]] = []
        found = await self._ask(lambda reader: reader.span_dependencies(since, until), nothing)
        return [Link(*row) for row in found]

    async def close(self) -> None:
        """See backend.Backend."""
        if self._reader is not None:
            await asyncio.to_thread(self._reader.close)

    async def _ask(self, question: Callable[[Reader], T], nothing: T) -> T:
        try:
            async with self._opening:
                if self._reader is None:
                    self._reader = await asyncio.to_thread(Reader.open, self._path)
            return await asyncio.to_thread(question, self._reader)
        except StoreMissing:
            return nothing  # nothing was collected yet
        except StoreError as error:
            raise BackendError(str(error)) from error


def _find(reader: Reader, query: TraceQuery) -> Found:
    spans = SpanFilter(
        service=query.service,
        operation=query.operation or None,
        since=query.start_us / 1e6,
        until=query.end_us / 1e6,
        min_duration_ms=query.min_duration_us / 1e3 if query.min_duration_us else None,
        max_duration_ms=query.max_duration_us / 1e3 if query.max_duration_us else None,
    )

    def accept(record: SpanRecord) -> bool:
        document = span_document(record)
        return all(has_tag(document, key, value) for key, value in query.tags.items())

    found = Found()
    held = 0
    for trace_id in reader.span_search(spans, accept if query.tags else None, limit=query.limit):
        documents = _documents(reader, trace_id) if held < MAX_ANSWER_SPANS else []
        held += len(documents)
        if documents and held <= MAX_ANSWER_SPANS:
            found.traces.append(documents)
        else:
            found.left_out.append(trace_id_text(trace_id))
    return found


def _documents(reader: Reader, trace_id: str) -> list[Document]:
    return [span_document(record) for record in reader.span_records(trace_id)[:MAX_TRACE_SPANS]]
