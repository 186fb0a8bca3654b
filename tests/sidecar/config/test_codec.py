"""Configuration types over the channel: what goes in comes out, and nothing else comes out."""

from dataclasses import dataclass
from typing import Any

import msgpack
import pytest

from mesh.records import Workload
from sidecar.config.cluster import Balancing, Cluster, Discovery, Service, Thresholds, UpstreamTls
from sidecar.config.codec import from_plain, to_plain
from sidecar.config.endpoint import Address, Endpoint
from sidecar.config.listener import (
    Codec,
    Direction,
    DownstreamTls,
    FilterChain,
    Http,
    Listener,
    Tcp,
    TcpTarget,
    TransportMatch,
)
from sidecar.config.messages import (
    AccessLog,
    Applied,
    Apply,
    Drain,
    Drained,
    Exemplar,
    Growth,
    HttpSeries,
    Inspect,
    Inspected,
    Listen,
    Metrics,
    Reading,
    Ready,
    Refused,
    Span,
    Spans,
    ToAgent,
    ToWorker,
)
from sidecar.config.route import (
    DirectResponse,
    Fault,
    Forward,
    HeaderEdits,
    HeaderMatch,
    MatchKind,
    QueryMatch,
    Redirect,
    RetryOn,
    RetryPolicy,
    Route,
    RouteConfiguration,
    RouteMatch,
    StringMatch,
    VirtualHost,
    WeightedCluster,
)
from sidecar.config.secret import Certificate, TrustAnchors
from sidecar.config.snapshot import Node, Snapshot

EDITS = HeaderEdits((("a", "1"),), (("b", "2"),), ("c",), (("d", "3"),), (("e", "4"),), ("f",))
ROUTES = RouteConfiguration(
    "outbound",
    (
        VirtualHost(
            "reviews",
            ("reviews", "*.reviews"),
            (
                Route(
                    "jason",
                    RouteMatch(
                        StringMatch(MatchKind.REGEX, "/a.*"),
                        True,
                        (HeaderMatch("end-user", StringMatch(MatchKind.EXACT, "jason", True), True, True),),
                        (QueryMatch("q", StringMatch(MatchKind.PRESENT)),),
                    ),
                    Forward(
                        (WeightedCluster("v1", 80, EDITS), WeightedCluster("v3", 20)),
                        1.5,
                        2.0,
                        RetryPolicy(frozenset({RetryOn.RESET, RetryOn.SERVER_ERROR}), 3, 0.5, frozenset({503, 429})),
                        "host",
                        "/b",
                        ("x", "y"),
                        (("copy", 12.5),),
                    ),
                    EDITS,
                    Fault(1.0, 10.0, 503, 0.1),
                ),
                Route("away", RouteMatch(), Redirect(302, "https", "h", 443, "/p", None)),
                Route("block_all", RouteMatch(), DirectResponse(502, b"\x00\xff")),
            ),
            EDITS,
        ),
    ),
)
SNAPSHOT = Snapshot(
    "v",
    Node("id", Workload("reviews-v1", "default"), "base64"),
    (
        Listener(
            "virtualInbound",
            Address("::1", 15006),
            Direction.INBOUND,
            (
                FilterChain(TransportMatch.TLS, Http(routes=ROUTES), DownstreamTls("default", "ROOTCA", True)),
                FilterChain(TransportMatch.RAW, Http(route_name="outbound", sampling_percent=1, codec=Codec.HTTP2)),
                FilterChain(
                    TransportMatch.TLS,
                    tcp=Tcp((TcpTarget("outbound|443||db", 3), TcpTarget("other"))),
                    server_names=("db.example", "*.wild.example"),
                    application_protocols=("h2",),
                ),
            ),
            True,
        ),
    ),
    (ROUTES,),
    (
        Cluster(
            "outbound|9080||reviews",
            Discovery.EDS,
            (Endpoint(Address("10.0.0.1", 80), 3, False, True, Workload(principal="spiffe://a/ns/b/sa/c")),),
            Balancing.RANDOM,
            0.25,
            UpstreamTls("sni", "default", "ROOTCA", ("spiffe://x",), ("http/1.1",), True),
            Thresholds(1, 2, 3, 4),
            Service("h", "n", "ns"),
        ),
    ),
    (Certificate("default", "chain", "key"),),
    (TrustAnchors("ROOTCA", "pem"),),
)
SERIES = HttpSeries(("a", "b"), 3, 1.5, (1, 2), 10, (3, 0), 20, (0, 3), (Exemplar(1, "c" * 32, 1.5, 1.0),))

