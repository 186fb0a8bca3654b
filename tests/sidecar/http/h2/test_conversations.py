"""Random conversations with the h2 library as the peer; any cutting gives the same events; any bytes give events."""

import itertools
import tracemalloc
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
from hypothesis import given
from hypothesis import strategies as st

from sidecar.http.h2.connection import H2Connection
from sidecar.http.h2.errors import ErrorCode
from sidecar.http.h2.events import HEAD, TRAILERS, ConnectionFailed, Data, Event, Headers, Reset
from sidecar.http.h2.frames import PREFACE
from sidecar.http.h2.settings import Limits, Settings
from sidecar.http.head import Header
from tests.sidecar.http.h2.wire import ACK, GET, OK, POST, Clock, client, data, frame, headers, heard, server, settings

# A message as both ends see it: head without pseudo-headers, body, trailers.
names = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=10).map(lambda text: b"x-" + text.encode())
values = st.text("abcdefghijklmnopqrstuvwxyz0123456789 ,;=/", max_size=40).map(lambda text: text.strip().encode())
fields = st.lists(st.tuples(names, values), max_size=6)
pieces = st.lists(st.binary(min_size=1, max_size=30_000), max_size=4)
messages = st.tuples(fields, pieces, st.one_of(st.none(), fields.filter(bool)))
windows = st.sampled_from([1, 100, 65_535, 1_000_000])
frame_sizes = st.sampled_from([16_384, 20_000])

Message = tuple[list[Header], bytes, list[Header] | None]


class Library:
    """The h2 library at one end: takes everything at once, gives back the window, notes what came."""

    def __init__(self, *, client_side: bool, window: int, frame_size: int) -> None:
        self.h2: Any = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=client_side, header_encoding=None)
        )
        codes = h2.settings.SettingCodes
        self.h2.local_settings = h2.settings.Settings(
            client=client_side, initial_values={codes.INITIAL_WINDOW_SIZE: window, codes.MAX_FRAME_SIZE: frame_size}
        )
        self.h2.initiate_connection()
        self.got: dict[int, list[Any]] = {}
        self.unsent: dict[int, tuple[list[bytes], list[Header] | None]] = {}

    def send(self, stream: int, head: list[Header], body: list[bytes], trailers: list[Header] | None) -> None:
        self.h2.send_headers(stream, head, end_stream=not body and trailers is None)
        if body or trailers is not None:
            self.unsent[stream] = (list(body), trailers)
        self._pump()

    def receive(self, octets: bytes) -> None:
        for event in self.h2.receive_data(octets):
            if isinstance(event, h2.events.RequestReceived | h2.events.ResponseReceived):
                self.got[event.stream_id] = [plain(event.headers), b"", None, False]
            elif isinstance(event, h2.events.DataReceived):
                self.got[event.stream_id][1] += event.data
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.TrailersReceived):
                self.got[event.stream_id][2] = plain(event.headers)
            elif isinstance(event, h2.events.StreamEnded):
                self.got[event.stream_id][3] = True
        self._pump()

    def _pump(self) -> None:
        """The library does not queue: what the windows allow now."""
        for stream, (body, trailers) in list(self.unsent.items()):
            while body:
                size = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size, len(body[0]))
                if size <= 0:
                    break
                self.h2.send_data(stream, body[0][:size])
                body[0] = body[0][size:]
                if not body[0]:
                    body.pop(0)
            if not body:
                del self.unsent[stream]
                if trailers is None:
                    self.h2.end_stream(stream)
                else:
                    self.h2.send_headers(stream, trailers, end_stream=True)


class Ours:
    """Our connection in the same role."""

    def __init__(self, connection: H2Connection) -> None:
        self.connection = connection
        self.got: dict[int, list[Any]] = {}
        connection.start()

    def receive(self, octets: bytes) -> None:
        for event in self.connection.receive(octets):
            assert not isinstance(event, ConnectionFailed | Reset), event
            if isinstance(event, Headers):
                if event.kind == HEAD:
                    self.got[event.stream] = [event.fields, b"", None, event.end]
                elif event.kind == TRAILERS:
                    self.got[event.stream][2:] = [event.fields, True]
            elif isinstance(event, Data):
                self.got[event.stream][1] += event.data
                self.got[event.stream][3] = event.end
                self.connection.consumed(event.stream, event.flow)

    def send(self, stream: int, head: list[Header], body: list[bytes], trailers: list[Header] | None) -> None:
        ends = not body and trailers is None
        if stream == 0:
            stream = self.connection.open_stream(head, ends)
        else:
            self.connection.send_headers(stream, head, ends)
        for at, piece in enumerate(body, 1):
            self.connection.send_data(stream, piece, at == len(body) and trailers is None)
        if trailers is not None:
            self.connection.send_headers(stream, trailers, True)


def plain(received: Any) -> list[Header]:
    return [(bytes(name), bytes(value)) for name, value in received]


def carry(ours: Ours, library: Library, cut: int) -> None:
    """Until both are silent; what we hear comes in pieces of `cut`."""
    while True:
        to_library, to_us = ours.connection.take_output(), library.h2.data_to_send()
        if not to_library and not to_us:
            return
        for at in range(0, len(to_us), cut):
            ours.receive(to_us[at : at + cut])
        library.receive(to_library)


def expected(pseudo: list[Header], message: Any) -> list[Any]:
    head, body, trailers = message
    return [[*pseudo, *head], b"".join(body), trailers, True]


cuts = st.sampled_from([1, 7, 100, 1 << 20])


