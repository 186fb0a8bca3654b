"""What hostile bytes are let loose on. Each target takes any bytes and raises AssertionError where a promise is broken.

The promises: nothing but events, or the protocol's own error at the end; however the bytes are cut, the same comes of
them; what is held and what is answered is bounded.
"""

from collections.abc import Callable, Iterator
from typing import Any

import msgpack

from collectors.receivers.forward_parser import Delivery, ForwardParser, ParserLimits, ProtocolError
from sidecar.http.errors import ProtocolError as HttpError
from sidecar.http.h1_request import RequestReader
from sidecar.http.h1_response import ResponseReader
from sidecar.http.h2.connection import H2Connection
from sidecar.http.h2.errors import ErrorCode
from sidecar.http.h2.events import HEAD, ConnectionFailed, Data, Headers, Refused, Reset
from sidecar.http.h2.frames import PREFACE, head
from sidecar.http.h2.hpack_encoder import HpackEncoder
from sidecar.http.h2.settings import Limits, Settings
from sidecar.http.head import Header

_FORWARD = ParserLimits(max_message_bytes=4096, max_inflated_bytes=8192, max_elements=2000, max_array=64, max_map=64)
_MAX_ANSWERED = 256 * 1024


def _pieces(data: bytes, step: int) -> Iterator[bytes]:
    for at in range(0, len(data), step):
        yield data[at : at + step]


def _said(events: list[Any]) -> list[Any]:
    """Everything that events say, comparable; pieces of one body are one."""
    said: list[Any] = []
    for event in events:
        if isinstance(event, bytes):
            if said and isinstance(said[-1], bytes):
                said[-1] += event
            else:
                said.append(event)
        elif isinstance(event, HttpError):
            said.append(("error", event.status))
        else:
            attributes = [name for name in dir(event) if not name.startswith("_")]
            said.append(
                (
                    type(event).__name__,
                    [repr(getattr(event, name)) for name in attributes if not callable(getattr(event, name))],
                )
            )
    return said


def _errors_come_last(events: list[Any], kind: type) -> None:
    assert not any(isinstance(event, kind) for event in events[:-1]), "something followed an error"


def h1_requests(data: bytes) -> None:
    """A client's bytes; the first octet says how they are cut."""
    if not data:
        return
    whole, cut = RequestReader(), RequestReader()
    at_once = whole.receive(data[1:])
    in_pieces = [event for piece in _pieces(data[1:], data[0] % 32 + 1) for event in cut.receive(piece)]
    _errors_come_last(at_once, HttpError)
    assert _said(at_once) == _said(in_pieces)
    if at_once and isinstance(at_once[-1], HttpError):
        assert 400 <= at_once[-1].status <= 599
        assert whole.receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") == []


_METHODS = (b"GET", b"HEAD", b"CONNECT", b"POST")


def h1_responses(data: bytes) -> None:
    """An upstream's bytes; the first octet says how they are cut, and to which method they are the answer."""
    if not data:
        return
    whole, cut = ResponseReader(), ResponseReader()
    method = _METHODS[data[0] >> 6]
    for reader in (whole, cut):
        reader.expect(method)
    at_once = whole.receive(data[1:]) + whole.end_of_stream()
    in_pieces = [event for piece in _pieces(data[1:], data[0] % 32 + 1) for event in cut.receive(piece)]
    in_pieces += cut.end_of_stream()
    _errors_come_last(at_once, HttpError)
    assert _said(at_once) == _said(in_pieces)


def _h2_bytes(data: bytes) -> bytes:
    """Octets as they are, or (odd first octet) frames whose lengths are right: type, flags, stream, size, payload."""
    if not data[0] & 1:
        return data[1:]
    frames = []
    at = 1
    while at + 4 <= len(data):
        kind, flags, stream, size = data[at : at + 4]
        payload = data[at + 4 : at + 4 + size]
        frames.append(head(len(payload), kind % 12, flags, stream % 16) + payload)
        at += 4 + size
    return b"".join(frames)


