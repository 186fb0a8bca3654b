"""Frames, states, flow control and header rules of a server, one by one, as h2spec checks them."""

from typing import NamedTuple

import pytest

from sidecar.http.h2.errors import ErrorCode
from sidecar.http.h2.frames import PREFACE
from sidecar.http.h2.settings import Limits, Settings
from sidecar.http.head import Header
from tests.sidecar.http.h2.wire import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GET,
    GOAWAY,
    HEADERS,
    OK,
    PADDED,
    PING,
    POST,
    PRIORITIZED,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    block,
    data,
    frame,
    goaway,
    headers,
    heard,
    rst_stream,
    server,
    settings,
    told,
    window_update,
)


class Case(NamedTuple):
    name: str
    """RFC 9113's section (or another RFC), and what is sent."""
    octets: bytes
    outcome: str
    """`connection CODE`, `stream N CODE`, `refused N CODE`, or events in words, joined by commas."""


def get(stream: int = 1) -> bytes:
    return headers(stream, GET, END_HEADERS | END_STREAM)


def post(stream: int = 1, *more: Header) -> bytes:
    return headers(stream, [*POST, *more])


def asks(*fields: Header) -> bytes:
    return headers(1, fields, END_HEADERS | END_STREAM)


def without(name: bytes) -> list[Header]:
    return [field for field in GET if field[0] != name]


def having(name: bytes, value: bytes) -> list[Header]:
    return [(key, value if key == name else old) for key, old in GET]


HALF = block(POST)
CUT = len(HALF) // 2
SELF = (1).to_bytes(4, "big") + b"\x10"
OTHER = (7).to_bytes(4, "big") + b"\x10"

FRAMES = [
    Case(
        "4.1 an unknown frame type is ignored", frame(0x16, 0xFF, 0, b"12345678") + get(), "Headers 1 head 4 fields end"
    ),
    Case("4.1 an unknown frame on a stream is ignored", get() + frame(0x99, 0, 1, b"x"), "Headers 1 head 4 fields end"),
    Case("4.1 undefined flags are ignored", frame(PING, 0x16, 0, bytes(8)), ""),
    Case("4.1 the reserved bit of a stream is ignored", frame(PING, 0, 1 << 31, bytes(8)), ""),
    Case(
        "4.2 DATA of the maximum size", post() + data(1, bytes(16384)), "Headers 1 head 4 fields, Data 1 16384 octets"
    ),
    Case("4.2 DATA beyond the maximum size", post() + data(1, bytes(16385)), "connection FRAME_SIZE_ERROR"),
    Case("4.2 HEADERS beyond the maximum size", frame(HEADERS, 5, 1, bytes(16385)), "connection FRAME_SIZE_ERROR"),
    Case(
        "4.2 an unknown frame beyond the maximum size", frame(0x20, 0, 0, bytes(16385)), "connection FRAME_SIZE_ERROR"
    ),
    Case(
        "4.2 a length beyond the maximum needs no payload", frame(PING, 0, 0, b"", 65536), "connection FRAME_SIZE_ERROR"
    ),
    Case(
        "4.3 a header block that does not decode",
        frame(HEADERS, 5, 1, b"\xff\xff\xff\xff\xff\xff"),
        "connection COMPRESSION_ERROR",
    ),
    Case("4.3 a header block that is cut off", frame(HEADERS, 5, 1, b"\x41\x05ab"), "connection COMPRESSION_ERROR"),
    Case("4.3 an empty header block", frame(HEADERS, 5, 1, b""), "refused 1 PROTOCOL_ERROR"),
    Case(
        "4.3 PRIORITY inside a header block",
        frame(HEADERS, 1, 1, HALF[:CUT]) + frame(PRIORITY, 0, 1, OTHER),
        "connection PROTOCOL_ERROR",
    ),
    Case(
        "4.3 HEADERS of another stream inside a header block",
        frame(HEADERS, 1, 1, HALF[:CUT]) + get(3),
        "connection PROTOCOL_ERROR",
    ),
    Case(
        "4.3 an unknown frame inside a header block",
        frame(HEADERS, 1, 1, HALF[:CUT]) + frame(0x77),
        "connection PROTOCOL_ERROR",
    ),
]

