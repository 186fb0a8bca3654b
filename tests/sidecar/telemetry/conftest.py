"""A worker's telemetry under a fake clock, and requests for it."""

from collections.abc import Callable
from typing import Any

import msgpack
import pytest

from mesh.records import Workload
from sidecar.config.cluster import Cluster, Service
from sidecar.config.endpoint import Address, Endpoint
from sidecar.config.listener import Direction
from sidecar.config.messages import AccessLog, Metrics, Spans
from sidecar.config.snapshot import Node
from sidecar.telemetry.bindings import Downstream
from sidecar.telemetry.record import RequestRecord
from sidecar.telemetry.recorder import Limits, Telemetry
from sidecar.telemetry.tracing import Trace

SELF = Workload(
    "reviews-v1", "default", "reviews", "v1", "reviews", "v1", "laptop", "spiffe://cluster.local/ns/default/sa/reviews"
)
PEER = Workload(
    "ratings-v1", "shop", "ratings", "v1", "ratings", "v1", "laptop", "spiffe://cluster.local/ns/shop/sa/ratings"
)
RATINGS = Endpoint(Address("10.0.0.9", 9080), tls=True, workload=PEER)
OUTBOUND = Cluster(
    "outbound|9080||ratings.shop.svc.cluster.local",
    endpoints=(RATINGS,),
    service=Service("ratings.shop.svc.cluster.local", "ratings", "shop"),
)
INBOUND = Cluster("inbound|9080||", service=Service("reviews.default.svc.cluster.local", "reviews", "default"))
APP = Endpoint(Address("127.0.0.1", 9080))


class FakeClock:
    """2026-01-31T12:00:00Z and ten seconds after the machine started."""

    def __init__(self) -> None:
        self.wall = 1769860800.0
        self.mono = 10.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.mono

    def advance(self, seconds: float) -> None:
        self.wall += seconds
        self.mono += seconds


class Bench:
    """One worker's telemetry with short hands for its use."""

    def __init__(self, limits: Limits, emit: Callable[[AccessLog], object] | None = None) -> None:
        self.clock = FakeClock()
        self.telemetry = Telemetry(Node("node-1", SELF), "e1", self.clock, limits, emit)

    def downstream(self, direction: Direction = Direction.OUTBOUND, **more: Any) -> Downstream:
        return self.telemetry.downstream(direction, "127.0.0.1:15001", "127.0.0.1:40000", **more)

    def request(self, downstream: Downstream, **fields: Any) -> RequestRecord:
        """A usual request, with `fields` of its record set."""
        record = RequestRecord(downstream, self.clock.mono, b"GET", b"/ratings/0?x=1", b"ratings:9080", "HTTP/1.1")
        record.status = 200
        for name, value in fields.items():
            setattr(record, name, value)
        return record

    def outbound(self, **fields: Any) -> RequestRecord:
        """A finished request to ratings over mutual TLS."""
        upstream = self.telemetry.upstream(OUTBOUND, RATINGS, secure=True)
        target = self.telemetry.target("default", OUTBOUND)
        return self.finish(self.request(self.downstream(), **{"target": target, "upstream": upstream, **fields}))

    def finish(self, record: RequestRecord, after_s: float = 0.002) -> RequestRecord:
        self.telemetry.finish(record, record.started + after_s)
        return record

    def metrics(self) -> Metrics | None:
        return next((each for each in self.telemetry.flush() if isinstance(each, Metrics)), None)

    def spans(self) -> list[Any]:
        return [span for each in self.telemetry.flush() if isinstance(each, Spans) for span in each.spans]

    def entries(self) -> list[tuple[int, int, dict[str, Any]]]:
        """(seconds, nanoseconds, record) of the flushed access log."""
        found: list[tuple[int, int, dict[str, Any]]] = []
        for message in self.telemetry.flush():
            if isinstance(message, AccessLog):
                unpacker = msgpack.Unpacker()
                unpacker.feed(message.entries)
                entries = list(unpacker)
                assert len(entries) == message.count
                for time, record in entries:
                    assert (time.code, len(time.data)) == (0, 8)
                    found.append((int.from_bytes(time.data[:4], "big"), int.from_bytes(time.data[4:], "big"), record))
        return found


@pytest.fixture
def make_bench() -> Callable[..., Bench]:
    return lambda emit=None, **limits: Bench(Limits(**limits), emit)


@pytest.fixture
def bench() -> Bench:
    return Bench(Limits())


def sampled(**more: Any) -> Trace:
    return Trace(b"a" * 32, b"b" * 16, more.get("parent_id", b"c" * 16), more.get("flags", 1), more.get("client_id"))
