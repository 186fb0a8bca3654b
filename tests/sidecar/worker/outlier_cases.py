"""Clusters, servers that fail in some way, and what outlier detection makes of it, in Envoy and in us."""

from dataclasses import dataclass, field
from typing import Any

CLOSED = "nobody listens"
LOST = "the connection ends in place of an answer"
UNAVAILABLE = "gRPC's status 14"
SILENT = "no answer at all"
CUT = "200, and the connection ends within the body"
WELL_AGAIN = "five answers of 500, then 204"
NO_RATE = {"enforcing_success_rate": 0, "enforcing_local_origin_success_rate": 0}
SPLIT = {
    "split_external_local_origin_errors": True,
    "consecutive_local_origin_failure": 2,
    "consecutive_5xx": 1,
    "max_ejection_percent": 100,
}
GATEWAY = {"consecutive_gateway_failure": 2, "enforcing_consecutive_gateway_failure": 100, "consecutive_5xx": 9}
NEVER_PANIC = {"common_lb_config": {"healthy_panic_threshold": {"value": 0}}}


@dataclass(frozen=True)
class Case:
    """A cluster, what its endpoints do, and what comes of so many requests."""

    outlier: dict[str, Any]
    endpoints: tuple[int | str, ...]
    """The status of each one's answers, or what it does instead."""
    requests: int
    ejected: tuple[int, ...]
    counters: dict[str, int]
    after: set[int]
    """Statuses of further requests."""
    priorities: tuple[int, ...] = ()
    cluster: dict[str, Any] = field(default_factory=lambda: NEVER_PANIC)
    grpc: bool = False
    timeout_s: float = 15.0
    tcp: bool = False
    """Connections are relayed as bytes."""


FIVE = {"detected_consecutive_5xx": 1, "enforced_consecutive_5xx": 1, "enforced_total": 1}
LOCAL = {
    "detected_consecutive_local_origin_failure": 1,
    "enforced_consecutive_local_origin_failure": 1,
    "enforced_total": 1,
}
BOTH_GATEWAY = {
    "detected_consecutive_gateway_failure": 1,
    "enforced_consecutive_gateway_failure": 1,
    "enforced_total": 1,
}

CASES = {
    "five errors in a row": Case({"max_ejection_percent": 50}, (500, 200), 10, (0,), FIVE, {200}),
    "four are not enough": Case({"max_ejection_percent": 50}, (500, 200), 8, (), {}, {200, 500}),
    "not more than so many": Case(
        {"consecutive_5xx": 3},
        (500, 200),
        6,
        (),
        {"detected_consecutive_5xx": 1, "overflow": 1},
        {200, 500},
    ),
    "but always one": Case({"consecutive_5xx": 3, "always_eject_one_host": True}, (500, 200), 6, (0,), FIVE, {200}),
    "errors of a gateway": Case(GATEWAY | {"max_ejection_percent": 100}, (503, 200), 4, (0,), BOTH_GATEWAY, {200}),
    "others are none": Case(GATEWAY | {"max_ejection_percent": 100}, (500, 200), 8, (), {}, {200, 500}),
    "of gateways detected and not enforced": Case(
        {"consecutive_gateway_failure": 2, "consecutive_5xx": 0, "max_ejection_percent": 100},
        (504, 200),
        4,
        (),
        {"detected_consecutive_gateway_failure": 1},
        {200, 504},
    ),
    "connections that fail are errors of a gateway": Case(
        GATEWAY | {"max_ejection_percent": 100}, (CLOSED, 200), 4, (0,), BOTH_GATEWAY, {200}
    ),
    "answers that are lost, too": Case(
        GATEWAY | {"max_ejection_percent": 100}, (LOST, 200), 4, (0,), BOTH_GATEWAY, {200}
    ),
    "split, connections that fail count by themselves": Case(
        SPLIT,
        (CLOSED, 200),
        4,
        (0,),
        LOCAL,
        {200},
    ),
    "split, answers that are lost come after a connection": Case(
        SPLIT,
        (LOST, 200),
        8,
        (),
        {},
        {200, 503},
    ),
    "a status of gRPC": Case(
        GATEWAY | {"max_ejection_percent": 100}, (UNAVAILABLE, 200), 4, (0,), BOTH_GATEWAY, {200}, grpc=True
    ),
    "one that ends before it is whole is an error behind an answer": Case(
        {"consecutive_5xx": 1, "max_ejection_percent": 100}, (CUT, 200), 2, (0,), FIVE, {200}
    ),
    "time that is up is an error of a gateway": Case(
        GATEWAY | {"max_ejection_percent": 100}, (SILENT, 200), 4, (0,), BOTH_GATEWAY, {200}, timeout_s=0.05
    ),
    "split, time that is up comes after a connection": Case(
        SPLIT,
        (SILENT, 200),
        6,
        (),
        {},
        {200, 504},
        timeout_s=0.05,
    ),
    "connections of bytes that cannot be made are errors of a gateway": Case(
        GATEWAY | {"max_ejection_percent": 100}, (CLOSED, 200), 4, (0,), BOTH_GATEWAY, {200}, tcp=True
    ),
    "split, connections of bytes that cannot be made": Case(
        SPLIT,
        (CLOSED, 200),
        4,
        (0,),
        LOCAL,
        {200},
        tcp=True,
    ),
    "what is said in them is nobody's business": Case(
        {"consecutive_5xx": 1, "max_ejection_percent": 100}, (500, 200), 4, (), {}, {200, 500}, tcp=True
    ),
    "what a circuit breaker refuses is none": Case(
        {"consecutive_5xx": 1, "max_ejection_percent": 100},
        (200, 200),
        2,
        (),
        {},
        {503},
        cluster=NEVER_PANIC | {"circuit_breakers": {"thresholds": [{"max_pending_requests": 0}]}},
    ),
    "it comes back when its time is over": Case(
        {"max_ejection_percent": 50, "interval": "0.2s", "base_ejection_time": "0.4s"},
        (WELL_AGAIN, 200),
        10,
        (),
        FIVE,
        {200, 204},
    ),
    "nobody is left, and no panic": Case(
        {"consecutive_5xx": 2, "max_ejection_percent": 100},
        (500, 500),
        4,
        (0, 1),
        {"detected_consecutive_5xx": 2, "enforced_consecutive_5xx": 2, "enforced_total": 2},
        {503},
    ),
    "nobody is left, and panic": Case(
        {"consecutive_5xx": 2, "max_ejection_percent": 100},
        (500, 501),
        4,
        (0, 1),
        {"detected_consecutive_5xx": 2, "enforced_consecutive_5xx": 2, "enforced_total": 2},
        {500, 501},
        cluster={},
    ),
    "the next priority when the first has nobody left": Case(
        {"consecutive_5xx": 2, "max_ejection_percent": 100},
        (500, 204),
        2,
        (0,),
        FIVE,
        {204},
        priorities=(0, 1),
    ),
}