STATES = [
    Case("5.1 idle: DATA", data(1, b"x"), "connection PROTOCOL_ERROR"),
    Case("5.1 idle: RST_STREAM", rst_stream(1, 8), "connection PROTOCOL_ERROR"),
    Case("5.1 idle: WINDOW_UPDATE", window_update(1, 5), "connection PROTOCOL_ERROR"),
    Case("5.1 idle: CONTINUATION", frame(CONTINUATION, END_HEADERS, 1, HALF), "connection PROTOCOL_ERROR"),
    Case("5.1 idle: PRIORITY", frame(PRIORITY, 0, 1, OTHER), ""),
    Case(
        "5.1 an even stream that we never opened: WINDOW_UPDATE",
        get() + window_update(2, 5),
        "connection PROTOCOL_ERROR",
    ),
    Case("5.1 half-closed (remote): DATA", get() + data(1, b"x"), "stream 1 STREAM_CLOSED"),
    Case("5.1 half-closed (remote): HEADERS", get() + get(), "stream 1 STREAM_CLOSED"),
    Case(
        "5.1 half-closed (remote): CONTINUATION",
        get() + frame(CONTINUATION, END_HEADERS, 1, HALF),
        "connection PROTOCOL_ERROR",
    ),
    Case("5.1 half-closed (remote): WINDOW_UPDATE", get() + window_update(1, 5), "Headers 1 head 4 fields end"),
    Case("5.1 half-closed (remote): PRIORITY", get() + frame(PRIORITY, 0, 1, OTHER), "Headers 1 head 4 fields end"),
    Case(
        "5.1 half-closed (remote): RST_STREAM", get() + rst_stream(1, 8), "Headers 1 head 4 fields end, Reset 1 CANCEL"
    ),
    Case("5.1 reset by the client: DATA", post() + rst_stream(1, 8) + data(1, b"x"), "connection STREAM_CLOSED"),
    Case("5.1 reset by the client: HEADERS", post() + rst_stream(1, 8) + get(), "connection STREAM_CLOSED"),
    Case(
        "5.1 reset by the client: RST_STREAM", post() + rst_stream(1, 8) * 2, "Headers 1 head 4 fields, Reset 1 CANCEL"
    ),
    Case(
        "5.1 reset by the client: WINDOW_UPDATE",
        post() + rst_stream(1, 8) + window_update(1, 9),
        "Headers 1 head 4 fields, Reset 1 CANCEL",
    ),
    Case(
        "5.1 reset by the client: PRIORITY",
        post() + rst_stream(1, 8) + frame(PRIORITY, 0, 1, OTHER),
        "Headers 1 head 4 fields, Reset 1 CANCEL",
    ),
    Case(
        "5.1 reset by us: DATA that was on its way", post(1, (b"Bad", b"")) + data(1, b"x"), "refused 1 PROTOCOL_ERROR"
    ),
    Case(
        "5.1 reset by us: trailers that were on their way",
        post(1, (b"Bad", b"")) + headers(1, [(b"a", b"b")], 5),
        "refused 1 PROTOCOL_ERROR",
    ),
    Case("5.1 reset by us: RST_STREAM crosses", post(1, (b"Bad", b"")) + rst_stream(1, 8), "refused 1 PROTOCOL_ERROR"),
    Case("5.1.1 a client's stream with an even number", get(2), "connection PROTOCOL_ERROR"),
    Case("5.1.1 a number below the last one's", get(5) + get(3), "connection PROTOCOL_ERROR"),
    Case("5.1.1 numbers may be left out", get(5) + get(9), "Headers 5 head 4 fields end, Headers 9 head 4 fields end"),
    Case("5.1.1 HEADERS on no stream", frame(HEADERS, 5, 0, block(GET)), "connection PROTOCOL_ERROR"),
    Case("5.1.2 a stream beyond the limit", post(1) + post(3) + post(5), "refused 5 REFUSED_STREAM"),
    Case(
        "5.1.2 a stream within the limit once another is over",
        post(1) + post(3) + rst_stream(1, 8) + get(5),
        "Headers 1 head 4 fields, Headers 3 head 4 fields, Reset 1 CANCEL, Headers 5 head 4 fields end",
    ),
    Case(
        "5.3.1 HEADERS with priority",
        frame(HEADERS, 5 | PRIORITIZED, 1, OTHER + block(GET)),
        "Headers 1 head 4 fields end",
    ),
    Case(
        "5.3.1 HEADERS that depend on themselves",
        frame(HEADERS, 5 | PRIORITIZED, 1, SELF + block(GET)),
        "refused 1 PROTOCOL_ERROR",
    ),
    Case(
        "5.3.1 PRIORITY that depends on itself, open", post() + frame(PRIORITY, 0, 1, SELF), "stream 1 PROTOCOL_ERROR"
    ),
    Case("5.3.1 PRIORITY that depends on itself, idle", frame(PRIORITY, 0, 1, SELF), "connection PROTOCOL_ERROR"),
]

