"""Microseconds that HTTP/2's codec takes of one small unary request: `python -m tests.bench.h2`. Printed, not judged.

One side's share of relaying it: as a server HEADERS and DATA in, HEADERS, DATA and trailers out; as a client the
reverse. Requests differ in their ids, as real ones do. Beside it, the libraries that are installed.
"""

import sys
import timeit
from collections.abc import Callable
from importlib.util import find_spec

from sidecar.http.h2 import connection
from sidecar.http.h2.connection import H2Connection
from sidecar.http.h2.events import Data
from sidecar.http.h2.hpack_decoder import HpackDecoder
from sidecar.http.h2.hpack_encoder import HpackEncoder
from sidecar.http.h2.settings import Limits, Settings
from sidecar.http.head import Header

COUNT = 5000

_BODY = b"\0\0\0\0\x5f" + b"x" * 95
_RESPONSE: list[Header] = [
    (b":status", b"200"),
    (b"content-type", b"application/grpc"),
    (b"date", b"Sat, 21 Nov 2026 13:22:11 GMT"),
    (b"server", b"envoy"),
    (b"x-envoy-upstream-service-time", b"3"),
]
_TRAILERS: list[Header] = [(b"grpc-status", b"0"), (b"grpc-message", b"")]


def _request(number: int) -> list[Header]:
    return [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":authority", b"reviews:9080"),
        (b":path", b"/reviews.Reviews/List"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
        (b"grpc-timeout", b"10S"),
        (b"user-agent", b"grpc-python/1.76 grpc-c/45"),
        (b"x-request-id", b"f3b1d6b0-8f8e-4b7e-9f0b-%012d" % number),
        (b"traceparent", b"00-%032x-b7ad6b7169203331-00" % number),
    ]


def _time(name: str, prepare: Callable[[], Callable[[], None]], count: int = COUNT) -> None:
    """Best of five fresh connections, so that what else the machine does shows least."""
    best = min(timeit.timeit(prepare(), number=1) for _ in range(5)) / count
    print(f"{best * 1e6:8.2f} us  {name}")


def _connection(client: bool) -> H2Connection:
    made = H2Connection(client=client, settings=Settings(), limits=Limits(), clock=lambda: 0.0)
    made.start()
    return made


def _requests(count: int) -> tuple[bytes, list[bytes]]:
    """What a client of ours sends: its beginning, and a piece for each request."""
    client = _connection(client=True)
    start = client.take_output()
    client.receive(_connection(client=False).take_output())
    start += client.take_output()
    pieces = []
    for number in range(count):
        stream = client.open_stream(_request(number), False)
        client.send_data(stream, _BODY, True)
        pieces.append(client.take_output())
        client.reset(stream, connection.ErrorCode.NO_ERROR)
        client.take_output()
    return start, pieces


def _server() -> Callable[[], None]:
    start, pieces = _requests(COUNT)
    server = _connection(client=False)
    server.receive(start)
    server.take_output()

    def work() -> None:
        for piece in pieces:
            for event in server.receive(piece):
                if event.__class__ is Data:
                    server.consumed(event.stream, event.flow)
                    server.send_headers(event.stream, _RESPONSE, False)
                    server.send_data(event.stream, _BODY, False)
                    server.send_headers(event.stream, _TRAILERS, True)
            server.take_output()

    return work


def _client() -> Callable[[], None]:
    server = _connection(client=False)
    start, pieces = _requests(COUNT)
    server.receive(start)
    beginning, answers = server.take_output(), []
    for piece in pieces:
        stream = server.receive(piece)[0].stream
        server.send_headers(stream, _RESPONSE, False)
        server.send_data(stream, _BODY, False)
        server.send_headers(stream, _TRAILERS, True)
        answers.append(server.take_output())
    client = _connection(client=True)
    client.receive(beginning)
    heads = [_request(number) for number in range(COUNT)]

    def work() -> None:
        for head, answer in zip(heads, answers, strict=True):
            stream = client.open_stream(head, False)
            client.send_data(stream, _BODY, True)
            client.take_output()
            for event in client.receive(answer):
                if event.__class__ is Data:
                    client.consumed(event.stream, event.flow)

    return work


def _hpack_encode() -> Callable[[], None]:
    encoder = HpackEncoder()
    heads = [_request(number) for number in range(COUNT)]

    def work() -> None:
        for head in heads:
            encoder.encode(head)

    return work


def _hpack_decode() -> Callable[[], None]:
    encoder, decoder = HpackEncoder(), HpackDecoder(60 * 1024, 100)
    blocks = [encoder.encode(_request(number)) for number in range(COUNT)]

    def work() -> None:
        for block in blocks:
            decoder.decode(block)

    return work


def _library(name: str, count: int) -> Callable[[], None]:
    """The server's share through h2's API, of which jh2 is another implementation."""
    h2 = __import__(f"{name}.connection", fromlist=["connection"])
    config = __import__(f"{name}.config", fromlist=["config"])
    events = __import__(f"{name}.events", fromlist=["events"])
    start, pieces = _requests(count)
    server = h2.H2Connection(config.H2Configuration(client_side=False, header_encoding=None))
    server.initiate_connection()
    server.receive_data(start)
    server.data_to_send()

    def work() -> None:
        for piece in pieces:
            for event in server.receive_data(piece):
                if event.__class__ is events.DataReceived:
                    server.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    server.send_headers(event.stream_id, _RESPONSE)
                    server.send_data(event.stream_id, _BODY)
                    server.send_headers(event.stream_id, _TRAILERS, end_stream=True)
            server.data_to_send()

    return work


def main() -> None:
    print(f"{'compiled' if connection.__file__.endswith('.so') else 'interpreted'}, Python {sys.version.split()[0]}")
    _time("server: HEADERS, DATA in; HEADERS, DATA, trailers out", _server)
    _time("client: HEADERS, DATA out; HEADERS, DATA, trailers in", _client)
    _time("HPACK: encode ten fields", _hpack_encode)
    _time("HPACK: decode ten fields", _hpack_decode)
    for name in ("h2", "jh2"):
        if find_spec(name):
            _time(f"server, by {name}", lambda name=name: _library(name, 500), 500)


if __name__ == "__main__":
    main()
