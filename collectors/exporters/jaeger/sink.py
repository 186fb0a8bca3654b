"""The sink: spans into `jaeger-span-DAY`, names of services and operations into `jaeger-service-DAY`.

A document's id is made of its span's, and its index of the day on which the span began: what is sent twice is stored
once, whenever it comes.
"""

import logging
from collections.abc import Iterator
from typing import Any, cast

import orjson

from collectors.exporters.elasticsearch.bulk import FILTER_PATH, Fate, Item, MalformedAnswer, Request, answers, requests
from collectors.exporters.elasticsearch.client import NDJSON, Client, Denied, Unauthorized
from collectors.exporters.elasticsearch.documents import Document
from collectors.exporters.elasticsearch.install import Installer
from collectors.exporters.jaeger.counts import JaegerCounts
from collectors.exporters.jaeger.documents import service_document, span_document
from collectors.exporters.jaeger.indices import Indices
from collectors.exporters.sink import Outcome, Refusal, Unavailable
from collectors.records import Batch, SpanRecord
from mesh.clock import Clock

_log = logging.getLogger("remora.collect.jaeger")

MAX_KNOWN_NAMES = 50_000
"""Pairs of service and operation known to be stored; forgotten all at once when there are more."""
MAX_AHEAD_S = 600.0
_MAX_NAME_BYTES = 8_000
_QUIET_S = 60.0
_DAY_US = 86_400 * 1_000_000