TYPES = [
    Case("6.1 DATA on no stream", data(0, b"x"), "connection PROTOCOL_ERROR"),
    Case(
        "6.1 padded DATA", post() + frame(DATA, PADDED, 1, b"\x03abc\0\0\0"), "Headers 1 head 4 fields, Data 1 3 octets"
    ),
    Case(
        "6.1 DATA of padding alone, that ends",
        post() + frame(DATA, PADDED | 1, 1, b"\x02\0\0"),
        "Headers 1 head 4 fields, Data 1 0 octets end",
    ),
    Case(
        "6.1 DATA with as much padding as payload",
        post() + frame(DATA, PADDED, 1, b"\x03abc"[:3]),
        "connection PROTOCOL_ERROR",
    ),
    Case(
        "6.1 DATA with more padding than payload",
        post() + frame(DATA, PADDED, 1, b"\xffabc"),
        "connection PROTOCOL_ERROR",
    ),
    Case("6.1 padded DATA without its padding's length", post() + frame(DATA, PADDED, 1), "connection PROTOCOL_ERROR"),
    Case(
        "6.2 padded HEADERS",
        frame(HEADERS, 5 | PADDED, 1, b"\x02" + block(GET) + b"\0\0"),
        "Headers 1 head 4 fields end",
    ),
    Case(
        "6.2 padded HEADERS with priority",
        frame(HEADERS, 5 | PADDED | PRIORITIZED, 1, b"\x02" + OTHER + block(GET) + b"\0\0"),
        "Headers 1 head 4 fields end",
    ),
    Case(
        "6.2 HEADERS with more padding than payload",
        frame(HEADERS, 5 | PADDED, 1, b"\xff" + block(GET)),
        "connection PROTOCOL_ERROR",
    ),
    Case("6.2 padded HEADERS without its padding's length", frame(HEADERS, 5 | PADDED, 1), "connection PROTOCOL_ERROR"),
    Case(
        "6.2 HEADERS too short for their priority",
        frame(HEADERS, 5 | PRIORITIZED, 1, b"\0\0"),
        "connection PROTOCOL_ERROR",
    ),
    Case("6.3 PRIORITY on no stream", frame(PRIORITY, 0, 0, OTHER), "connection PROTOCOL_ERROR"),
    Case("6.3 PRIORITY of another size, open", post() + frame(PRIORITY, 0, 1, OTHER[:4]), "stream 1 FRAME_SIZE_ERROR"),
    Case("6.3 PRIORITY of another size, idle", frame(PRIORITY, 0, 1, OTHER[:4]), "connection FRAME_SIZE_ERROR"),
    Case("6.4 RST_STREAM on no stream", rst_stream(0, 8), "connection PROTOCOL_ERROR"),
    Case("6.4 RST_STREAM of another size", post() + frame(RST_STREAM, 0, 1, b"\0\0\0"), "connection FRAME_SIZE_ERROR"),
    Case("6.5 SETTINGS acknowledged with a payload", frame(SETTINGS, ACK, 0, b"\0"), "connection FRAME_SIZE_ERROR"),
    Case("6.5 SETTINGS on a stream", frame(SETTINGS, 0, 1), "connection PROTOCOL_ERROR"),
    Case("6.5 SETTINGS acknowledged on a stream", frame(SETTINGS, ACK, 1), "connection PROTOCOL_ERROR"),
    Case(
        "6.5 SETTINGS whose size is no multiple of six", frame(SETTINGS, 0, 0, b"\0\0\0"), "connection FRAME_SIZE_ERROR"
    ),
    Case("6.5.2 push that is neither on nor off", settings((2, 2)), "connection PROTOCOL_ERROR"),
    Case("6.5.2 a client may enable push, and gets none", settings((2, 1)), "SettingsChanged"),
    Case("6.5.2 an initial window beyond 2^31-1", settings((4, 2**31)), "connection FLOW_CONTROL_ERROR"),
    Case("6.5.2 the largest initial window", settings((4, 2**31 - 1)), "SettingsChanged"),
    Case("6.5.2 a maximum frame size below the minimum", settings((5, 16383)), "connection PROTOCOL_ERROR"),
    Case("6.5.2 a maximum frame size beyond 2^24-1", settings((5, 2**24)), "connection PROTOCOL_ERROR"),
    Case("6.5.2 the largest maximum frame size", settings((5, 2**24 - 1)), "SettingsChanged"),
    Case("6.5.2 an unknown setting", settings((0xFF, 1)), "SettingsChanged"),
    Case("6.5.2 no table at all", settings((1, 0)), "SettingsChanged"),
    Case("6.5.3 SETTINGS are acknowledged", settings((3, 50)), "SettingsChanged"),
    Case("6.5.3 an acknowledgement of nothing", settings(flags=ACK), ""),
    Case("8441 3 extended CONNECT neither on nor off", settings((8, 2)), "connection PROTOCOL_ERROR"),
    Case("8441 3 extended CONNECT taken back", settings((8, 1)) + settings((8, 0)), "connection PROTOCOL_ERROR"),
    Case(
        "6.6 PUSH_PROMISE of a client",
        post() + frame(PUSH_PROMISE, 4, 1, (2).to_bytes(4, "big") + block(GET)),
        "connection PROTOCOL_ERROR",
    ),
    Case("6.7 PING", frame(PING, 0, 0, b"12345678"), ""),
    Case("6.7 PING on a stream", frame(PING, 0, 1, bytes(8)), "connection PROTOCOL_ERROR"),
    Case("6.7 PING of another size", frame(PING, 0, 0, bytes(6)), "connection FRAME_SIZE_ERROR"),
    Case("6.7 PING answered", frame(PING, ACK, 0, b"12345678"), "PingAnswered"),
    Case("6.8 GOAWAY", goaway(0, 0), "GoneAway last 0 code 0"),
    Case("6.8 GOAWAY, and requests go on", goaway(0, 0) + get(), "GoneAway last 0 code 0, Headers 1 head 4 fields end"),
    Case("6.8 GOAWAY on a stream", frame(GOAWAY, 0, 1, bytes(8)), "connection PROTOCOL_ERROR"),
    Case("6.8 GOAWAY too short", frame(GOAWAY, 0, 0, bytes(7)), "connection FRAME_SIZE_ERROR"),
    Case("6.8 GOAWAY that takes back an earlier one", goaway(0, 0) + goaway(2, 0), "connection PROTOCOL_ERROR"),
    Case("6.9 WINDOW_UPDATE of nothing", window_update(0, 0), "connection PROTOCOL_ERROR"),
    Case("6.9 WINDOW_UPDATE of nothing on a stream", post() + window_update(1, 0), "stream 1 PROTOCOL_ERROR"),
    Case("6.9 WINDOW_UPDATE of another size", frame(WINDOW_UPDATE, 0, 0, bytes(3)), "connection FRAME_SIZE_ERROR"),
    Case(
        "6.9 WINDOW_UPDATE of another size on a stream",
        post() + frame(WINDOW_UPDATE, 0, 1, bytes(5)),
        "connection FRAME_SIZE_ERROR",
    ),
    Case("6.9.1 the connection's window beyond 2^31-1", window_update(0, 2**31 - 1), "connection FLOW_CONTROL_ERROR"),
    Case("6.9.1 a stream's window beyond 2^31-1", post() + window_update(1, 2**31 - 1), "stream 1 FLOW_CONTROL_ERROR"),
    Case("6.9.1 the largest window", window_update(0, 2**31 - 1 - 65535), ""),
    Case(
        "6.9.2 SETTINGS lift a stream's window beyond 2^31-1",
        post() + window_update(1, 2**31 - 1 - 65535) + settings((4, 65536)),
        "connection FLOW_CONTROL_ERROR",
    ),
    Case(
        "6.10 CONTINUATIONs",
        frame(HEADERS, 1, 1, HALF[:3]) + frame(CONTINUATION, 0, 1, HALF[3:CUT]) + frame(CONTINUATION, 4, 1, HALF[CUT:]),
        "Headers 1 head 4 fields end",
    ),
    Case(
        "6.10 CONTINUATION of another stream",
        frame(HEADERS, 1, 1, HALF[:CUT]) + frame(CONTINUATION, 4, 3, HALF[CUT:]),
        "connection PROTOCOL_ERROR",
    ),
    Case(
        "6.10 CONTINUATION on no stream",
        frame(HEADERS, 1, 1, HALF[:CUT]) + frame(CONTINUATION, 4, 0, HALF[CUT:]),
        "connection PROTOCOL_ERROR",
    ),
    Case("6.10 CONTINUATION behind END_HEADERS", post() + frame(CONTINUATION, 4, 1, b""), "connection PROTOCOL_ERROR"),
    Case(
        "6.10 CONTINUATION behind DATA",
        post() + data(1, b"x") + frame(CONTINUATION, 4, 1, b""),
        "connection PROTOCOL_ERROR",
    ),
    Case(
        "6.10 CONTINUATION behind CONTINUATION with END_HEADERS",
        frame(HEADERS, 1, 1, HALF[:CUT]) + frame(CONTINUATION, 4, 1, HALF[CUT:]) + frame(CONTINUATION, 4, 1, b""),
        "connection PROTOCOL_ERROR",
    ),
]