def _h2(make: Callable[[], H2Connection], data: bytes) -> None:
    octets = _h2_bytes(data)
    whole, cut = make(), make()
    at_once = whole.receive(octets)
    in_pieces = [event for piece in _pieces(octets, (data[0] >> 1) % 32 + 1) for event in cut.receive(piece)]
    _errors_come_last(at_once, ConnectionFailed)
    assert _said(at_once) == _said(in_pieces)
    assert whole.take_output() == cut.take_output()
    assert whole.failed == any(isinstance(event, ConnectionFailed) for event in at_once)
    _h2_answer(cut, in_pieces)
    assert len(cut.take_output()) < _MAX_ANSWERED


def _h2_answer(connection: H2Connection, events: list[Any]) -> None:
    """What a proxy would do next: take data, answer heads, end streams."""
    for event in events:
        if isinstance(event, Data):
            connection.consumed(event.stream, event.flow)
        elif isinstance(event, Headers) and event.kind == HEAD and event.method:
            assert event.path[:1] in (b"/", b"*") or event.method == b"CONNECT"
            assert not any(character in event.path + event.authority for character in b"\r\n\0 ")
            connection.send_headers(event.stream, [(b":status", b"200")], False)
            connection.send_data(event.stream, b"x" * 1000, False)
            connection.send_headers(event.stream, [(b"grpc-status", b"0")], True)
        elif isinstance(event, Headers | Reset | Refused):
            connection.reset(event.stream, ErrorCode.CANCEL)


def _h2_end(client: bool) -> H2Connection:
    made = H2Connection(
        client=client,
        settings=Settings(max_header_list_size=1024, initial_window_size=1000, enable_connect_protocol=True),
        limits=Limits(late_frames=100, resets=20, pings=20, settings=20),
        clock=lambda: 0.0,
    )
    made.start()
    return made


def _h2_server() -> H2Connection:
    made = _h2_end(client=False)
    made.receive(PREFACE + _SETTINGS)
    made.take_output()
    return made


def _h2_client() -> H2Connection:
    made = _h2_end(client=True)
    made.receive(_SETTINGS)
    for method, end in ((b"GET", True), (b"POST", False), (b"HEAD", True), (b"CONNECT", False)):
        made.open_stream([(b":method", method), *_GET[1:]], end)
    made.take_output()
    return made


def h2_server(data: bytes) -> None:
    """A client's frames."""
    if data:
        _h2(_h2_server, data)


def h2_client(data: bytes) -> None:
    """A server's frames, to a client that has four requests under way."""
    if data:
        _h2(_h2_client, data)


def forward(data: bytes) -> None:
    """A forward-protocol sender's bytes."""
    if not data:
        return
    whole = _parse_forward([data[1:]])
    cut = _parse_forward(list(_pieces(data[1:], data[0] % 32 + 1)))
    assert (whole is None) == (cut is None)
    assert repr(whole) == repr(cut)


def _parse_forward(pieces: list[bytes]) -> list[Delivery] | None:
    parser = ForwardParser(_FORWARD)
    deliveries: list[Delivery] = []
    try:
        for piece in pieces:
            deliveries += parser.feed(piece)
            assert parser.pending_bytes <= _FORWARD.max_message_bytes
    except ProtocolError:
        return None
    return deliveries


_SETTINGS = head(0, 4, 0, 0)
_GET: list[Header] = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a.b"), (b":path", b"/")]
_OK: list[Header] = [(b":status", b"200")]


def _block(fields: list[Header]) -> bytes:
    return HpackEncoder().encode(fields)


def _script(*frames: tuple[int, int, int, bytes]) -> bytes:
    """As `_h2_bytes` reads it."""
    return b"\x0f" + b"".join(
        bytes((kind, flags, stream, len(payload))) + payload for kind, flags, stream, payload in frames
    )


_H2_CONTROL = (
    (4, 0, 0, b"\0\4\0\0\0\x64\0\5\0\0\x40\0"),
    (6, 0, 0, b"12345678"),
    (8, 0, 0, b"\0\0\1\0"),
    (2, 0, 1, b"\0\0\0\5\x10"),
    (3, 0, 1, b"\0\0\0\x08"),
    (7, 0, 0, bytes(8)),
    (5, 4, 1, b"\0\0\0\2"),
    (10, 0, 0, b"x"),
)

TARGETS: dict[str, Callable[[bytes], None]] = {
    "h1_requests": h1_requests,
    "h1_responses": h1_responses,
    "h2_server": h2_server,
    "h2_client": h2_client,
    "forward": forward,
}

