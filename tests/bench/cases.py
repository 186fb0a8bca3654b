"""What is measured: four cases, four systems, and how long."""

from dataclasses import dataclass

CONNECTIONS = 32
"""Kept alive during a run."""

PROXY_CORE = 1
LOAD_CORE = 0
"""The load, the upstream, the sinks and the control plane share a core; the proxies have the other for themselves."""

SYSTEMS = ("remora", "envoy", "nginx", "haproxy")


@dataclass(frozen=True, slots=True)
class Case:
    """`mtls2`: two hops, plaintext in, mutual TLS between the proxies, plaintext out. `plain`: one hop."""

    name: str
    hops: int
    path: str
    body_bytes: int


CASES = (
    Case("plain-100B", 1, "/small", 100),
    Case("plain-10KiB", 1, "/large", 10 * 1024),
    Case("mtls2-100B", 2, "/small", 100),
    Case("mtls2-10KiB", 2, "/large", 10 * 1024),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    rounds: int
    saturated_s: int
    """Of one run with as many requests as the proxy takes: requests per second and CPU per request."""
    paced_s: int
    """Of one run at a fixed rate: latency."""
    rate: int
    """Requests per second of the latter; far enough below what any of the systems can do."""


FULL = Plan(rounds=5, saturated_s=6, paced_s=6, rate=2_000)
QUICK = Plan(rounds=3, saturated_s=2, paced_s=2, rate=2_000)
