"""The sink that speaks OTLP. How a request gets there is its client's; here is what an answer means for the records.

A span is the same as before if its ids are, a log record by its `log.record.uid`, a metric's point by its series and
time: storing what comes twice once is for the back end, OTLP has no other word for it.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from collectors.exporters.otlp.encoding import encode_logs, encode_spans
from collectors.exporters.otlp.metrics import encode_samples
from collectors.exporters.sink import Failed, Outcome, Refusal, TooLarge, Unavailable
from collectors.records import Batch, LogRecord, Sample, SpanRecord

_log = logging.getLogger("remora.export")

Record = LogRecord | SpanRecord | Sample


class NotTaken(Exception):
    """The back end refuses this request, and would refuse it again (OTLP specification, "Failures")."""


class Client(Protocol):
    """The way to the back end."""

    async def export(self, signal: str, body: bytes) -> bytes:
        """`signal` is "traces", "logs" or "metrics". Returns the answer's message.

        Raises NotTaken, Unavailable, TooLarge, Failed.
        """

    async def close(self) -> None:
        """Give up connections."""


Encoded = tuple[bytes, list[Refusal]]
"""A request, and the records that cannot be said in it."""


@dataclass(frozen=True, slots=True)
class _Signal:
    name: str
    answer: Any
    rejected: Callable[[Any], int]
    encode: Callable[[Any], Encoded]
    records: Callable[[Batch], list[Any]]


_SIGNALS = (
    _Signal(
        "traces",
        ExportTraceServiceResponse,
        lambda partial: int(partial.rejected_spans),
        lambda records: (encode_spans(records), []),
        lambda batch: batch.spans,
    ),
    _Signal(
        "logs",
        ExportLogsServiceResponse,
        lambda partial: int(partial.rejected_log_records),
        lambda records: (encode_logs(records), []),
        lambda batch: batch.logs,
    ),
    _Signal(
        "metrics",
        ExportMetricsServiceResponse,
        lambda partial: int(partial.rejected_data_points),
        encode_samples,
        lambda batch: batch.samples,
    ),
)


class OtlpSink:
    """See sink.Sink."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def send(self, batch: Batch) -> Outcome:
        """See sink.Sink. A request for each signal; what one could not bring through comes again alone."""
        outcome = Outcome()
        asked = [signal for signal in _SIGNALS if signal.records(batch)]
        for number, signal in enumerate(asked):
            try:
                outcome.refused += await self._request(signal, signal.records(batch))
            except (Unavailable, TooLarge, Failed) as error:
                if number == 0:
                    raise
                for later in asked[number:]:
                    later.records(outcome.again).extend(later.records(batch))
                outcome.again.size_bytes = batch.size_bytes
                outcome.retry_after_s = getattr(error, "retry_after_s", None)
                return outcome
        return outcome

    async def close(self) -> None:
        """See sink.Sink."""
        await self._client.close()

    async def _request(self, signal: _Signal, records: Sequence[Record]) -> list[Refusal]:
        body, refused = signal.encode(records)
        if refused:
            unsaid = {id(refusal.record) for refusal in refused}
            records = [record for record in records if id(record) not in unsaid]
            if not records:
                return refused
        return refused + await self._ask(signal, body, records)

    async def _ask(self, signal: _Signal, body: bytes, records: Sequence[Record]) -> list[Refusal]:
        try:
            answer = signal.answer.FromString(await self._client.export(signal.name, body))
        except NotTaken as error:
            return [Refusal(record, str(error)) for record in records]
        except DecodeError as error:
            # It said 2xx or OK. What it is, we cannot know: it may be no OTLP back end at all.
            raise Unavailable(f"the answer is no {signal.answer.DESCRIPTOR.name}: check the address") from error
        partial = answer.partial_success
        rejected = signal.rejected(partial)
        if rejected <= 0:
            if partial.error_message:
                _log.warning("back end took %d records and warns: %s", len(records), partial.error_message[:500])
            return []
        # Which ones, OTLP does not say, and asking again is forbidden. All are kept: those that it took are harmless.
        why = f"back end rejected {rejected} of these {len(records)} and does not say which"
        _log.warning("%s: %s", why, partial.error_message[:500])
        return [Refusal(record, f"{why}: {partial.error_message[:200]}") for record in records]
