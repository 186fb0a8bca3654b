"""An exchange that is tapped: the same, telling a recording what happens. There is none while nobody taps."""

from typing import TYPE_CHECKING

from sidecar.http.head import Header, RequestHead, ResponseHead
from sidecar.listeners.exchange import Exchange
from sidecar.tap.recording import Recording
from sidecar.tap.taps import Recorder, Watch

if TYPE_CHECKING:
    from sidecar.listeners.connection import DownstreamConnection


def begin_tapped(watch: Watch, connection: "DownstreamConnection", head: RequestHead, now: float) -> Exchange:
    """The exchange for a request of a connection that is watched: a tapped one if some tap wants the request."""
    recorder = watch.begin(head)
    if recorder is None:
        return Exchange(connection, head, now)
    return TappedExchange(connection, head, now, recorder)


class TappedExchange(Exchange):
    """Records what the client sent and what it gets."""

    __slots__ = ("_recorder", "_recording")

    def __init__(self, connection: "DownstreamConnection", head: RequestHead, now: float, recorder: Recorder) -> None:
        super().__init__(connection, head, now)
        self._recorder: Recorder | None = recorder
        self._recording: Recording | None = recorder.recording
        if self._recording is not None:
            self._recording.began(now)

    # the request

    def start(self, whole: bool, now: float) -> None:
        if whole and self._recording is not None:
            self._recording.request_ended(now)
        super().start(whole, now)

    def request_data(self, data: bytes) -> None:
        if self._recording is not None:
            self._recording.request_data(data)
        super().request_data(data)

    def request_ended(self) -> None:
        if self._recording is not None:
            self._recording.request_ended(self._now())
        super().request_ended()

    # the answer

    def _send_head(self, head: ResponseHead, more: bytes) -> None:
        super()._send_head(head, more)
        if self._recording is not None:
            self._recording.answered(_as_sent(head, more, self._chunked), self._now())

    def answer_data(self, data: bytes) -> None:
        if self._recording is not None and not self._bodyless:
            self._recording.answer_data(data)
        super().answer_data(data)

    # the end, however it comes

    def _finish(self) -> None:
        super()._finish()
        self._recorded(True)

    def _cut(self, flag: str, details: str) -> None:
        super()._cut(flag, details)
        self._recorded(False)

    def client_gone(self) -> None:
        super().client_gone()
        self._recorded(False)

    def _recorded(self, whole: bool) -> None:
        recorder, self._recorder = self._recorder, None
        self._recording = None
        if recorder is not None:
            recorder.finish(self.record, self._now(), whole=whole)

    def _now(self) -> float:
        return self._connection.context.process.clock.monotonic()


def _as_sent(head: ResponseHead, more: bytes, chunked: bool) -> tuple[Header, ...]:
    """The answer's fields with those that were rendered before, and what says how long the body is."""
    fields = list(head.headers)
    for line in more.split(b"\r\n"):
        name, colon, value = line.partition(b": ")
        if colon:
            fields.append((name, value))
    if chunked:
        fields.append((b"transfer-encoding", b"chunked"))
    elif head.length >= 0 and head.status not in (204, 304):
        fields.append((b"content-length", b"%d" % head.length))
    return tuple(fields)