MESSAGES = [
    Case(
        "8.1 trailers",
        post() + data(1, b"x") + headers(1, [(b"a", b"b")], 5),
        "Headers 1 head 4 fields, Data 1 1 octets, Headers 1 trailers 1 fields end",
    ),
    Case(
        "8.1 trailers without a body",
        post() + headers(1, [(b"a", b"b")], 5),
        "Headers 1 head 4 fields, Headers 1 trailers 1 fields end",
    ),
    Case("8.1 a second head", post() + headers(1, [(b"a", b"b")], 4), "stream 1 PROTOCOL_ERROR"),
    Case("8.1 a pseudo-header in trailers", post() + headers(1, [(b":method", b"GET")], 5), "stream 1 PROTOCOL_ERROR"),
    Case("8.1 an upper-case name in trailers", post() + headers(1, [(b"A", b"b")], 5), "stream 1 PROTOCOL_ERROR"),
    Case(
        "8.1.1 content-length and DATA agree",
        post(1, (b"content-length", b"3")) + data(1, b"ab") + data(1, b"c", 1),
        "Headers 1 head 5 fields, Data 1 2 octets, Data 1 1 octets end",
    ),
    Case(
        "8.1.1 less DATA than content-length",
        post(1, (b"content-length", b"3")) + data(1, b"ab", 1),
        "stream 1 PROTOCOL_ERROR",
    ),
    Case(
        "8.1.1 more DATA than content-length",
        post(1, (b"content-length", b"3")) + data(1, b"abcd"),
        "stream 1 PROTOCOL_ERROR",
    ),
    Case("8.1.1 content-length and no DATA", asks(*GET, (b"content-length", b"3")), "refused 1 PROTOCOL_ERROR"),
    Case(
        "8.1.1 trailers before content-length is full",
        post(1, (b"content-length", b"3")) + data(1, b"a") + headers(1, [(b"a", b"b")], 5),
        "stream 1 PROTOCOL_ERROR",
    ),
    Case("8.1.1 content-length of 0 and no DATA", asks(*GET, (b"content-length", b"0")), "Headers 1 head 5 fields end"),
    Case(
        "8.1.1 two content-lengths",
        post(1, (b"content-length", b"3"), (b"content-length", b"3")),
        "refused 1 PROTOCOL_ERROR",
    ),
    Case("8.1.1 content-length with a sign", post(1, (b"content-length", b"+3")), "refused 1 PROTOCOL_ERROR"),
    Case("8.1.1 content-length as a list", post(1, (b"content-length", b"3, 3")), "refused 1 PROTOCOL_ERROR"),
    Case("8.1.1 content-length beyond 18 digits", post(1, (b"content-length", b"1" * 19)), "refused 1 PROTOCOL_ERROR"),
    Case("8.1.1 content-length of nothing", post(1, (b"content-length", b"")), "refused 1 PROTOCOL_ERROR"),
    Case("8.2 an upper-case name", asks(*GET, (b"X-Test", b"ok")), "refused 1 PROTOCOL_ERROR"),
    Case("8.2.1 an empty name", asks(*GET, (b"", b"ok")), "refused 1 PROTOCOL_ERROR"),
    Case("8.2.1 a space in a name", asks(*GET, (b"x y", b"ok")), "refused 1 PROTOCOL_ERROR"),
    Case("8.2.1 a colon in a name", asks(*GET, (b"x:y", b"ok")), "refused 1 PROTOCOL_ERROR"),
    Case("8.2.1 NUL in a name", asks(*GET, (b"x\0y", b"ok")), "refused 1 PROTOCOL_ERROR"),
    Case("8.2.1 an octet beyond ASCII in a name", asks(*GET, (b"x\xc3\xa4", b"ok")), "refused 1 PROTOCOL_ERROR"),
    Case("8.2.1 CR in a value", asks(*GET, (b"x", b"a\rb")), "refused 1 PROTOCOL_ERROR"),
    Case("8.2.1 LF in a value", asks(*GET, (b"x", b"a\nb: c")), "refused 1 PROTOCOL_ERROR"),
    Case("8.2.1 NUL in a value", asks(*GET, (b"x", b"a\0")), "refused 1 PROTOCOL_ERROR"),
    Case("8.2.1 DEL in a value", asks(*GET, (b"x", b"a\x7f")), "refused 1 PROTOCOL_ERROR"),
    Case("8.2.1 a value that begins with a space", asks(*GET, (b"x", b" a")), "refused 1 PROTOCOL_ERROR"),
    Case("8.2.1 a value that ends with a tab", asks(*GET, (b"x", b"a\t")), "refused 1 PROTOCOL_ERROR"),
    Case(
        "8.2.1 a tab and octets beyond ASCII within a value",
        asks(*GET, (b"x", b"a\t\xc3\xa4 b")),
        "Headers 1 head 5 fields end",
    ),
    Case("8.2.1 an empty value", asks(*GET, (b"x", b"")), "Headers 1 head 5 fields end"),
    *(
        Case(
            f"8.2.2 the connection-specific field {name.decode()}", asks(*GET, (name, b"x")), "refused 1 PROTOCOL_ERROR"
        )
        for name in (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
    ),
    Case("8.2.2 te: trailers", asks(*GET, (b"te", b"trailers")), "Headers 1 head 5 fields end"),
    Case(
        "8.2.2 te with more than trailers", asks(*GET, (b"te", b"trailers, deflate;q=0.5")), "refused 1 PROTOCOL_ERROR"
    ),
    Case("8.3 an unknown pseudo-header", asks(*GET, (b":test", b"ok")), "refused 1 PROTOCOL_ERROR"),
    Case("8.3 a response's pseudo-header", asks(*GET, (b":status", b"200")), "refused 1 PROTOCOL_ERROR"),
    Case("8.3 a pseudo-header behind another field", asks(*GET[:3], (b"x", b"y"), GET[3]), "refused 1 PROTOCOL_ERROR"),
    *(
        Case(f"8.3.1 {name.decode()} twice", asks((name, value), *GET), "refused 1 PROTOCOL_ERROR")
        for name, value in GET
    ),
    Case("8.3.1 no :method", asks(*without(b":method")), "refused 1 PROTOCOL_ERROR"),
    Case("8.3.1 no :scheme", asks(*without(b":scheme")), "refused 1 PROTOCOL_ERROR"),
    Case("8.3.1 no :path", asks(*without(b":path")), "refused 1 PROTOCOL_ERROR"),
    Case("8.3.1 an empty :path", asks(*having(b":path", b"")), "refused 1 PROTOCOL_ERROR"),
    Case("8.3.1 a :path without a slash", asks(*having(b":path", b"a/b")), "refused 1 PROTOCOL_ERROR"),
    Case("8.3.1 a :path with a space", asks(*having(b":path", b"/a HTTP/1.1")), "refused 1 PROTOCOL_ERROR"),
    Case("8.3.1 a :path with CR LF", asks(*having(b":path", b"/ HTTP/1.1\r\nx: y")), "refused 1 PROTOCOL_ERROR"),
    Case("8.3.1 a :path with a fragment", asks(*having(b":path", b"/a#b")), "refused 1 PROTOCOL_ERROR"),
    Case("8.3.1 a :path in absolute form", asks(*having(b":path", b"http://a.b/")), "refused 1 PROTOCOL_ERROR"),
    Case(
        "8.3.1 * for OPTIONS",
        asks((b":method", b"OPTIONS"), *having(b":path", b"*")[1:]),
        "Headers 1 head 4 fields end",
    ),
    Case("8.3.1 * for another method", asks(*having(b":path", b"*")), "refused 1 PROTOCOL_ERROR"),
    Case("8.3.1 a :method that is no token", asks(*having(b":method", b"GET /")), "refused 1 PROTOCOL_ERROR"),
    Case("8.3.1 an empty :method", asks(*having(b":method", b"")), "refused 1 PROTOCOL_ERROR"),
    Case("8.3.1 a :scheme that is none", asks(*having(b":scheme", b"ht tp")), "refused 1 PROTOCOL_ERROR"),
    Case("8.3.1 an empty :scheme", asks(*having(b":scheme", b"")), "refused 1 PROTOCOL_ERROR"),
    Case("8.3.1 an :authority that names a user", asks(*having(b":authority", b"me@a.b")), "refused 1 PROTOCOL_ERROR"),
    *(
        Case(
            f"8.3.1 the :authority {text.decode('latin-1')!r}",
            asks(*having(b":authority", text)),
            "refused 1 PROTOCOL_ERROR",
        )
        for text in (b"a b", b"a.b/c", b"a.b?c", b"a.b#c", b"a\\b", b"\xc3\xa4.b")
    ),
    Case(
        "8.3.1 a host that names a user",
        asks(*without(b":authority"), (b"host", b"me@a.b")),
        "refused 1 PROTOCOL_ERROR",
    ),
    Case("8.3.1 an empty host", asks(*without(b":authority"), (b"host", b"")), "refused 1 PROTOCOL_ERROR"),
    Case("8.3.1 an empty :authority", asks(*having(b":authority", b"")), "refused 1 PROTOCOL_ERROR"),
    Case(
        "8.3.1 host instead of :authority",
        asks(*without(b":authority"), (b"host", b"a.b")),
        "Headers 1 head 4 fields end",
    ),
    Case("8.3.1 host that agrees with :authority", asks(*GET, (b"host", b"A.b")), "Headers 1 head 5 fields end"),
    Case("8.3.1 host that differs from :authority", asks(*GET, (b"host", b"c.d")), "refused 1 PROTOCOL_ERROR"),
    Case("8.3.1 host twice", asks(*GET, (b"host", b"a.b"), (b"host", b"a.b")), "refused 1 PROTOCOL_ERROR"),
    Case("8.5 CONNECT", headers(1, [(b":method", b"CONNECT"), (b":authority", b"a.b:443")]), "Headers 1 head 2 fields"),
    Case("8.5 CONNECT without :authority", headers(1, [(b":method", b"CONNECT")]), "refused 1 PROTOCOL_ERROR"),
    Case(
        "8.5 CONNECT with :scheme and :path",
        headers(1, [(b":method", b"CONNECT"), *GET[1:]]),
        "refused 1 PROTOCOL_ERROR",
    ),
    Case(
        "8441 4 :protocol that was not offered",
        headers(1, [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *GET[1:]]),
        "refused 1 PROTOCOL_ERROR",
    ),
    Case("8441 4 :protocol without CONNECT", asks((b":protocol", b"websocket"), *GET), "refused 1 PROTOCOL_ERROR"),
]

CASES = [*FRAMES, *STATES, *TYPES, *MESSAGES]
SMALL = Settings(max_concurrent_streams=2)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_server_answers_as_the_rfc_has_it(case: Case) -> None:
    connection = server(SMALL)
    events = heard(connection.receive(case.octets))
    output = told(connection)
    kind, _, rest = case.outcome.partition(" ")
    if kind == "connection":
        assert events[-1] == f"ConnectionFailed {rest}"
        assert output[-1].startswith("GOAWAY ")
        assert output[-1].endswith(rest)
        assert connection.failed
        assert connection.open_streams == 0
        assert connection.receive(get(11)) == []  # nothing is read any more
        return
    if kind in ("stream", "refused"):
        assert f"RST_STREAM {rest}" in output
        assert events[-1] == (f"Reset {rest} local" if kind == "stream" else f"Refused {rest}")
    else:
        assert ", ".join(events) == case.outcome
        assert not any(line.startswith(("RST_STREAM", "GOAWAY")) for line in output)
    # The connection goes on: tables, windows and states are as they should be.
    for stream in (1, 3, 5, 9):
        connection.reset(stream, ErrorCode.NO_ERROR)
    assert heard(connection.receive(post(21) + data(21, b"on", 1))) == [
        "Headers 21 head 4 fields",
        "Data 21 2 octets end",
    ]
    connection.receive(frame(PING, 0, 0, b"stillall"))
    assert told(connection)[-1] == "PING ack"


def test_the_table_has_the_number_of_cases_that_it_is_meant_to_have() -> None:
    assert len(CASES) >= 120
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", "no connection preface", id="HTTP/1.1 instead of the preface"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nXM\r\n\r\n", "no connection preface", id="a preface with another word"),
        pytest.param(PREFACE + get(), "the first frame is not SETTINGS", id="no SETTINGS"),
        pytest.param(PREFACE + settings(flags=ACK), "the first frame is not SETTINGS", id="an acknowledgement first"),
    ],
)
def test_a_connection_begins_with_preface_and_settings(octets: bytes, why: str) -> None:
    connection = server(settled=False)
    events = connection.receive(octets)
    assert heard(events) == ["ConnectionFailed PROTOCOL_ERROR"]
    assert why in repr(events[0])


