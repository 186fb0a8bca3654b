"""However a stream is cut into pieces, the same events come of it; and whatever comes in, nothing else than events."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from sidecar.http.errors import ProtocolError
from sidecar.http.h1_request import RequestReader
from sidecar.http.h1_response import ResponseReader
from sidecar.http.head import END, RequestHead, ResponseHead, Trailers

token = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=12).map(lambda text: "x-" + text)
value = st.text("abcdefghijklmnopqrstuvwxyz0123456789 ,;=\t/", max_size=30)
fields = st.lists(st.tuples(token, value), max_size=6)
body = st.binary(max_size=200)


def field_lines(pairs: list[tuple[str, str]]) -> bytes:
    return b"".join(f"{name}: {text}\r\n".encode() for name, text in pairs)


@st.composite
def chunked(draw: st.DrawFn, data: bytes) -> bytes:
    cut = draw(st.integers(1, 50) | st.just(1000))
    extension = draw(st.sampled_from([b"", b";e=1", b";" + b"e" * 40]))
    trailers = draw(st.sampled_from([b"", b"X-T: 1\r\n", b"X-T: 1\r\nHost: b\r\nX-U:\r\n"]))
    pieces = [data[at : at + cut] for at in range(0, len(data), cut)]
    chunks = b"".join(b"%X%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces)
    return chunks + b"0\r\n" + trailers + b"\r\n"


@st.composite
def request(draw: st.DrawFn) -> bytes:
    start = b"%b /%b HTTP/1.1\r\nHost: a.b\r\n" % (
        draw(st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE"])),
        draw(st.text("abc/%?=&.\\123456789", max_size=20)).encode(),
    )
    start += field_lines(draw(fields))
    data = draw(body)
    kind = draw(st.sampled_from(["none", "length", "chunks", "upgrade"]))
    if kind == "upgrade":
        return b"\r\n" + start + b"Upgrade: h2c\r\nConnection: upgrade\r\n\r\n"
    if kind == "none":
        return start + b"\r\n"
    if kind == "length":
        return start + b"Content-Length: %d\r\n\r\n" % len(data) + data
    return start + b"Transfer-Encoding: chunked\r\n\r\n" + draw(chunked(data))


@st.composite
def response(draw: st.DrawFn) -> bytes:
    informational = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * draw(st.integers(0, 2))
    start = informational + b"HTTP/1.1 %d Reason\r\n" % draw(
        st.integers(200, 599).filter(lambda s: s not in (204, 304))
    )
    start += field_lines(draw(fields))
    data = draw(body)
    if draw(st.booleans()):
        return start + b"Content-Length: %d\r\n\r\n" % len(data) + data
    return start + b"Transfer-Encoding: chunked\r\n\r\n" + draw(chunked(data))


def cut(data: bytes, places: list[int]) -> list[bytes]:
    bounds = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in itertools.pairwise(bounds)]


def plain(events: list[object]) -> list[object]:
    """Heads by content, neighbouring body pieces joined."""
    seen: list[object] = []
    for event in events:
        if isinstance(event, RequestHead):
            seen.append((event.method, event.target, event.authority, event.headers, event.length, event.ours))
        elif isinstance(event, ResponseHead):
            seen.append((event.status, event.headers, event.length))
        elif isinstance(event, bytes) and seen and isinstance(seen[-1], bytes):
            seen[-1] += event
        elif isinstance(event, Trailers):
            seen.append(("trailers", event.headers))
        elif isinstance(event, ProtocolError):
            seen.append("refused")
        elif event != b"":
            seen.append(event)
    return seen


@given(st.lists(request(), min_size=1, max_size=3), st.lists(st.integers(0, 10_000), max_size=20))
def test_requests_in_any_pieces(requests: list[bytes], places: list[int]) -> None:
    stream = b"".join(requests)
    whole = RequestReader().receive(stream)
    reader = RequestReader()
    pieces = [event for piece in cut(stream, places) for event in reader.receive(piece)]

    assert plain(list(pieces)) == plain(list(whole))
    assert whole.count(END) == len(requests)


@given(response(), st.lists(st.integers(0, 10_000), max_size=20))
def test_responses_in_any_pieces(stream: bytes, places: list[int]) -> None:
    one, other = ResponseReader(), ResponseReader()
    one.expect(b"GET")
    other.expect(b"GET")
    whole = one.receive(stream)
    pieces = [event for piece in cut(stream, places) for event in other.receive(piece)]

    assert plain(list(pieces)) == plain(list(whole))
    assert whole[-1] is END
    assert one.reusable
    assert other.reusable


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=8))
def test_anything_at_all_is_read_or_refused(junk: bytes, places: list[int]) -> None:
    for start in (
        b"",
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    ):
        reader = RequestReader()
        events = [event for piece in cut(start + junk, places) for event in reader.receive(piece)]
        assert all(
            isinstance(event, RequestHead | bytes | Trailers | ProtocolError) or event is END for event in events
        )
        assert not any(isinstance(event, ProtocolError) for event in events[:-1])
    answers = ResponseReader()
    answers.expect(b"GET")
    seen = [event for piece in cut(b"HTTP/1.1 200 OK\r\n" + junk, places) for event in answers.receive(piece)]
    seen += answers.end_of_stream()
    assert all(isinstance(event, ResponseHead | bytes | Trailers | ProtocolError) or event is END for event in seen)
    # It is over now, one way or the other, and once.
    assert [event is END or isinstance(event, ProtocolError) for event in seen].count(True) == 1
