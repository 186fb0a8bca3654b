"""What is measured: cases, systems, and how long."""

from dataclasses import dataclass
from enum import StrEnum

PROXY_CORE = 1
LOAD_CORE = 0
"""The load, the upstream, the sinks and the control plane share a core; the proxies have the other for themselves."""

COMPILED, INTERPRETED, ENVOY = "remora", "remora-interpreted", "envoy"
SYSTEMS = (COMPILED, INTERPRETED, ENVOY, "nginx", "haproxy")


class Speech(StrEnum):
    """What client, proxies and upstream speak."""

    HTTP1 = "HTTP/1.1"
    HTTP2 = "HTTP/2"
    GRPC = "gRPC"
    TCP = "TCP"

    @property
    def requests(self) -> bool:
        """False: bytes."""
        return self is not Speech.TCP

    @property
    def http2(self) -> bool:
        return self in (Speech.HTTP2, Speech.GRPC)


class Work(StrEnum):
    """What the load does."""

    REQUESTS = "requests"
    ECHO = "echo"
    """Small messages over long connections: each connection sends one when it has the last one's echo."""
    BULK = "bulk"
    """As many bytes as go, from the client to the upstream."""
    NOTHING = "nothing"
    """The memory of a proxy that nobody uses."""


@dataclass(frozen=True, slots=True)
class Case:
    """`mtls2`: two hops, plaintext in, mutual TLS between the proxies, plaintext out. `plain`: one hop."""

    name: str
    hops: int
    speech: Speech = Speech.HTTP1
    work: Work = Work.REQUESTS
    path: str = ""
    body_bytes: int = 0
    """Of an answer, or of a message."""
    connections: int = 32
    """Kept alive during a run."""
    streams: int = 1
    """At a time on each connection."""

    @property
    def paced(self) -> bool:
        """Whether its latency is measured at a fixed rate, too."""
        return self.work is Work.REQUESTS


GRPC_PATH = "/bench.Echo/Say.grpc"
"""The upstream serves files, and takes the answer's content type from the name's end."""

_HTTP2 = {"speech": Speech.HTTP2, "path": "/small", "body_bytes": 100, "connections": 8, "streams": 8}
_GRPC = {"speech": Speech.GRPC, "path": GRPC_PATH, "body_bytes": 100, "connections": 8, "streams": 8}


def _tcp(name: str, hops: int, work: Work, connections: int) -> Case:
    return Case(name, hops, Speech.TCP, work, body_bytes=64 if work is Work.ECHO else 0, connections=connections)


CASES = (
    Case("plain-100B", 1, path="/small", body_bytes=100),
    Case("plain-10KiB", 1, path="/large", body_bytes=10 * 1024),
    Case("mtls2-100B", 2, path="/small", body_bytes=100),
    Case("mtls2-10KiB", 2, path="/large", body_bytes=10 * 1024),
    Case("h2-plain-100B", 1, **_HTTP2),
    Case("h2-mtls2-100B", 2, **_HTTP2),
    Case("grpc-plain-100B", 1, **_GRPC),
    Case("grpc-mtls2-100B", 2, **_GRPC),
    _tcp("tcp-plain-1", 1, Work.BULK, 1),
    _tcp("tcp-plain-32", 1, Work.BULK, 32),
    _tcp("tcp-mtls2-1", 2, Work.BULK, 1),
    _tcp("tcp-mtls2-32", 2, Work.BULK, 32),
    _tcp("tcp-plain-echo", 1, Work.ECHO, 32),
    _tcp("tcp-mtls2-echo", 2, Work.ECHO, 32),
    Case("idle", 2, work=Work.NOTHING),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    rounds: int
    """Of the systems that are judged."""
    witness_rounds: int
    """Of those that are there to compare with."""
    saturated_s: int
    """Of one run with as much as the proxy takes: requests or bytes per second, and CPU."""
    paced_s: int
    """Of one run at a fixed rate: latency."""
    idle_s: int
    """Before the memory of an unused proxy is read."""
    rate: int = 2_000
    """Requests per second of the latter where Envoy is not measured; far below what any of the systems can do."""

    def rounds_of(self, system: str) -> int:
        return self.rounds if system in (COMPILED, ENVOY) else self.witness_rounds


FULL = Plan(rounds=4, witness_rounds=2, saturated_s=4, paced_s=4, idle_s=5)
QUICK = Plan(rounds=2, witness_rounds=1, saturated_s=2, paced_s=2, idle_s=2)
