"""The sink: batches into `_bulk`, every record's answer honoured. Trying again and dead letters are the delivery's."""

import asyncio
import logging

from collectors.exporters.elasticsearch.bulk import (
    FILTER_PATH,
    Answer,
    Fate,
    Item,
    MalformedAnswer,
    Packing,
    Request,
    answers,
    requests,
)
from collectors.exporters.elasticsearch.client import NDJSON, Client, Denied, Unauthorized
from collectors.exporters.elasticsearch.counts import Counts
from collectors.exporters.elasticsearch.documents import Encoder
from collectors.exporters.elasticsearch.install import Installer
from collectors.exporters.elasticsearch.rollover import OnceAcrossRollovers
from collectors.exporters.elasticsearch.streams import Streams
from collectors.exporters.sink import Outcome, Refusal, Unavailable
from collectors.records import Batch, LogRecord, Sample
from mesh.clock import Clock

_log = logging.getLogger("remora.collect.elasticsearch")

_SLICE = 500
"""Records made into documents before other tasks have a turn."""

_QUIET_S = 60.0
"""Between complaints in the log."""

SPANS = "spans are not written by this exporter: route traces to one of type jaeger, otlp or zipkin"


class ElasticsearchSink:
    """See sink.Sink. Any number of sends at a time."""

    def __init__(
        self,
        client: Client,
        encoder: Encoder,
        installer: Installer | None,
        streams: Streams | None,
        rollovers: OnceAcrossRollovers | None,
        counts: Counts,
        clock: Clock,
        *,
        max_bytes: int,
        max_records: int,
    ) -> None:
        self._client = client
        self._encoder = encoder
        self._installer = installer
        self._streams = streams
        self._rollovers = rollovers
        self._counts = counts
        self._clock = clock
        self._max_bytes = max_bytes
        self._max_records = max_records
        self._said: dict[int, float] = {}

    async def prepare(self) -> None:
        """Templates, before the first batch: what is missing is said when the collector starts. Raises Unavailable."""
        if self._installer is None:
            return
        try:
            await self._installer.ensure()
        except Unauthorized as error:
            self._say(logging.ERROR, str(error))
            raise

    async def send(self, batch: Batch) -> Outcome:
        """See sink.Sink."""
        await self.prepare()
        try:
            return await self._send(batch)
        except Unauthorized as error:
            self._say(logging.ERROR, str(error))
            raise

    async def close(self) -> None:
        """See sink.Sink."""
        await self._client.close()

    async def _send(self, batch: Batch) -> Outcome:
        """Request by request: no more than one is in memory besides the records."""
        outcome = Outcome()
        outcome.refused.extend(Refusal(span, SPANS) for span in batch.spans)
        records: list[LogRecord | Sample] = [*batch.logs, *batch.samples]
        packing = Packing(max_bytes=self._max_bytes, max_items=self._max_records)
        answered = 0
        try:
            for number, record in enumerate(records):
                if number % _SLICE == 0:
                    await asyncio.sleep(0)
                if (full := packing.add(self._item(record))) is not None:
                    await self._whole(full, outcome)
                    answered = number
            if (rest := packing.rest()) is not None:
                await self._whole(rest, outcome)
        except Unavailable as error:
            if not answered:
                raise
            # What was answered stays answered; the request that failed and what comes after it are sent again.
            for record in records[answered:]:
                _add(outcome.again, record)
            outcome.retry_after_s = error.retry_after_s
        return outcome

    def _item(self, record: LogRecord | Sample) -> Item:
        encoder, now = self._encoder, self._clock.now()
        document = encoder.sample(record, now) if isinstance(record, Sample) else encoder.log(record, now)
        if document.clock_off:
            self._counts.clock_off.inc()
        return Item(record, encoder.stream_of(record), document)

    async def _whole(self, request: Request, outcome: Outcome) -> None:
        """Add what became of it, or nothing: one that fails half-way is sent again whole."""
        part = Outcome()
        await self._request(request, part)
        outcome.again.logs += part.again.logs
        outcome.again.samples += part.again.samples
        outcome.refused += part.refused

    async def _request(self, request: Request, outcome: Outcome) -> None:
        """Raises Unavailable, TooLarge."""
        refused = await self._bulk(request, outcome)
        if not refused:
            return
        # What the mapping refuses is taken without its fields: its text and its body as one text.
        again: list[Item] = []
        for item, why in refused:
            if isinstance(item.record, Sample):
                self._refuse(outcome, item, why)
            else:
                reduced = self._encoder.reduced(item.record, self._clock.now(), why)
                again.append(item._replace(document=reduced))
        for smaller in requests(again, max_bytes=self._max_bytes, max_items=self._max_records):
            dead = await self._bulk(smaller, outcome)
            for item, why in dead:
                self._refuse(outcome, item, why)
            if taken := len(smaller.items) - len(dead):
                self._counts.reduced.inc(taken)
                self._say(logging.WARNING, f"stored {taken} records without their fields: {refused[0][1]}")

    async def _bulk(self, request: Request, outcome: Outcome) -> list[tuple[Item, str]]:
        """One request. Returns what was refused as it is, with the reasons."""
        params = {"filter_path": FILTER_PATH}
        if self._streams is None:
            params["require_data_stream"] = "true"
        else:
            await self._streams.ensure({item.stream for item in request.items})
        self._counts.requests.inc()
        self._counts.request_bytes.inc(request.size_bytes)
        try:
            answer = await self._client.request("POST", "/_bulk", params=params, body=request.body(), kind=NDJSON)
            found = answers(request, answer)
        except Denied as error:
            return await self._denied(request, outcome, error)
        except MalformedAnswer as error:
            raise Unavailable(f"{error}: is there a proxy in front of Elasticsearch?") from error
        pairs = list(zip(request.items, found, strict=True))
        if self._rollovers is not None:
            before = self._rollovers.removed
            await self._rollovers.settle(pairs)
            self._counts.copies.inc(self._rollovers.removed - before)
        return self._sort(pairs, outcome)

    def _sort(self, pairs: list[tuple[Item, Answer]], outcome: Outcome) -> list[tuple[Item, str]]:
        refused: list[tuple[Item, str]] = []
        for item, answer in pairs:
            match answer.fate:
                case Fate.STORED:
                    self._counts.stored.inc()
                case Fate.KNOWN:
                    self._counts.known.inc()
                case Fate.BUSY:
                    self._counts.busy.inc()
                    _add(outcome.again, item.record)
                case Fate.FORBIDDEN:
                    self._say(logging.ERROR, f"Elasticsearch takes nothing into {item.stream}: {answer.why}")
                    _add(outcome.again, item.record)
                case Fate.REFUSED:
                    refused.append((item, answer.why))
        return refused

    async def _denied(self, request: Request, outcome: Outcome, error: Denied) -> list[tuple[Item, str]]:
        """The whole request was called wrong. A record in it may be to blame: halves tell which."""
        if error.status != 400:
            raise Unavailable(f"_bulk: {error}") from error
        if "require_data_stream" in str(error):
            raise Unavailable("this Elasticsearch is older than 8.13, which is the oldest that we know") from error
        if len(request.items) == 1:
            return [(request.items[0], str(error))]
        half = (len(request.items) + 1) // 2
        refused = []
        for part in requests(request.items, max_bytes=self._max_bytes, max_items=half):
            refused += await self._bulk(part, outcome)
        return refused

    def _refuse(self, outcome: Outcome, item: Item, why: str) -> None:
        self._counts.refused.inc()
        outcome.refused.append(Refusal(item.record, why))

    def _say(self, level: int, text: str) -> None:
        """Once a minute for each level: hostile records and closed doors are many, and counted."""
        now = self._clock.monotonic()
        said_at = self._said.get(level)
        if said_at is None or now - said_at >= _QUIET_S:
            self._said[level] = now
            _log.log(level, "%s", text)


def _add(batch: Batch, record: LogRecord | Sample) -> None:
    if isinstance(record, Sample):
        batch.samples.append(record)
    else:
        batch.logs.append(record)
