"""Where connections of a captured pod go, and what becomes of those that come to it."""

import pytest

from control.generate import TYPES, generate
from control.ir import MeshSettings
from sidecar.config.cluster import Cluster, Discovery, Protocol
from sidecar.config.endpoint import Address
from sidecar.config.listener import TransportMatch
from sidecar.listeners.match import NOTHING, PLAINTEXT, TLS, Destinations, Facts, wanted
from tests.control.translate.bookinfo import ROOT_PEM, mesh, proxy, rule
from tests.control.translate.pods import HTTP, PODS, SERVICES, Way, journey, pod
from tests.control.translate.simulation import Simulation, simulate

STRICT = rule("PeerAuthentication", "all", "mtls: {mode: STRICT}")
FROM_MESH = Facts(True, "outbound_.80_._x", ("http/1.1",))
BYTES_FROM_MESH = Facts(True, "outbound_.80_._x", ("istio",))


def of(name: str, *rules: str, **settings: object) -> Simulation:
    """The sidecar of a pod."""
    made = MeshSettings(root_pem=ROOT_PEM, **settings)  # type: ignore[arg-type]
    return simulate(mesh(*SERVICES, *rules, settings=made, workloads=PODS), proxy(name, PODS))


@pytest.fixture(scope="module")
def caller() -> Simulation:
    return of("productpage-1")


@pytest.mark.parametrize(
    ("to", "facts", "url", "listener", "cluster"),
    [
        pytest.param("10.96.0.2:80", HTTP, "http://reviews/", "0.0.0.0_80", "reviews", id="a request, by its host"),
        pytest.param("10.96.0.2:80", HTTP, "http://10.96.0.2/", "0.0.0.0_80", "reviews", id="by the service's address"),
        pytest.param("10.96.0.2:80", HTTP, "http://reviews.default.svc:80/", "0.0.0.0_80", "reviews", id="with port"),
        pytest.param(
            "10.96.0.2:8001", Facts(False, None, ("h2c",)), "http://reviews:8001/", "0.0.0.0_8001", "reviews", id="gRPC"
        ),
        pytest.param(
            "10.96.0.2:5432", PLAINTEXT, None, "10.96.0.2_5432",
            "outbound|5432||reviews.default.svc.cluster.local", id="bytes, by the service's address",
        ),
        pytest.param("10.96.0.6:7000", HTTP, "http://x/", "10.96.0.6_7000", "whatever", id="who knows, and it is HTTP"),
        pytest.param(
            "10.96.0.6:7000", PLAINTEXT, None, "10.96.0.6_7000",
            "outbound_tcp|7000||whatever.default.svc.cluster.local", id="who knows, and it is not",
        ),
        pytest.param(
            "10.0.0.5:3306", PLAINTEXT, None, "10.0.0.5_3306",
            "outbound|3306|@10.0.0.5|mysql.default.svc.cluster.local", id="one instance of a headless service",
        ),
        pytest.param(
            "10.0.0.9:9200", HTTP, "http://search-0.search:9200/", "10.0.0.9_9200", "search:@10.0.0.9",
            id="a request for one instance",
        ),
        pytest.param("192.0.2.1:443", TLS, None, "virtualOutbound", "PassthroughCluster", id="nobody's address"),
        pytest.param("192.0.2.1:80", HTTP, "http://example.com/", "0.0.0.0_80", "PassthroughCluster", id="no host"),
        pytest.param("192.0.2.1:80", PLAINTEXT, None, "0.0.0.0_80", "PassthroughCluster", id="no request at all"),
        pytest.param(
            "10.0.0.2:8000", HTTP, "http://10.0.0.2:8000/", "virtualOutbound", "PassthroughCluster", id="a pod"
        ),
        pytest.param("10.0.0.1:15001", PLAINTEXT, None, "virtualOutbound", "BlackHoleCluster", id="the sidecar itself"),
    ],
)  # fmt: skip
def test_where_a_connection_goes(
    caller: Simulation, to: str, facts: Facts, url: str | None, listener: str, cluster: str
) -> None:
    way = journey(caller, to, facts, url)
    assert (way.listener, way.cluster) == (listener, cluster)
    if way.chain.tcp is not None:
        assert cluster in caller.clusters


