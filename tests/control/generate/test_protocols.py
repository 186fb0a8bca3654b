"""What is generated for ports of every protocol: listeners' chains and clusters, as a proxy would use them."""

from collections.abc import Sequence

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions

from control.api import Workload
from control.generate import TYPES, Snapshot, generate
from control.generate.references import check
from control.translate import proxy_of
from sidecar.config.listener import Direction, FilterChain, TransportMatch
from sidecar.config.listener import Listener as Decoded
from sidecar.listeners.match import Facts, choose
from sidecar.xds.decode import decode
from sidecar.xds.kinds import Kind
from tests.control.translate.bookinfo import INGRESS, WORKLOADS, mesh, rule, workload

STORE = "store.default.svc.cluster.local"


def store(name: str, **more: object) -> Workload:
    """A workload whose one port has this name."""
    ports = [{"name": name, "service_port": 6379, "app": "127.0.0.1:9100"}]
    return workload("store-v1", "store", "v1", 9100, ports=ports, **more)


def caller(*, listen: str = "127.0.0.1:7000", service: str = "store", port: int = 6379) -> Workload:
    outbound = [{"service": service, "port": port, "listen": listen}]
    return workload("caller-v1", "caller", "v1", 9200, tcp_outbound=outbound)


def snapshot(asks: Workload, *others: Workload, rules: Sequence[str] = ()) -> Snapshot:
    made = generate(mesh(*rules, workloads=(*WORKLOADS, asks, *others)), proxy_of(asks, "cluster.local"))
    assert check(made) == []
    return made


def cluster(made: Snapshot, name: str) -> Cluster:
    message = Cluster()
    made.resources[TYPES["CDS"]][name].Unpack(message)
    return message


def listener(made: Snapshot, name: str, *, gateway: bool = False) -> Decoded:
    """As our sidecar understands it."""
    value = decode(Kind.LDS, made.resources[TYPES["LDS"]][name], gateway=gateway).value
    assert isinstance(value, Decoded)
    return value


def taken(decoded: Decoded, facts: Facts) -> FilterChain | None:
    return choose(facts, [(chain, chain) for chain in decoded.filter_chains], decoded.default_chain)


def as_what(decoded: Decoded, facts: Facts) -> str:
    """How a connection is treated, in a word or three."""
    if facts.tls and not decoded.detect_tls:
        facts = PLAIN
    chain = taken(decoded, facts)
    if chain is None:
        return "closed"
    kind = "requests" if chain.http is not None else "bytes"
    return f"{kind} in mutual TLS" if chain.tls is not None and chain.tls.require_client_certificate else kind


def alpn(message: Cluster) -> list[str]:
    """What the mesh's own TLS towards a cluster offers."""
    context = UpstreamTlsContext()
    (match, _) = message.transport_socket_matches
    match.transport_socket.typed_config.Unpack(context)
    return list(context.common_tls_context.alpn_protocols)


PLAIN, HTTP1, H2C = Facts(), Facts(protocols=("http/1.1",)), Facts(protocols=("h2c",))
MESH_HTTP, MESH_H2, MESH_TCP = (Facts(True, "x", (name,)) for name in ("http/1.1", "h2", "istio"))
OWN_TLS = Facts(True, "db.example", ())

R, B, MR, MB = "requests", "bytes", "requests in mutual TLS", "bytes in mutual TLS"


@pytest.mark.parametrize(
    ("name", "mode", "expected"),
    [
        ("http", "PERMISSIVE", (R, R, R, MR, MR, MR, MR)),
        ("http", "STRICT", ("closed", "closed", "closed", MR, MR, MR, MR)),
        ("grpc", "PERMISSIVE", (R, R, R, MR, MR, MR, MR)),
        ("tcp-db", "PERMISSIVE", (B, B, B, B, B, MB, B)),
        ("redis", "STRICT", ("closed", "closed", "closed", "closed", "closed", MB, "closed")),
        ("mysql", "DISABLE", (B, B, B, B, B, B, B)),
        ("tls", "PERMISSIVE", (B, B, B, B, B, MB, B)),
        ("whatever", "PERMISSIVE", (B, R, R, MR, MR, MB, B)),
        ("whatever", "STRICT", ("closed", "closed", "closed", MR, MR, MB, "closed")),
        ("whatever", "DISABLE", (B, R, R, B, B, B, B)),
    ],
)
def test_what_an_application_s_port_takes(name: str, mode: str, expected: tuple[str, ...]) -> None:
    rules = (rule("PeerAuthentication", "store", f"selector: {{matchLabels: {{app: store}}}}\nmtls: {{mode: {mode}}}"),)
    made = listener(snapshot(store(name, labels={"app": "store"}), rules=rules), "virtualInbound")
    seen = tuple(as_what(made, facts) for facts in (PLAIN, HTTP1, H2C, MESH_HTTP, MESH_H2, MESH_TCP, OWN_TLS))
    assert seen == expected


