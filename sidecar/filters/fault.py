"""Injected trouble: Envoy's HTTP fault filter with a fixed delay and a fixed abort status."""

import random

from sidecar.config.route import Fault
from sidecar.filters.chain import Delay, Exchange, LocalReply, Request
from sidecar.http.head import ResponseHead


class FaultFilter:
    """Delays and aborts by percentage, each drawn on its own; a request may meet both, the delay first."""

    __slots__ = ("_abort", "_abort_share", "_delay_s", "_delay_share", "_random")

    def __init__(self, fault: Fault, rng: random.Random) -> None:
        self._delay_s = fault.delay_s
        self._delay_share = fault.delay_percent / 100.0 if fault.delay_s is not None else 0.0
        self._abort_share = fault.abort_percent / 100.0 if fault.abort_status is not None else 0.0
        self._abort = LocalReply(
            fault.abort_status or 503, b"fault filter abort", flag="FI", details="fault_filter_abort"
        )
        self._random = rng.random

    def on_request(self, exchange: Exchange) -> Delay | LocalReply | None:
        draw = self._random
        delayed = self._delay_share > 0.0 and draw() < self._delay_share
        aborted = self._abort_share > 0.0 and draw() < self._abort_share
        if delayed and self._delay_s is not None:
            exchange.record.add_flag("DI")
            return Delay(self._delay_s, self._abort if aborted else None)
        return self._abort if aborted else None

    def on_response(self, request: Request, head: ResponseHead) -> None:
        """The answer is left as it is."""