def test_clients_reach_pods_at_their_own_ports(caller: Simulation) -> None:
    assert caller.addresses("outbound|80||reviews.default.svc.cluster.local") == ["10.0.0.2:8000", "10.0.0.3:8000"]
    assert caller.addresses("outbound|3306|@10.0.0.5|mysql.default.svc.cluster.local") == ["10.0.0.5:3306"]


def test_mutual_tls_is_for_pods_that_have_a_sidecar(caller: Simulation) -> None:
    assert [each.tls for each in caller.loads["outbound|80||reviews.default.svc.cluster.local"]] == [True, True]
    assert [each.tls for each in caller.loads["outbound|80||legacy.default.svc.cluster.local"]] == [False]
    one = caller.clusters["outbound|3306|@10.0.0.5|mysql.default.svc.cluster.local"]
    assert one.tls is not None
    assert one.tls.sans == ("spiffe://cluster.local/ns/default/sa/mysql",)


def test_ports_of_bytes_are_not_looked_at(caller: Simulation) -> None:
    """A server may speak first there: nobody waits for what the client never says."""
    for name in ("10.96.0.2_5432", "10.0.0.4_3306", "virtualOutbound"):
        listener = caller.listeners[name]
        destination = Address("10.0.0.4", 3306)
        chains = [(each, each) for each in listener.filter_chains]
        assert Destinations(listener, chains).of(destination).wanted == wanted(listener, [])


def test_a_client_of_requests_may_take_its_time(caller: Simulation) -> None:
    """What goes to a service whose port carries requests is not passed by the mesh because it comes late."""
    listener = caller.listeners["0.0.0.0_80"]
    chains = Destinations(listener, [(each, each) for each in listener.filter_chains])
    assert chains.of(Address("10.96.0.2", 80)).wanted is NOTHING
    assert chains.of(Address("192.0.2.1", 80)).wanted.http
    assert listener.detect_timeout_s == 0.08


def test_only_the_listeners_that_connections_are_redirected_to_have_sockets(caller: Simulation) -> None:
    assert {name: str(each.address) for name, each in caller.listeners.items() if each.bound} == {
        "virtualOutbound": "0.0.0.0:15001",
        "virtualInbound": "0.0.0.0:15006",
    }


def test_what_nobody_knows_goes_nowhere_where_only_the_registry_is_allowed() -> None:
    sidecar = of("productpage-1", allow_any=False)
    assert journey(sidecar, "192.0.2.1:443", TLS).cluster == "BlackHoleCluster"
    assert journey(sidecar, "192.0.2.1:80", PLAINTEXT).cluster == "BlackHoleCluster"
    assert sidecar.where("http://example.com/", table="80") == 502


def test_rules_hold_for_captured_connections() -> None:
    sidecar = of(
        "productpage-1",
        rule("DestinationRule", "reviews", "host: reviews\nsubsets: [{name: one, labels: {app: reviews}}]"),
        rule("VirtualService", "reviews",
             "hosts: [reviews]\nhttp: [{route: [{destination: {host: reviews, subset: one}}]}]"),
        rule("VirtualService", "mysql",
             "hosts: [mysql]\ntcp: [{route: [{destination: {host: reviews, port: {number: 5432}}}]}]"),
        rule("VirtualService", "test", "hosts: [nobody.test]\nhttp: [{route: [{destination: {host: reviews}}]}]"),
    )  # fmt: skip
    assert journey(sidecar, "10.96.0.2:80", url="http://reviews/").cluster == "reviews:one"
    way = journey(sidecar, "10.0.0.4:3306", PLAINTEXT)
    assert way.cluster == "outbound|5432||reviews.default.svc.cluster.local"
    assert journey(sidecar, "192.0.2.1:80", url="http://nobody.test/").cluster == "reviews"