def test_a_port_of_unknown_protocol_keeps_nobody_waiting() -> None:
    made = listener(snapshot(store("whatever")), "virtualInbound")
    assert made.detect_http
    assert made.serve_undetected
    assert made.detect_timeout_s < 0.1


def test_a_port_of_known_protocol_is_not_guessed_at() -> None:
    for name in ("http", "redis"):
        made = listener(snapshot(store(name)), "virtualInbound")
        assert not made.detect_http
        assert not made.serve_undetected


@pytest.mark.parametrize(
    ("name", "protocol", "offers"),
    [
        ("http", "http_protocol_options", ["http/1.1"]),
        ("grpc-store", "http2_protocol_options", ["h2"]),
        ("http2", "http2_protocol_options", ["h2"]),
        ("redis", None, ["istio"]),
        ("https", None, ["istio"]),
        ("whatever", "http_protocol_options", ["http/1.1"]),
    ],
)
def test_what_a_cluster_is_spoken_to_in(name: str, protocol: str | None, offers: list[str]) -> None:
    message = cluster(snapshot(caller(), store(name)), f"outbound|6379||{STORE}")
    assert alpn(message) == offers
    options = HttpProtocolOptions()
    if protocol is None:
        assert not message.typed_extension_protocol_options
    else:
        (packed,) = message.typed_extension_protocol_options.values()
        packed.Unpack(options)
        assert options.explicit_http_config.WhichOneof("protocol_config") == protocol


def test_the_application_is_spoken_to_in_http_2_where_its_port_says_so() -> None:
    message = cluster(snapshot(store("grpc")), "inbound|6379||")
    assert message.typed_extension_protocol_options
    assert not cluster(snapshot(store("http")), "inbound|6379||").typed_extension_protocol_options


def test_a_service_s_word_goes_before_its_workload_s() -> None:
    service = rule("Service", "store", "selector: {app: store}\nports: [{port: 6379, name: db, appProtocol: redis}]")
    made = snapshot(store("http", labels={"app": "store"}), rules=[service])
    assert as_what(listener(made, "virtualInbound"), PLAIN) == B


def test_ports_at_one_address_are_told_apart_by_requests_and_others_have_their_own() -> None:
    ports = [
        {"name": "http", "service_port": 80, "app": "127.0.0.1:1"},
        {"name": "whatever", "service_port": 81, "app": "127.0.0.1:2"},
        {"name": "redis", "service_port": 6379, "app": "127.0.0.1:3", "inbound": "127.0.0.1:7777"},
    ]
    made = snapshot(workload("store-v1", "store", "v1", 9100, ports=ports))
    assert as_what(listener(made, "virtualInbound"), PLAIN) == R
    alone = listener(made, "inbound_127.0.0.1_7777")
    assert (as_what(alone, PLAIN), alone.direction) == (B, Direction.INBOUND)


def outbound(name: str, *, rules: Sequence[str] = (), service: str = "store", port: int = 6379) -> Decoded:
    made = snapshot(caller(service=service, port=port), store(name), rules=rules)
    return listener(made, "127.0.0.1_7000")


def targets(chain: FilterChain | None) -> dict[str, int]:
    assert chain is not None
    assert chain.tcp is not None
    return {target.cluster: target.weight for target in chain.tcp.targets}


@pytest.mark.parametrize(("name", "seen"), [("http", (R, R)), ("redis", (B, B)), ("tls", (B, B)), ("whatever", (B, R))])
def test_an_application_without_proxy_finds_a_service_at_an_address(name: str, seen: tuple[str, str]) -> None:
    made = outbound(name)
    assert (as_what(made, PLAIN), as_what(made, HTTP1)) == seen
    assert made.detect_http is (name == "whatever")
    if seen[0] == B:
        kind = "outbound_tcp" if name == "whatever" else "outbound"
        assert targets(taken(made, PLAIN)) == {f"{kind}|6379||{STORE}": 1}


@pytest.mark.parametrize(("service", "port"), [("nobody", 6379), ("store", 1)])
def test_a_service_that_is_not_there_is_nowhere(service: str, port: int) -> None:
    assert targets(taken(outbound("redis", service=service, port=port), PLAIN)) == {"BlackHoleCluster": 1}


def test_endpoints_of_relayed_connections_are_those_of_requests() -> None:
    made = snapshot(caller(), store("whatever"))
    message = cluster(made, f"outbound_tcp|6379||{STORE}")
    assert message.eds_cluster_config.service_name == f"outbound|6379||{STORE}"
    assert alpn(message) == ["istio"]


SHARED = rule(
    "VirtualService",
    "store",
    """
hosts: [store]
tcp:
- match: [{port: 1}]
  route: [{destination: {host: productpage, port: {number: 9080}}}]
- match: [{port: 6379, sourceLabels: {app: other}}]
  route: [{destination: {host: productpage, port: {number: 9080}}}]
- match: [{port: 6379}]
  route:
  - {destination: {host: store}, weight: 90}
  - {destination: {host: details, port: {number: 9080}}, weight: 10}
""",
)


