"""Which filter chain takes a connection: Envoy's order of conditions, and no way back from the narrower one."""

from dataclasses import replace

import pytest

from sidecar.config.endpoint import Address
from sidecar.config.listener import Direction, FilterChain, Http, Listener, Tcp, TcpTarget, TransportMatch
from sidecar.listeners.match import NOTHING, PATIENCE_S, Destinations, Facts, Wanted, choose, wanted

ANY, TLS, RAW = TransportMatch.ANY, TransportMatch.TLS, TransportMatch.RAW


def chain(transport: TransportMatch = ANY, *names: str, alpn: tuple[str, ...] = ()) -> FilterChain:
    return FilterChain(transport, server_names=names, application_protocols=alpn)


def taken(facts: Facts, *chains: FilterChain, default: bool = False) -> int | str | None:
    """The chain's position."""
    numbered: list[tuple[FilterChain, int | str]] = [(each, at) for at, each in enumerate(chains)]
    return choose(facts, numbered, "default" if default else None)


def hello(name: str | None, *protocols: str) -> Facts:
    return Facts(True, name, protocols)


NAMES = (chain(TLS, "a.example"), chain(TLS, "*.example"), chain(TLS, "*.b.example"), chain(TLS))


@pytest.mark.parametrize(
    ("name", "position"),
    [("a.example", 0), ("c.example", 1), ("x.b.example", 2), ("x.y.b.example", 2), ("b.example", 1), ("example", 3),
     ("other", 3), (None, 3), ("a.example.com", 3)],
)  # fmt: skip
def test_the_most_precise_name_wins(name: str | None, position: int) -> None:
    assert taken(hello(name), *NAMES) == position
    assert taken(hello(name), *NAMES[:3]) == (position if position < 3 else None)


def test_a_transport_goes_before_none() -> None:
    chains = (chain(), chain(TLS))
    assert taken(hello("x"), *chains) == 1
    assert taken(Facts(), *chains) == 0


def test_there_is_no_way_back_from_a_name_to_a_chain_without() -> None:
    chains = (chain(TLS, "a.example", alpn=("h2",)), chain(TLS))
    assert taken(hello("a.example", "h2"), *chains) == 0
    assert taken(hello("a.example", "http/1.1"), *chains) is None
    assert taken(hello("a.example", "http/1.1"), *chains, default=True) == "default"
    assert taken(hello("b.example", "http/1.1"), *chains) == 1


def test_the_first_protocol_that_is_known_decides() -> None:
    chains = (chain(TLS, alpn=("http/1.1",)), chain(TLS, alpn=("h2",)), chain(TLS))
    assert taken(hello(None, "h2", "http/1.1"), *chains) == 1
    assert taken(hello(None, "spdy", "http/1.1"), *chains) == 0
    assert taken(hello(None, "spdy"), *chains) == 2
    assert taken(hello(None), *chains) == 2


def test_plaintext_that_no_chain_takes_is_closed() -> None:
    assert taken(Facts(), chain(TLS)) is None
    assert taken(Facts(), chain(TLS), chain(RAW)) == 1


def listener(*chains: FilterChain, tls: bool = False, http: bool = False) -> Listener:
    return Listener("l", Address("127.0.0.1", 1), Direction.INBOUND, chains, detect_tls=tls, detect_http=http)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        pytest.param(listener(chain()), NOTHING, id="one chain for all"),
        pytest.param(listener(chain(), tls=True, http=True), NOTHING, id="detection that decides nothing"),
        pytest.param(listener(chain(TLS), chain(RAW), tls=True), Wanted(transport=True), id="TLS or not"),
        pytest.param(listener(chain(TLS, "a"), tls=True), Wanted(True, hello=True), id="by name"),
        pytest.param(listener(chain(ANY, "a"), chain(), tls=True), Wanted(True, hello=True), id="by name alone"),
        pytest.param(listener(chain(TLS, alpn=("h2",)), chain(RAW), tls=True), Wanted(True, hello=True), id="by ALPN"),
        pytest.param(listener(chain(alpn=("h2c",)), chain(), http=True), Wanted(True, http=True), id="HTTP or not"),
    ],
)
def test_only_what_decides_is_looked_for(config: Listener, expected: Wanted) -> None:
    assert wanted(config) == expected