def test_services_outside_are_told_apart_by_server_name_and_host() -> None:
    sidecar = of(
        "productpage-1",
        rule("ServiceEntry", "api", "hosts: [api.example.com]\nresolution: DNS\n"
             "ports: [{number: 443, name: tls, protocol: TLS}, {number: 80, name: http}]"),
        rule("ServiceEntry", "db", "hosts: [db.example.com]\nresolution: DNS\n"
             "ports: [{number: 6000, name: tcp, protocol: TCP}]"),
        rule("ServiceEntry", "fixed", "hosts: [fixed.example.com]\nresolution: STATIC\n"
             "endpoints: [{address: 192.0.2.9}]\nports: [{number: 6000, name: tcp, protocol: TCP}]"),
    )  # fmt: skip
    named = journey(sidecar, "192.0.2.1:443", Facts(True, "api.example.com"))
    assert (named.listener, named.cluster) == ("0.0.0.0_443", "outbound|443||api.example.com")
    assert journey(sidecar, "192.0.2.1:443", Facts(True, "other.example.com")).cluster == "PassthroughCluster"
    assert journey(sidecar, "192.0.2.1:80", url="http://api.example.com/").cluster == "api.example.com"
    assert journey(sidecar, "192.0.2.1:6000", PLAINTEXT).cluster == "PassthroughCluster"
    assert journey(sidecar, "192.0.2.9:6000", PLAINTEXT).cluster == "outbound|6000|@192.0.2.9|fixed.example.com"


def test_a_pod_with_both_versions_of_ip_has_both_kinds_of_listeners() -> None:
    sidecar = of("dual-1")
    assert {str(each.address) for each in sidecar.listeners.values() if each.bound} == {
        "0.0.0.0:15001", "[::]:15001", "0.0.0.0:15006", "[::]:15006",
    }  # fmt: skip
    assert journey(sidecar, "[fd96::8]:80", url="http://[fd96::8]/").cluster == "dual"
    way = journey(sidecar, "[fd96::8]:8081", PLAINTEXT)
    assert (way.listener, way.cluster) == ("[fd96::8]_8081", "outbound|8081||dual.default.svc.cluster.local")
    assert journey(sidecar, "[2001:db8::1]:9", PLAINTEXT).cluster == "PassthroughCluster"


def come_in(sidecar: Simulation, port: int, facts: Facts) -> Way | None:
    try:
        return journey(sidecar, f"10.0.0.2:{port}", facts, "http://reviews/", inbound=True)
    except AssertionError:
        return None


@pytest.mark.parametrize(
    ("port", "facts", "cluster", "mutual"),
    [
        pytest.param(8000, FROM_MESH, "inbound|8000||", True, id="a request of the mesh"),
        pytest.param(8000, PLAINTEXT, "inbound|8000||", False, id="a request from outside"),
        pytest.param(5432, BYTES_FROM_MESH, "inbound|5432||", True, id="bytes of the mesh"),
        pytest.param(5432, PLAINTEXT, "inbound|5432||", False, id="bytes from outside"),
        pytest.param(5432, Facts(True, "db", ()), "inbound|5432||", False, id="the application's own TLS"),
        pytest.param(9000, HTTP, "inbound|9000||", False, id="HTTP where nobody has said so"),
        pytest.param(1234, BYTES_FROM_MESH, "InboundPassthroughCluster", True, id="an undeclared port, of the mesh"),
        pytest.param(1234, PLAINTEXT, "InboundPassthroughCluster", False, id="an undeclared port, from outside"),
        pytest.param(9443, Facts(True, "hook", ("h2",)), "InboundPassthroughCluster", False, id="TLS of its own there"),
        pytest.param(15006, PLAINTEXT, "BlackHoleCluster", False, id="the sidecar itself"),
    ],
)
def test_who_comes_in_and_as_what(port: int, facts: Facts, cluster: str, mutual: bool) -> None:
    way = come_in(of("reviews-1"), port, facts)
    assert way is not None
    assert (way.cluster, way.chain.tls is not None) == (cluster, mutual)


def test_ports_of_the_sidecar_itself_have_no_way_in_whatever_a_pod_declares() -> None:
    """They are not redirected; probes and scrapers reach them under STRICT, too."""
    declaring = pod("p-1", "p", "10.0.2.1", ("http", 8080), ("http-prom", 15090), ("http-status", 15021))
    sidecar = simulate(mesh(STRICT, workloads=(declaring,)), proxy("p-1", (declaring,)))
    chains = sidecar.listeners["virtualInbound"].filter_chains
    assert {chain.destination_port for chain in chains} == {8080, 15006, None}


@pytest.mark.parametrize("port", [8000, 5432, 9000, 1234], ids=["requests", "bytes", "who knows", "undeclared"])
def test_under_strict_nothing_comes_in_without_mutual_tls(port: int) -> None:
    sidecar = of("reviews-1", STRICT)
    assert come_in(sidecar, port, PLAINTEXT) is None
    assert come_in(sidecar, port, HTTP) is None
    found = come_in(sidecar, port, FROM_MESH if port == 8000 else BYTES_FROM_MESH)
    assert found is not None
    assert found.chain.transport is TransportMatch.TLS