@given(st.lists(st.tuples(messages, messages), max_size=4), windows, frame_sizes, windows, cuts)
def test_our_server_and_the_librarys_client_understand_each_other(
    talks: list[Any], window: int, frame_size: int, our_window: int, cut: int
) -> None:
    ours = Ours(
        H2Connection(
            client=False,
            settings=Settings(initial_window_size=our_window, max_frame_size=frame_size),
            limits=Limits(window_updates_per_data=10**6),
            clock=Clock(),
        )
    )
    library = Library(client_side=True, window=window, frame_size=frame_size)
    carry(ours, library, cut)
    streams = range(1, 2 * len(talks), 2)
    for stream, (asked, _) in zip(streams, talks, strict=True):
        library.send(stream, [*POST, *asked[0]], *asked[1:])
    carry(ours, library, cut)
    for stream, (_, answered) in zip(streams, talks, strict=True):
        ours.send(stream, [*OK, *answered[0]], *answered[1:])
    carry(ours, library, cut)
    for stream, (asked, answered) in zip(streams, talks, strict=True):
        assert ours.got[stream] == expected(POST, asked)
        assert library.got[stream] == expected(OK, answered)
    assert ours.connection.open_streams == 0


@given(st.lists(st.tuples(messages, messages), max_size=4), windows, frame_sizes, windows, cuts)
def test_our_client_and_the_librarys_server_understand_each_other(
    talks: list[Any], window: int, frame_size: int, our_window: int, cut: int
) -> None:
    ours = Ours(
        H2Connection(
            client=True,
            settings=Settings(initial_window_size=our_window, max_frame_size=frame_size),
            limits=Limits(window_updates_per_data=10**6),
            clock=Clock(),
        )
    )
    library = Library(client_side=False, window=window, frame_size=frame_size)
    carry(ours, library, cut)
    streams = range(1, 2 * len(talks), 2)
    for asked, _ in talks:
        ours.send(0, [*POST, *asked[0]], *asked[1:])
    carry(ours, library, cut)
    for stream, (_, answered) in zip(streams, talks, strict=True):
        library.send(stream, [*OK, *answered[0]], *answered[1:])
    carry(ours, library, cut)
    for stream, (asked, answered) in zip(streams, talks, strict=True):
        assert library.got[stream] == expected(POST, asked)
        assert ours.got[stream] == expected(OK, answered)
    assert ours.connection.open_streams == 0


# Frames that may come, right or wrong, for both ends
small = st.integers(0, 7)
payloads = st.binary(max_size=40)
known_frames = st.one_of(
    st.builds(lambda stream, flags: headers(stream, GET, flags), small, st.sampled_from([4, 5])),
    st.builds(lambda stream, flags: headers(stream, OK, flags), small, st.sampled_from([4, 5])),
    st.builds(lambda stream, more: headers(stream, [*POST, *more], 4), small, fields),
    st.builds(data, small, payloads, st.sampled_from([0, 1])),
    st.builds(
        lambda pairs: settings(*pairs), st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2**32 - 1)), max_size=3)
    ),
    st.builds(frame, st.integers(0, 10), st.integers(0, 255), small, payloads),
    st.builds(frame, st.just(6), st.sampled_from([0, ACK]), st.just(0), st.binary(min_size=8, max_size=8)),
    st.builds(
        frame, st.just(8), st.just(0), small, st.integers(0, 2**31 - 1).map(lambda size: size.to_bytes(4, "big"))
    ),
)
streams_of_frames = st.lists(known_frames, max_size=20).map(b"".join)


def both_ends() -> tuple[H2Connection, H2Connection]:
    asking = client()
    asking.open_stream(GET, True)
    asking.open_stream(POST, False)
    asking.take_output()
    return server(), asking


@given(streams_of_frames, st.lists(st.integers(0, 10_000), max_size=12))
def test_any_cutting_gives_the_same_events_and_the_same_answers(octets: bytes, places: list[int]) -> None:
    bounds = sorted({0, len(octets), *(place % (len(octets) + 1) for place in places)})
    for whole, cut in zip(both_ends(), both_ends(), strict=True):
        events: list[Event] = []
        for start, end in itertools.pairwise(bounds):
            events += cut.receive(octets[start:end])
        assert words(events) == words(whole.receive(octets))
        assert cut.take_output() == whole.take_output()


def words(events: list[Event]) -> list[str]:
    """Everything that an event says; compiled classes have no __slots__ to look at."""
    return [
        f"{type(event).__name__} {[(name, getattr(event, name)) for name in dir(event) if not name.startswith('_')]}"
        for event in events
    ]


@given(st.one_of(st.binary(max_size=300), streams_of_frames))
def test_any_bytes_give_events_and_at_most_one_failure_at_the_end(octets: bytes) -> None:
    for connection in (*both_ends(), server(settled=False), client(settled=False)):
        events = connection.receive(octets)
        assert not any(isinstance(event, ConnectionFailed) for event in events[:-1])
        assert connection.failed == any(isinstance(event, ConnectionFailed) for event in events)
        for event in events:
            if isinstance(event, Data):
                connection.consumed(event.stream, event.flow)
            elif isinstance(event, Headers) and event.method:
                connection.send_headers(event.stream, OK, False)
                connection.send_data(event.stream, b"x", True)
            elif event.stream:
                connection.reset(event.stream, ErrorCode.CANCEL)
        assert len(connection.take_output()) < 64 * 1024
        assert connection.open_streams <= 100


def test_a_frame_that_comes_octet_by_octet_takes_its_size_of_memory_and_little_time() -> None:
    connection = server(settled=False)
    connection.receive(PREFACE + settings())
    connection.take_output()
    octets = headers(1, POST) + data(1, bytes(16_384))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        events = [event for at in range(len(octets)) for event in connection.receive(octets[at : at + 1])]
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert heard(events) == ["Headers 1 head 4 fields", "Data 1 16384 octets"]
    assert peak < 5 * 16_384