class JaegerSink:
    """See sink.Sink. Any number of sends at a time."""

    def __init__(
        self,
        client: Client,
        indices: Indices,
        installer: Installer | None,
        counts: JaegerCounts,
        clock: Clock,
        *,
        max_bytes: int,
        max_spans: int,
        max_age_s: float,
    ) -> None:
        """`max_age_s`: spans that began before are refused, since each day is an index."""
        self._client = client
        self._indices = indices
        self._installer = installer
        self._counts = counts
        self._clock = clock
        self._max_bytes = max_bytes
        self._max_spans = max_spans
        self._max_age_s = max_age_s
        self._known: set[tuple[int, str, str]] = set()
        self._said: dict[str, float] = {}

    async def prepare(self) -> None:
        """Templates, before the first batch. Raises Unavailable."""
        if self._installer is not None:
            try:
                await self._installer.ensure()
            except Unauthorized as error:
                self._say("unauthorized", str(error))
                raise

    async def send(self, batch: Batch) -> Outcome:
        """See sink.Sink."""
        await self.prepare()
        outcome = Outcome()
        outcome.refused += [Refusal(record, "this exporter sends traces") for record in batch.logs]
        outcome.refused += [Refusal(sample, "this exporter sends traces") for sample in batch.samples]
        spans = list(self._datable(batch.spans, outcome))
        try:
            # First: a search begins with them, and a span without them would be found by its id alone.
            await self._send_names(spans)
            await self._send_spans(spans, outcome)
        except Unauthorized as error:
            self._say("unauthorized", str(error))
            raise
        return outcome

    async def close(self) -> None:
        """See sink.Sink."""
        await self._client.close()

    def _datable(self, spans: list[SpanRecord], outcome: Outcome) -> Iterator[SpanRecord]:
        now = self._clock.now()
        for span in spans:
            age_s = now - span.nanos()[0] / 1e9
            if -MAX_AHEAD_S <= age_s <= self._max_age_s:
                yield span
            else:
                self._counts.undatable.inc()
                off = f"{age_s:.0f} s ago" if age_s > 0 else f"{-age_s:.0f} s ahead"
                outcome.refused.append(
                    Refusal(
                        span, f"it began {off}; from {self._max_age_s:.0f} s ago to {MAX_AHEAD_S:.0f} s ahead are taken"
                    )
                )

    async def _send_names(self, spans: list[SpanRecord]) -> None:
        new: dict[tuple[int, str, str], int] = {}
        for span in spans:
            start_us = span.nanos()[0] // 1_000
            key = (start_us // _DAY_US, span.service, span.name)
            if key not in self._known:
                new[key] = start_us
        items = [self._name(service, operation, at) for (_, service, operation), at in new.items()]
        for request in requests(items, max_bytes=self._max_bytes, max_items=self._max_spans):
            for _, fate, why in await self._bulk(request):
                if fate in (Fate.BUSY, Fate.FORBIDDEN):
                    raise Unavailable(why)
                if fate is Fate.REFUSED:
                    self._say("names", f"a service or operation is not listed: {why}")
        if len(self._known) + len(new) > MAX_KNOWN_NAMES:
            self._known.clear()
        self._known |= new.keys()

    def _name(self, service: str, operation: str, at_us: int) -> Item:
        id_, document = service_document(service[:_MAX_NAME_BYTES], operation[:_MAX_NAME_BYTES])
        return Item(cast(Any, None), self._indices.service(at_us), Document(id_, _json(document)))

    async def _send_spans(self, spans: list[SpanRecord], outcome: Outcome) -> None:
        items = [self._item(span, span_document(span)) for span in spans]
        made = list(requests(items, max_bytes=self._max_bytes, max_items=self._max_spans))
        for number, request in enumerate(made):
            # Of a request that fails half-way nothing counts: it is sent again whole.
            part = Outcome()
            try:
                refused = self._sort(await self._bulk(request), part)
                await self._reduced(refused, part)
            except Unavailable as error:
                if number == 0:
                    raise
                # What was answered stays answered; this request and those after it come again.
                for rest in made[number:]:
                    outcome.again.spans += [cast(SpanRecord, item.record) for item in rest.items]
                outcome.retry_after_s = error.retry_after_s
                return
            outcome.again.spans += part.again.spans
            outcome.refused += part.refused

    async def _reduced(self, refused: list[tuple[Item, str]], outcome: Outcome) -> None:
        """What the mapping does not take (too many nested objects, say) is stored without logs and tags, but its
        status: the trace stays whole."""
        items = []
        for item, why in refused:
            span = cast(SpanRecord, item.record)
            bare = span._replace(
                attributes={"remora.reduced": why[:200]}, resource={}, events=(), links=(), status_message="",
                dropped=(len(span.attributes), len(span.events), len(span.links)),
            )  # fmt: skip
            items.append(self._item(span, span_document(bare)))
        for request in requests(items, max_bytes=self._max_bytes, max_items=self._max_spans):
            dead = self._sort(await self._bulk(request), outcome)
            self._counts.reduced.inc(len(request.items) - len(dead))
            self._say("reduced", f"stored spans without their tags and logs: {refused[0][1]}")
            outcome.refused += [Refusal(item.record, why) for item, why in dead]

    def _item(self, span: SpanRecord, document: dict[str, Any]) -> Item:
        index = self._indices.span(document["startTime"])
        return Item(cast(Any, span), index, Document(f"{span.trace_id}-{span.span_id}", _json(document)))

    async def _bulk(self, request: Request) -> list[tuple[Item, Fate, str]]:
        self._counts.requests.inc()
        try:
            answer = await self._client.request(
                "POST", "/_bulk", params={"filter_path": FILTER_PATH}, body=request.body(), kind=NDJSON
            )
            found = answers(request, answer)
        except Denied as error:
            if error.status != 400:
                raise Unavailable(f"_bulk: {error}") from error
            if len(request.items) == 1:
                return [(request.items[0], Fate.REFUSED, str(error))]
            # One of them is to blame: halves tell which.
            half = (len(request.items) + 1) // 2
            parts = requests(request.items, max_bytes=self._max_bytes, max_items=half)
            return [one for part in parts for one in await self._bulk(part)]
        except MalformedAnswer as error:
            raise Unavailable(f"{error}: is there a proxy in front of Elasticsearch?") from error
        return [(item, one.fate, one.why) for item, one in zip(request.items, found, strict=True)]

    def _sort(self, answered: list[tuple[Item, Fate, str]], outcome: Outcome) -> list[tuple[Item, str]]:
        refused = []
        for item, fate, why in answered:
            match fate:
                case Fate.STORED:
                    self._counts.stored.inc()
                case Fate.KNOWN:
                    self._counts.known.inc()
                case Fate.BUSY | Fate.FORBIDDEN:
                    if fate is Fate.FORBIDDEN:
                        self._say("forbidden", f"Elasticsearch takes nothing into {item.stream}: {why}")
                    outcome.again.spans.append(cast(SpanRecord, item.record))
                case Fate.REFUSED:
                    refused.append((item, why))
        return refused

    def _say(self, kind: str, text: str) -> None:
        """Once a minute for each kind."""
        now = self._clock.monotonic()
        if now - self._said.get(kind, -_QUIET_S) >= _QUIET_S:
            self._said[kind] = now
            _log.error("%s", text)


def _json(document: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(document)
    except TypeError:
        # A lone surrogate in some text.
        return orjson.dumps(_clean(document))


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {_clean(key): _clean(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_clean(one) for one in value]
    return value