def test_each_port_has_a_mode_of_its_own() -> None:
    """On a laptop ports share an address and so a mode; in a pod they are told apart by where clients went."""
    sidecar = of(
        "reviews-1",
        rule("PeerAuthentication", "reviews", "selector: {matchLabels: {app: reviews}}\nmtls: {mode: STRICT}\n"
             "portLevelMtls: {8000: {mode: DISABLE}, 5432: {mode: PERMISSIVE}}"),
    )  # fmt: skip
    assert come_in(sidecar, 8000, PLAINTEXT) is not None
    assert come_in(sidecar, 5432, PLAINTEXT) is not None
    assert come_in(sidecar, 9000, PLAINTEXT) is None
    clients = of("productpage-1", rule("PeerAuthentication", "reviews", "selector: {matchLabels: {app: reviews}}\n"
                                       "mtls: {mode: STRICT}\nportLevelMtls: {8000: {mode: DISABLE}}"))  # fmt: skip
    assert [each.tls for each in clients.loads["outbound|80||reviews.default.svc.cluster.local"]] == [False, False]
    assert [each.tls for each in clients.loads["outbound|5432||reviews.default.svc.cluster.local"]] == [True, True]


def test_the_application_is_reached_where_the_client_went_from_the_loop_address() -> None:
    clusters = of("reviews-1").clusters
    for name in ("inbound|8000||", "inbound|8001||", "inbound|5432||", "InboundPassthroughCluster"):
        assert clusters[name].discovery is Discovery.ORIGINAL
        assert clusters[name].source_addresses == ("127.0.0.6", "::6")
    assert clusters["PassthroughCluster"].source_addresses == ()
    assert clusters["inbound|8001||"].protocol is Protocol.HTTP2
    assert clusters["inbound|9000||"].protocol is Protocol.DOWNSTREAM


def test_metrics_name_the_service_behind_a_port_and_what_passes_by() -> None:
    clusters = of("reviews-1").clusters

    def names(cluster: Cluster) -> tuple[str, str]:
        return cluster.service.host, cluster.service.name

    assert names(clusters["inbound|8000||"]) == ("reviews.default.svc.cluster.local", "reviews")
    assert names(clusters["PassthroughCluster"]) == ("unknown", "PassthroughCluster")
    assert names(clusters["InboundPassthroughCluster"]) == ("unknown", "InboundPassthroughCluster")


def test_pods_of_a_namespace_share_what_their_own_connections_meet() -> None:
    world = mesh(*SERVICES, workloads=PODS)
    one, other = (simulate(world, proxy(name, PODS)).snapshot for name in ("reviews-1", "reviews-2"))
    assert one.hash == other.hash


def test_what_is_the_same_in_all_namespaces_is_made_once() -> None:
    elsewhere = pod("other-1", "other", "10.0.1.1", namespace="elsewhere")
    pods = (*PODS, elsewhere)
    rules = rule("VirtualService", "reviews", "hosts: [reviews]\ntcp: [{route: [{destination: {host: mysql}}]}]")
    made = mesh(*SERVICES, rules, workloads=pods)
    one, other = (generate(made, proxy(name, pods)).resources for name in ("productpage-1", "other-1"))
    listeners, others = one[TYPES["LDS"]], other[TYPES["LDS"]]
    for name in ("virtualOutbound", "10.96.0.6_7000", "10.0.0.4_3306", "0.0.0.0_80", "10.96.0.2_5432"):
        assert listeners.entry(name) is not None
        assert listeners.entry(name) is others.entry(name)
    name = "outbound|3306|@10.0.0.4|mysql.default.svc.cluster.local"
    assert one[TYPES["CDS"]].entry(name) is other[TYPES["CDS"]].entry(name)
    assert one[TYPES["RDS"]].version != other[TYPES["RDS"]].version  # short names are of a client's own namespace


def test_a_laptops_workload_has_none_of_it() -> None:
    sidecar = simulate(mesh(), proxy("reviews-v1"))
    assert "PassthroughCluster" not in sidecar.clusters
    assert all(each.bound for each in sidecar.listeners.values())
