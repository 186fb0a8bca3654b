"""Microseconds of what a request pays in reading, routing and telemetry, printed: `python -m tests.bench.micro`."""

import random
import timeit
from collections.abc import Callable

from mesh.clock import SystemClock
from mesh.records import Workload
from sidecar.clusters.balancers import make_balancer
from sidecar.config.cluster import Balancing, Cluster, Service
from sidecar.config.endpoint import Address, Endpoint
from sidecar.config.listener import Direction
from sidecar.config.route import (
    Forward,
    HeaderMatch,
    MatchKind,
    Route,
    RouteConfiguration,
    RouteMatch,
    StringMatch,
    VirtualHost,
    WeightedCluster,
)
from sidecar.config.snapshot import Node
from sidecar.http.h1_request import RequestReader
from sidecar.http.h1_response import ResponseReader
from sidecar.http.head import Header, RequestHead
from sidecar.routing.regex import compile_regex
from sidecar.routing.table import RouteTable
from sidecar.telemetry.record import RequestRecord
from sidecar.telemetry.recorder import Telemetry
from sidecar.telemetry.request_id import IdSource
from sidecar.telemetry.tracing import Trace, Tracer

_TRACEPARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
_HEADERS: list[Header] = [
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0"),
    (b"accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    (b"accept-language", b"en-US,en;q=0.5"),
    (b"cookie", b"session=0123456789abcdef; theme=dark"),
]


class _Instance:
    def __init__(self, port: int) -> None:
        self.config = Endpoint(Address("10.0.0.1", port))
        self.active = 0


def main() -> None:
    """Best of seven, so that what else the machine does shows least."""
    rng = random.Random(1)
    for name, work in {**_reading(), **_routing(), **_choices(rng), **_tracing(rng), **_finishing()}.items():
        count = 20_000
        best = min(timeit.repeat(work, number=count, repeat=7)) / count
        print(f"{best * 1e6:8.2f} us  {name}")


def _reading() -> dict[str, Callable[[], object]]:
    start = b"POST /reviews/0?x=1 HTTP/1.1\r\nHost: reviews:9080\r\n"
    fields = b"".join(b"%b: %b\r\n" % header for header in _HEADERS)
    mesh = fields + b"x-request-id: f3b1d6b0-8f8e-4b7e-9f0b-0a1b2c3d4e5f\r\nx-forwarded-proto: http\r\n"
    mesh += b"traceparent: %b\r\nx-envoy-attempt-count: 1\r\nx-envoy-peer-metadata-id: sidecar~1\r\n" % _TRACEPARENT
    answer = b"HTTP/1.1 200 OK\r\nserver: a\r\ndate: Sat, 21 Nov 2026 11:44:10 GMT\r\ncontent-type: text/plain\r\n"
    length = b"content-length: 100\r\n\r\n" + b"x" * 100
    chunks = b"transfer-encoding: chunked\r\n\r\n64\r\n" + b"x" * 100 + b"\r\n0\r\n\r\n"
    requests, answers, long = RequestReader(), ResponseReader(), RequestReader()
    long.receive(start + b"content-length: 999999999999999\r\n\r\n")
    piece = b"x" * 65536

    def read(data: bytes) -> object:
        answers.expect(b"GET")
        return answers.receive(data)

    return {
        "read a request of 5 fields": lambda: requests.receive(start + fields + b"\r\n"),
        "read a mesh peer's request of 10 fields": lambda: requests.receive(start + mesh + b"\r\n"),
        "read a request with 100 bytes": lambda: requests.receive(start + fields + length),
        "read a request with a chunk": lambda: requests.receive(start + fields + chunks),
        "read an answer with 100 bytes": lambda: read(answer + length),
        "read an answer with a chunk": lambda: read(answer + chunks),
        "read 64 KiB of a body": lambda: long.receive(piece),
    }


def _routing() -> dict[str, Callable[[], object]]:
    forward = Forward((WeightedCluster("a", 1),))
    jason = RouteMatch(headers=(HeaderMatch("end-user", StringMatch(MatchKind.EXACT, "jason")),))
    usual, conditional = (Route("default", RouteMatch(), forward),), (Route("jason", jason, forward),)
    hosts = [VirtualHost(f"s{at}", (f"s{at}", f"s{at}.default.svc.cluster.local"), usual) for at in range(200)]
    hosts.append(VirtualHost("reviews", ("reviews",), (*conditional, *usual)))
    table = RouteTable(RouteConfiguration("outbound", tuple(hosts)), lambda host, route: route.name)
    plain = RequestHead(b"GET", b"/reviews/0?x=1", b"s7.default.svc.cluster.local", _HEADERS)
    matched = RequestHead(b"GET", b"/reviews/0?x=1", b"reviews", _HEADERS)
    cookie = compile_regex("^(.*?;)?(user=jason)(;.*)?$")
    return {
        "route: 200 services, one route": lambda: table.match(plain),
        "route: a header match, then the default": lambda: table.match(matched),
        "regular expression on a cookie of 36 bytes": lambda: cookie(_HEADERS[3][1]),
    }


def _choices(rng: random.Random) -> dict[str, Callable[[], object]]:
    instances = [_Instance(port) for port in range(1, 11)]
    return {
        f"pick one of ten, {balancing.value}": make_balancer(balancing, instances, rng).pick for balancing in Balancing
    }


def _tracing(rng: random.Random) -> dict[str, Callable[[], object]]:
    ids = IdSource()
    tracer = Tracer(ids, rng, 1.0)
    return {
        "request id": ids.request_id,
        "begin a trace": lambda: tracer.begin(None),
        "continue a trace": lambda: tracer.begin(_TRACEPARENT),
        "render traceparent": tracer.begin(None).render,
    }


def _finishing() -> dict[str, Callable[[], object]]:
    node = Node("sidecar~10.0.0.1~reviews-v1.default~default.svc.cluster.local", Workload("reviews-v1", "default"))
    cluster = Cluster("outbound|9080||ratings.default.svc.cluster.local", service=Service("ratings", "ratings"))
    telemetry = Telemetry(node, "epoch", SystemClock(), emit=lambda message: None)
    downstream = telemetry.downstream(Direction.OUTBOUND, "127.0.0.1:15001", "127.0.0.1:40000")
    target = telemetry.target("default", cluster)
    upstream = telemetry.upstream(cluster, Endpoint(Address("10.0.0.9", 9080)), secure=False)

    def record(flags: int = 0) -> RequestRecord:
        made = RequestRecord(downstream, 1.0, b"GET", b"/ratings/0?x=1", b"ratings:9080", "HTTP/1.1")
        made.status, made.bytes_sent, made.upstream_s = 200, 100, 0.001
        made.user_agent, made.request_id = _HEADERS[0][1], b"f3b1d6b0-8f8e-4b7e-9f0b-0a1b2c3d4e5f"
        made.target, made.upstream = target, upstream
        made.trace = Trace(b"a" * 32, b"b" * 16, None, flags)
        return made

    return {
        "make a record": record,
        "make and finish a record": lambda: telemetry.finish(record(), 1.002),
        "make and finish a record with a span": lambda: telemetry.finish(record(1), 1.002),
    }


if __name__ == "__main__":
    main()