def test_the_preface_may_come_octet_by_octet() -> None:
    connection = server(settled=False)
    events = [event for at in range(len(PREFACE)) for event in connection.receive(PREFACE[at : at + 1])]
    assert events == []
    assert heard(connection.receive(settings() + get())) == ["SettingsChanged", "Headers 1 head 4 fields end"]
    assert told(connection) == ["SETTINGS", "WINDOW_UPDATE 0 +983041", "SETTINGS ack"]


def test_extended_connect_is_taken_where_it_is_offered() -> None:
    connection = server(Settings(enable_connect_protocol=True))
    fields = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *GET[1:]]
    (event,) = connection.receive(headers(1, fields))
    assert (event.protocol, event.path, event.scheme) == (b"websocket", b"/", b"http")  # type: ignore[attr-defined]


def test_a_scheme_in_mixed_case_is_lowered() -> None:
    (event,) = server().receive(asks(*having(b":scheme", b"HttP")))
    assert event.scheme == b"http"  # type: ignore[attr-defined]


def test_too_many_or_too_large_fields_are_answered_431_and_the_tables_stay_right() -> None:
    connection = server(Settings(max_header_list_size=4096))
    for stream, more in ((1, [(b"x", b"y")] * 97), (3, [(b"x", b"y" * 4000)])):
        events = connection.receive(headers(stream, [*GET, *more], 5))
        assert heard(events) == [f"Refused {stream} NO_ERROR"]
        assert events[0].status == 431  # type: ignore[attr-defined]
        assert told(connection) == [f"HEADERS {stream} end", f"RST_STREAM {stream} NO_ERROR"]
    assert heard(connection.receive(headers(5, [*GET, *[(b"x", b"y")] * 96], 5))) == ["Headers 5 head 100 fields end"]