DOWN: list[Any] = [
    Listen((Address("127.0.0.1", 1), Address("::1", 2))),
    Apply(7, SNAPSHOT),
    Apply(8, Snapshot("empty", Node())),
    Drain(5),
    Inspect(3, "clusters"),
]
UP: list[Any] = [
    Ready(1, "epoch"),
    Applied(7),
    Refused(7, "virtualInbound", "filter_chains[0]", "why"),
    Metrics((SERIES,), (Growth("c_total", (("l", "v"),), 2),), (Reading("g", (), 0.5),)),
    AccessLog(2, b"\x92\x00\xff"),
    Spans((Span("0" * 32, "1" * 16, None, True, "GET", 1, 2, (("url.path", "/"),), True),)),
    Inspected(3, "{}"),
    Drained(0),
]


def over_the_wire(kind: Any, value: Any) -> Any:
    return from_plain(kind, msgpack.unpackb(msgpack.packb(to_plain(value)), strict_map_key=False))


@pytest.mark.parametrize("message", DOWN, ids=lambda message: type(message).__name__)
def test_every_message_to_a_worker_survives_the_wire(message: Any) -> None:
    assert over_the_wire(ToWorker, message) == message


@pytest.mark.parametrize("message", UP, ids=lambda message: type(message).__name__)
def test_every_message_to_the_agent_survives_the_wire(message: Any) -> None:
    assert over_the_wire(ToAgent, message) == message


def test_equal_sets_are_written_equally() -> None:
    policies = [RetryPolicy(status_codes=frozenset(codes)) for codes in ([503, 429, 500], [500, 503, 429])]
    assert to_plain(policies[0]) == to_plain(policies[1])


@dataclass(frozen=True)
class Everything:
    """One field of each kind that can go wrong."""

    number: int
    fraction: float
    flag: bool
    text: str
    maybe: str | None
    pairs: tuple[tuple[str, int], ...]
    kind: MatchKind


GOOD = ["Everything", 1, 2.5, True, "t", None, [["a", 1]], "exact"]


def test_the_plain_form_of_the_table_below_is_read() -> None:
    assert from_plain(Everything, GOOD) == Everything(1, 2.5, True, "t", None, (("a", 1),), MatchKind.EXACT)


@pytest.mark.parametrize(
    ("index", "wrong"),
    [
        pytest.param(0, "Other", id="another class's name"),
        pytest.param(1, "1", id="text as number"),
        pytest.param(1, True, id="truth value as number"),
        pytest.param(1, 1.0, id="fraction as whole number"),
        pytest.param(2, "2.5", id="text as fraction"),
        pytest.param(2, True, id="truth value as fraction"),
        pytest.param(3, 1, id="number as truth value"),
        pytest.param(4, b"t", id="bytes as text"),
        pytest.param(4, None, id="nothing as text"),
        pytest.param(5, 3, id="number as optional text"),
        pytest.param(6, [["a"]], id="pair too short"),
        pytest.param(6, [["a", 1, 2]], id="pair too long"),
        pytest.param(6, 5, id="number as list"),
        pytest.param(7, "equals", id="unknown member of an enum"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(index: int, wrong: Any) -> None:
    plain = [*GOOD[:index], wrong, *GOOD[index + 1 :]]
    with pytest.raises((ValueError, TypeError, LookupError)):
        from_plain(Everything, plain)


@pytest.mark.parametrize("plain", [GOOD[:-1], [*GOOD, 1], {}, [], None, "Everything"], ids=repr)
def test_a_shape_that_does_not_fit_is_refused(plain: Any) -> None:
    with pytest.raises((ValueError, TypeError, LookupError)):
        from_plain(Everything, plain)


def test_a_message_for_the_other_side_is_refused() -> None:
    with pytest.raises(ValueError, match="no member"):
        from_plain(ToAgent, to_plain(Drain(1.0)))


def test_a_key_does_not_show_in_a_repr() -> None:
    assert "secret-key" not in repr(
        Apply(1, Snapshot("v", Node(), certificates=(Certificate("d", "c", "secret-key"),)))
    )