def by_destination(port: int | None, *ranges: str, transport: TransportMatch = ANY) -> FilterChain:
    return FilterChain(transport, destination_port=port, destinations=ranges)


BY_DESTINATION = (
    by_destination(80),
    by_destination(81, "10.0.0.0/8"),
    by_destination(81, "10.1.0.0/16", "fd00::/8"),
    by_destination(81, "10.1.0.9/32", "fd00::9/128"),
    by_destination(None, "10.0.0.0/8"),
    by_destination(None),
)


@pytest.mark.parametrize(
    ("destination", "position"),
    [
        pytest.param(Address("192.0.2.1", 80), 0, id="by port"),
        pytest.param(Address("10.0.0.1", 80), 0, id="the port comes before the address"),
        pytest.param(Address("10.2.0.1", 81), 1, id="by port and range"),
        pytest.param(Address("10.1.0.1", 81), 2, id="by the narrower range"),
        pytest.param(Address("fd00::1", 81), 2, id="by a range of IPv6"),
        pytest.param(Address("10.1.0.9", 81), 3, id="by the very address"),
        pytest.param(Address("fd00::9", 81), 3, id="by the very address of IPv6"),
        pytest.param(Address("192.0.2.1", 81), None, id="no way back from a port whose ranges do not fit"),
        pytest.param(Address("10.9.0.1", 9), 4, id="by range alone"),
        pytest.param(Address("192.0.2.1", 9), 5, id="by nothing"),
    ],
)
def test_the_destination_leaves_only_the_chains_that_name_it_most_precisely(
    destination: Address, position: int | None
) -> None:
    found = Destinations(listener(*BY_DESTINATION), [(each, at) for at, each in enumerate(BY_DESTINATION)])
    assert [at for _, at in found.of(destination).chains] == ([] if position is None else [position])


def test_only_what_makes_a_difference_at_the_destination_is_looked_for() -> None:
    chains = (
        by_destination(80, transport=TLS),
        by_destination(80, transport=RAW),
        by_destination(3306),
    )
    found = Destinations(listener(*chains, tls=True, http=True), [(each, None) for each in chains])
    assert found.of(Address("10.0.0.1", 80)).wanted == Wanted(transport=True)
    assert found.of(Address("10.0.0.1", 3306)).wanted is NOTHING


def test_where_no_chain_asks_for_a_destination_none_is_looked_at() -> None:
    plain = (chain(TLS), chain(RAW))
    assert Destinations(listener(*plain, tls=True), [(each, None) for each in plain]).only is not None
    assert Destinations(listener(by_destination(80)), [(by_destination(80), None)]).only is None


BYTES = FilterChain(RAW, tcp=Tcp((TcpTarget("c"),)))
REQUESTS = FilterChain(RAW, http=Http())


@pytest.mark.parametrize(
    ("chains", "timeout_s"),
    [
        pytest.param((chain(TLS), BYTES), 0.1, id="bytes: a server may speak first"),
        pytest.param((chain(TLS), REQUESTS), PATIENCE_S, id="requests: clients do"),
        pytest.param((chain(TLS),), PATIENCE_S, id="nothing without TLS"),
    ],
)
def test_silence_says_something_only_where_a_server_may_speak_first(
    chains: tuple[FilterChain, ...], timeout_s: float
) -> None:
    """Else a client that is late with its ClientHello would be taken for one that sends none."""
    config = replace(listener(*chains, tls=True), detect_timeout_s=0.1, serve_undetected=True)
    only = Destinations(config, [(each, None) for each in chains]).only
    assert only is not None
    assert only.timeout_s == timeout_s