def test_a_stream_over_the_limit_is_accepted_again_later() -> None:
    connection = server(Settings(max_concurrent_streams=1))
    connection.receive(get(1))
    assert heard(connection.receive(get(3))) == ["Refused 3 REFUSED_STREAM"]
    connection.send_headers(1, OK, True)
    assert heard(connection.receive(get(5))) == ["Headers 5 head 4 fields end"]


def test_after_the_last_goodbye_new_streams_are_passed_over_and_old_ones_go_on() -> None:
    connection = server(limits=Limits())
    connection.receive(post(1))
    connection.goaway(ErrorCode.NO_ERROR, graceful=False)
    assert told(connection) == ["GOAWAY 1 NO_ERROR"]
    assert connection.receive(post(3) + data(3, b"lost")) == []
    assert heard(connection.receive(data(1, b"kept", 1))) == ["Data 1 4 octets end"]


def test_the_table_follows_also_on_streams_that_are_over() -> None:
    """A header block must be decoded wherever it comes (4.3)."""
    connection = server()
    connection.receive(post(1))
    connection.reset(1, ErrorCode.CANCEL)
    assert connection.receive(frame(HEADERS, 5, 1, b"\x40\x06x-long\x0a1234567890")) == []
    (event,) = connection.receive(frame(HEADERS, 5, 3, block(GET) + b"\xbe"))
    assert event.fields == [*GET, (b"x-long", b"1234567890")]  # type: ignore[attr-defined]
