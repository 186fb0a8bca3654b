"""What becomes of an OTLP request whatever carried it: decoded, judged, handed on, counted, answered. otlp_grpc and
otlp_http say the answer, and what stood in its way, in their protocol's words (docs/decisions/0015)."""

import asyncio
import logging
from typing import Any

from collectors.pipeline import Consumer, Refused
from collectors.receivers import otlp, otlp_metrics, otlp_traces
from collectors.receivers.claims import Claims, Judge
from collectors.receivers.otlp import Decoded, MalformedRequest
from collectors.receivers.otlp_deltas import Deltas
from collectors.telemetry import Telemetry
from mesh.clock import Clock
from mesh.spiffe import SpiffeId

MAX_REQUEST_BYTES = 8 * 1024 * 1024
"""As sent; a larger one is refused. The default."""
MAX_WAIT_S = 10.0
"""For room in the pipeline; then the sender is asked to come again."""
BUSY = "busy, try again"
LOG_EVERY_S = 10.0
"""Requests that are refused as a whole make one line in this time."""

_log = logging.getLogger("remora.otlp")

_RESPONSES = {
    "traces": otlp_traces.trace_response,
    "logs": otlp.logs_response,
    "metrics": otlp_metrics.metrics_response,
}
SIGNALS = tuple(_RESPONSES)


class Intake:
    """Of one receiver, which `name` is in metrics."""

    def __init__(
        self,
        name: str,
        consumer: Consumer,
        telemetry: Telemetry,
        clock: Clock,
        claims: Claims,
        *,
        mesh_metrics: bool = False,
    ) -> None:
        self._name = name
        self._consumer = consumer
        self._telemetry = telemetry
        self._clock = clock
        self._claims = claims
        self._deltas = Deltas()
        self._mesh_metrics = mesh_metrics
        self._logged = -LOG_EVERY_S
        self._malformed = 0
        """Since then."""

    async def take(
        self, signal: str, body: bytes, peer: SpiffeId | None, address: str, *, as_json: bool = False
    ) -> Any:
        """The response, once what it accepts is on disk. `peer` None: nobody in particular, of whom nothing is checked
        and `address` is kept.

        Raises MalformedRequest; Refused; TimeoutError after MAX_WAIT_S without room.
        """
        received, refused = (
            counter.labels(self._name, signal) for counter in (self._telemetry.received, self._telemetry.refused)
        )
        try:
            decoded = self._decode(signal, body, None if peer is None else self._claims.judge(peer), as_json)
        except MalformedRequest as error:
            refused.inc()
            self._note(signal, address if peer is None else str(peer), error)
            raise
        count = len(decoded.batch)
        decoded.batch.sender = address if peer is None else str(peer)
        try:
            async with asyncio.timeout(MAX_WAIT_S):
                await self._consumer.consume(decoded.batch)
        except (Refused, TimeoutError):
            refused.inc(count)
            raise
        received.inc(count)
        refused.inc(decoded.rejected)
        if decoded.foreign and peer is not None:
            self._claims.refused(self._name, signal, peer, decoded.foreign, decoded.why)
        return _RESPONSES[signal](decoded)

    def _note(self, signal: str, sender: str, error: MalformedRequest) -> None:
        now = self._clock.monotonic()
        self._malformed += 1
        if now - self._logged < LOG_EVERY_S:
            return
        more = f" (and {self._malformed - 1} before)" if self._malformed > 1 else ""
        self._logged, self._malformed = now, 0
        _log.warning("%s: refused %s of %s: %s%s", self._name, signal, sender, error, more)

    def _decode(self, signal: str, body: bytes, judge: Judge | None, as_json: bool) -> Decoded:
        if signal == "traces":
            return otlp_traces.decode_traces(body, judge, as_json=as_json)
        if signal == "metrics":
            return otlp_metrics.decode_metrics(
                body, judge, self._clock.now(), self._deltas, as_json=as_json, mesh_metrics=self._mesh_metrics
            )
        return otlp.decode_logs(body, judge, self._clock.now(), as_json=as_json)