SEEDS: dict[str, list[bytes]] = {
    "h1_requests": [
        b"\x03GET /a?b=c HTTP/1.1\r\nHost: a.b\r\nX-A: b\r\n\r\n" * 2,
        b"\x01POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
        b"\x06POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;e=1\r\nhello\r\n0\r\nx-t: 1\r\n\r\n",
        b"\x00GET http://a.b/c HTTP/1.0\r\nHost: a.b\r\nConnection: keep-alive, x-a\r\nX-A: 1\r\n\r\n",
        b"\x1fCONNECT a.b:443 HTTP/1.1\r\nHost: a.b:443\r\n\r\n",
        b"\x08GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"\x08OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\nUpgrade: h2c\r\nConnection: upgrade\r\nTE: trailers\r\n\r\n",
    ],
    "h1_responses": [
        b"\x03HTTP/1.1 200 OK\r\nContent-Length: 5\r\nKeep-Alive: timeout=5\r\n\r\nhello",
        b"\x05HTTP/1.1 100 Continue\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-t: 1\r\n\r\n",
        b"\x41HTTP/1.1 200 OK\r\nContent-Length: 5\r\nDate: now\r\n\r\n",
        b"\x81HTTP/1.1 200 Connection established\r\n\r\ntunnel",
        b"\xc1HTTP/1.0 404 Not Found\r\nConnection: close\r\n\r\nuntil the end",
        b"\x02HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    ],
    "h2_server": [
        b"\x06" + head(len(_block(_GET)), 1, 5, 1) + _block(_GET),
        _script(
            (1, 5, 1, _block(_GET)), (1, 4, 3, _block(_GET)), (0, 0, 3, b"hello"), (0, 9, 3, b"\2x\0\0"), *_H2_CONTROL
        ),
        _script((1, 1, 1, _block(_GET)[:5]), (9, 0, 1, b""), (9, 4, 1, _block(_GET)[5:]), (0x20 | 1, 5, 3, b"\x82")),
        _script((1, 0x2D, 1, b"\1\0\0\0\3\x10" + _block(_GET) + b"\0"), (1, 5, 1, _block([(b"a", b"b")]))),
        _script(
            (1, 4, 1, _block([*_GET, (b"content-length", b"3")])), (0, 0, 1, b"ab"), (1, 5, 1, b"\x40\1a\1b\xbe\x20")
        ),
        _script((1, 5, 1, b"\x82\x87\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff\x84\x10\1k\1v")),
    ],
    "h2_client": [
        _script(
            (1, 5, 1, _block(_OK)), (1, 4, 3, _block(_OK)), (0, 1, 3, b"hello"), (1, 5, 5, _block(_OK)), *_H2_CONTROL
        ),
        _script(
            (1, 4, 1, _block([(b":status", b"103")])), (1, 4, 1, _block(_OK)), (0, 0, 1, b"x"), (1, 5, 1, b"\0\1a\1b")
        ),
        _script((1, 4, 7, _block([*_OK, (b"content-length", b"1")])), (0, 0, 7, b"tunnel"), (3, 0, 7, bytes(4))),
        _script((7, 0, 0, b"\0\0\0\3" + bytes(4)), (8, 0, 3, b"\0\0\1\0"), (4, 1, 0, b""), (1, 5, 5, _block(_OK))),
    ],
    "forward": [
        b"\x03" + bytes(msgpack.packb(["t", 5, {"a": 1}])),
        b"\x01" + bytes(msgpack.packb(["t", [[1, {"a": [1, {"b": None}]}], [2.5, {"b": "x"}]], {"chunk": "c"}])),
        b"\x07" + bytes(msgpack.packb(["t", msgpack.packb([1, {"a": 1}]), {"size": 1, "chunk": "c"}])),
        b"\x1f" + b"\x93\xa1t\xc7\x08\x00" + bytes(8) + b"\x80\xc0",
        b"\x02"
        + bytes(
            msgpack.packb(
                [
                    "t",
                    bytes.fromhex("1f8b08000000000000ff9b90b84c520100a3c0d4ad05000000"),
                    {"compressed": "gzip"},
                ]
            )
        ),
    ],
}
"""Where the search begins: something valid of each kind, that changes make almost valid."""
