"""The sink that posts to Zipkin. Zipkin merges what comes twice under the same trace and span ids."""

import json

from collectors.exporters.http import HttpBackend, excerpt
from collectors.exporters.sink import Outcome, Refusal, Unavailable
from collectors.exporters.zipkin.spans import zipkin_span
from collectors.records import Batch


class ZipkinSink:
    """See sink.Sink."""

    def __init__(self, backend: HttpBackend) -> None:
        self._backend = backend

    async def send(self, batch: Batch) -> Outcome:
        """See sink.Sink."""
        outcome = Outcome()
        outcome.refused += [Refusal(record, "this exporter sends traces") for record in batch.logs]
        outcome.refused += [Refusal(sample, "this exporter sends traces") for sample in batch.samples]
        if not batch.spans:
            return outcome
        # Lone surrogates of hostile names become question marks.
        spans = json.dumps([zipkin_span(span) for span in batch.spans], ensure_ascii=False, separators=(",", ":"))
        status, answer = await self._backend.post("/api/v2/spans", spans.encode("utf-8", "replace"), "application/json")
        if status >= 500:
            raise Unavailable(f"answered {status}: {excerpt(answer)}")
        if not 200 <= status < 300:
            why = f"answered {status}: {excerpt(answer)}"
            outcome.refused += [Refusal(span, why) for span in batch.spans]
        return outcome

    async def close(self) -> None:
        """See sink.Sink."""
        await self._backend.close()
