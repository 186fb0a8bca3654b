"""Messages of gRPC calls by Istio's labels, which for them say nothing of the outcome. No I/O, no clock.

https://istio.io/latest/docs/reference/config/metrics/ (gRPC)
"""

from typing import Final

from mesh.records import HTTP_LABELS
from sidecar.config.messages import Growth
from sidecar.telemetry.series import Labels

_LABELS: Final = HTTP_LABELS[: HTTP_LABELS.index("destination_cluster") + 1]
_OVERFLOW: Final = "overflow"


class MessageCounts:
    """Of one worker, bounded: what is not asked for between two flushes is forgotten, its counters are the agent's."""

    def __init__(self, *, max_series: int) -> None:
        self._max_series = max_series
        self._grown: dict[tuple[str, ...], list[int]] = {}

    def add(self, labels: Labels, requests: int, responses: int) -> None:
        """Count the messages of one call."""
        key = (labels.reporter, *labels.ends)
        counts = self._grown.get(key)
        if counts is None:
            if len(self._grown) >= self._max_series:
                key = (labels.reporter, *[_OVERFLOW for _ in labels.ends])
            counts = self._grown.setdefault(key, [0, 0])
        counts[0] += requests
        counts[1] += responses

    def flush(self) -> list[Growth]:
        """What grew since the last flush."""
        grown: list[Growth] = []
        for key, (requests, responses) in self._grown.items():
            pairs = tuple(zip(_LABELS, key, strict=True))
            if requests:
                grown.append(Growth("istio_request_messages_total", pairs, requests))
            if responses:
                grown.append(Growth("istio_response_messages_total", pairs, responses))
        self._grown.clear()
        return grown