def test_connections_are_shared_out_by_the_first_rule_that_is_for_them() -> None:
    made = outbound("redis", rules=[SHARED])
    details = "outbound|9080||details.default.svc.cluster.local"
    assert targets(taken(made, PLAIN)) == {f"outbound|6379||{STORE}": 90, details: 10}


BY_NAME = rule(
    "VirtualService",
    "store",
    f"""
hosts: [store, "*.db.example"]
tls:
- match: [{{sniHosts: [a.db.example], port: 6379}}]
  route: [{{destination: {{host: details}}}}]
- match: [{{sniHosts: ["*.db.example"]}}]
  route: [{{destination: {{host: {STORE}}}}}]
""",
)


def test_tls_that_is_passed_through_goes_by_the_name_that_is_asked_for() -> None:
    made = outbound("tls", rules=[BY_NAME])
    details = "outbound|9080||details.default.svc.cluster.local"
    assert targets(taken(made, Facts(True, "a.db.example"))) == {details: 1}
    assert targets(taken(made, Facts(True, "b.db.example"))) == {f"outbound|6379||{STORE}": 1}
    assert taken(made, Facts(True, "other.example")) is None
    assert taken(made, PLAIN) is None


GATEWAY = INGRESS.model_copy(
    update={"gateway_ports": {"80": "127.0.0.1:18080", "443": "127.0.0.1:18443", "6379": "127.0.0.1:16379"}}
)
EDGE = rule(
    "Gateway",
    "edge",
    """
selector: {istio: ingressgateway}
servers:
- port: {number: 80, name: http, protocol: HTTP}
  hosts: ["shop.test"]
- port: {number: 443, name: tls, protocol: TLS}
  hosts: ["*.db.example"]
  tls: {mode: PASSTHROUGH}
- port: {number: 443, name: https, protocol: HTTPS}
  hosts: [shop.test]
  tls: {mode: SIMPLE, serverCertificate: /etc/shop.crt, privateKey: /etc/shop.key}
- port: {number: 6379, name: tcp, protocol: TCP}
  hosts: ["*"]
""",
)
EDGE_RULES = (
    rule(
        "VirtualService",
        "edge",
        """
hosts: ["*.db.example"]
gateways: [edge]
tls:
- match: [{sniHosts: [a.db.example, outside.example]}]
  route: [{destination: {host: store}}]
""".replace(", outside.example", ""),
    )
    + "---\n"
    + rule(
        "VirtualService",
        "tcp",
        """
hosts: ["*"]
gateways: [edge]
tcp:
- match: [{port: 6379}]
  route: [{destination: {host: store}}]
""",
    )
)


def edge(*rules: str) -> Snapshot:
    asks = GATEWAY
    others = tuple(w for w in WORKLOADS if w.name != asks.name)
    made = generate(mesh(*rules, workloads=(*others, store("redis"), asks)), proxy_of(asks, "cluster.local"))
    assert check(made) == []
    return made


def test_a_gateway_passes_tls_through_and_ends_its_own() -> None:
    made = listener(edge(EDGE, EDGE_RULES), "127.0.0.1_18443", gateway=True)
    assert targets(taken(made, Facts(True, "a.db.example"))) == {f"outbound|6379||{STORE}": 1}
    own = taken(made, Facts(True, "shop.test", ("h2", "http/1.1")))
    assert own is not None
    assert own.http is not None
    assert own.tls is not None
    assert own.tls.certificate == "file-cert:/etc/shop.crt~/etc/shop.key"
    assert own.tls.alpn == ("h2", "http/1.1")
    for facts in (Facts(True, "b.db.example"), Facts(True, None), PLAIN):
        assert taken(made, facts) is None


def test_a_gateway_relays_a_port_of_bytes() -> None:
    made = listener(edge(EDGE, EDGE_RULES), "127.0.0.1_16379", gateway=True)
    assert targets(taken(made, PLAIN)) == {f"outbound|6379||{STORE}": 1}


def test_a_gateway_without_rules_takes_connections_to_nowhere() -> None:
    snapshot = edge(EDGE)
    assert targets(taken(listener(snapshot, "127.0.0.1_16379", gateway=True), PLAIN)) == {"BlackHoleCluster": 1}
    made = listener(snapshot, "127.0.0.1_18443", gateway=True)
    assert targets(taken(made, Facts(True, "a.db.example"))) == {"BlackHoleCluster": 1}


def test_only_tls_is_looked_for_where_only_tls_is_told_apart() -> None:
    snapshot = edge(EDGE, EDGE_RULES)
    assert listener(snapshot, "127.0.0.1_18443", gateway=True).detect_tls
    assert not listener(snapshot, "127.0.0.1_18080", gateway=True).detect_tls
    assert Listener.FromString(snapshot.resources[TYPES["LDS"]]["127.0.0.1_16379"].value).listener_filters == []
    assert TransportMatch.ANY is listener(snapshot, "127.0.0.1_16379", gateway=True).filter_chains[0].transport
