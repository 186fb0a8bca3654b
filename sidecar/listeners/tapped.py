"""An exchange that is tapped: the same, telling a recording what happens. There is none while nobody taps."""

from sidecar.http.head import Header, RequestHead, ResponseHead
from sidecar.listeners.client_stream import ClientStream
from sidecar.listeners.exchange import Exchange
from sidecar.tap.recording import Recording
from sidecar.tap.taps import Recorder, Watch


def begin_tapped(watch: Watch, stream: ClientStream, head: RequestHead, now: float) -> Exchange:
    """The exchange for a request of a connection that is watched: a tapped one if some tap wants the request."""
    recorder = watch.begin(head)
    if recorder is None:
        return Exchange(stream, head, now)
    return TappedExchange(stream, head, now, recorder)


class TappedExchange(Exchange):
    """Records what the client sent and what it gets."""

    __slots__ = ("_recorder", "_recording")

    def __init__(self, stream: ClientStream, head: RequestHead, now: float, recorder: Recorder) -> None:
        super().__init__(stream, head, now)
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

    def request_ended(self, trailers: list[Header] | None) -> None:
        if self._recording is not None:
            self._recording.request_ended(self._now(), tuple(trailers or ()))
        super().request_ended(trailers)

    def switched(self) -> None:
        if self._recording is not None:
            self._recording.switched()
        super().switched()

    # the answer

    def _send_head(self, head: ResponseHead, upstream_ms: float) -> None:
        super()._send_head(head, upstream_ms)
        if self._recording is not None:
            server = self._stream.context.server_field
            chunked = self.head.version == "HTTP/1.1" and not self.bodyless
            self._recording.answered(_as_sent(head, upstream_ms, server, chunked), self._now())

    def answer_data(self, data: bytes) -> None:
        if self._recording is not None and not self.bodyless:
            self._recording.answer_data(data)
        super().answer_data(data)

    def answer_trailers(self, trailers: list[Header]) -> None:
        if self._recording is not None:
            self._recording.answer_trailers(tuple(trailers))
        super().answer_trailers(trailers)

    # the end, however it comes

    def answer_ended(self) -> None:
        super().answer_ended()
        self._recorded(True)

    def _cut(self, flag: str, details: str) -> None:
        super()._cut(flag, details)
        self._recorded(False)

    def client_gone(self, flag: str, details: str) -> None:
        super().client_gone(flag, details)
        self._recorded(False)

    def _recorded(self, whole: bool) -> None:
        recorder, self._recorder = self._recorder, None
        self._recording = None
        if recorder is not None:
            recorder.finish(self.record, self._now(), whole=whole)

    def _now(self) -> float:
        return self._stream.context.process.clock.monotonic()


def _as_sent(head: ResponseHead, upstream_ms: float, server: Header, chunked: bool) -> tuple[Header, ...]:
    """The answer's fields with those that every answer gets, and what says how long the body is. `chunked`: that a
    body of unknown length is."""
    fields = list(head.headers)
    if head.upgrade is not None:
        # What follows is no body, and nothing of the proxy's own is said but that HTTP is left.
        if head.status == 101:
            fields += [(b"connection", b"upgrade"), (b"upgrade", head.upgrade)]
        return tuple(fields)
    if upstream_ms >= 0.0:
        fields.append((b"x-envoy-upstream-service-time", b"%d" % upstream_ms))
    fields.append(server)
    if head.length < 0 and chunked:
        fields.append((b"transfer-encoding", b"chunked"))
    elif head.length >= 0 and head.status not in (204, 304):
        fields.append((b"content-length", b"%d" % head.length))
    return tuple(fields)
