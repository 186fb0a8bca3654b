"""Rules as people write them, and where requests then go: decided by the sidecar's own decoder and router."""

import pytest

from control.api import Workload
from control.generate import generate
from control.ir import MeshSettings
from sidecar.config.cluster import Balancing, Discovery
from sidecar.config.listener import TransportMatch
from sidecar.config.route import DirectResponse, Fault, Forward, HeaderEdits, Redirect, RetryOn
from tests.control.translate.bookinfo import ROOT_PEM, WORKLOADS, mesh, proxy, rule, workload
from tests.control.translate.simulation import Simulation, simulate

SUBSETS = rule(
    "DestinationRule",
    "reviews",
    """
host: reviews
subsets:
- {name: v1, labels: {version: v1}}
- {name: v2, labels: {version: v2}}
- {name: v3, labels: {version: v3}}
- {name: v9, labels: {version: v9}}
""",
)


def sidecar(*texts: str, of: str = "productpage-v1", workloads: tuple[Workload, ...] = WORKLOADS) -> Simulation:
    return simulate(mesh(*texts, workloads=workloads), proxy(of, workloads))


def reviews(http: str) -> Simulation:
    return sidecar(SUBSETS, rule("VirtualService", "reviews", "hosts: [reviews]\nhttp:\n" + http))


@pytest.mark.parametrize(
    "host",
    [
        name + port
        for name in ("reviews", "reviews.default", "reviews.default.svc", "reviews.default.svc.cluster.local")
        for port in ("", ":9080")
    ],
)
def test_a_service_is_known_by_all_its_names(host: str) -> None:
    assert sidecar().where(f"http://{host}/reviews/0") == "reviews"


def test_other_hosts_and_ports_are_blocked() -> None:
    simulation = sidecar()
    for host in ("reviewz", "reviews:9081", "reviews.other", "example.com", "reviews.default.svc.cluster.locale"):
        assert simulation.where(f"http://{host}/") == 502


def test_a_service_of_another_namespace_needs_its_namespace() -> None:
    away = workload("reviews-v1", "reviews", "v1", 9010, namespace="other")
    simulation = sidecar(workloads=(WORKLOADS[0], away))
    assert simulation.where("http://reviews:9080/") == 502
    assert simulation.where("http://reviews.other:9080/") == "reviews.other.svc.cluster.local"


def test_a_rule_of_a_services_own_namespace_goes_before_those_of_others() -> None:
    spec = "hosts: [reviews.default.svc.cluster.local]\nhttp: [{directResponse: {status: 418}}]"
    strangers = rule("VirtualService", "a", spec, "another")
    assert sidecar(strangers).where("http://reviews:9080/") == 418
    own = rule("VirtualService", "z", "hosts: [reviews]\nhttp: [{route: [{destination: {host: reviews}}]}]")
    assert sidecar(strangers, own).where("http://reviews:9080/") == "reviews"


def test_without_rules_every_version_is_used() -> None:
    simulation = sidecar()
    cluster = "outbound|9080||reviews.default.svc.cluster.local"
    assert simulation.addresses(cluster) == ["127.0.0.1:10003", "127.0.0.1:10004", "127.0.0.1:10005"]
    assert simulation.clusters[cluster].discovery is Discovery.EDS


def test_a_header_and_weights_choose_versions() -> None:
    simulation = reviews("""
- match:
  - headers:
      end-user:
        exact: jason
  route:
  - destination: {host: reviews, subset: v2}
- route:
  - destination: {host: reviews, subset: v1}
    weight: 80
  - destination: {host: reviews, subset: v3}
    weight: 20
""")
    assert simulation.where("http://reviews:9080/reviews/0", end_user="jason") == "reviews:v2"
    assert simulation.where("http://reviews:9080/reviews/0", end_user="json") == {"reviews:v1": 80, "reviews:v3": 20}
    assert simulation.addresses("outbound|9080|v2|reviews.default.svc.cluster.local") == ["127.0.0.1:10004"]


def test_a_subset_without_workloads_has_no_endpoints() -> None:
    simulation = reviews("- route: [{destination: {host: reviews, subset: v9}}]")
    assert simulation.where("http://reviews/") == "reviews:v9"
    assert simulation.addresses("outbound|9080|v9|reviews.default.svc.cluster.local") == []


@pytest.mark.parametrize(
    "destination",
    ["{host: gone}", "{host: reviews, subset: v7}", "{host: reviews, port: {number: 1}}", "{host: gone.example.com}"],
)
def test_a_destination_that_does_not_exist_is_the_black_hole(destination: str) -> None:
    simulation = reviews(f"- route: [{{destination: {destination}}}]")
    assert simulation.where("http://reviews/") == "BlackHoleCluster"
    assert simulation.addresses("BlackHoleCluster") == []


MATCHES = [
    ("uri: {exact: /a}", {"/a": 1, "/a?b=c": 1, "/a/": 0, "/A": 0}),
    ("uri: {exact: /a}\n    ignoreUriCase: true", {"/a": 1, "/A": 1, "/b": 0}),
    ("uri: {prefix: /a}", {"/a": 1, "/ab": 1, "/a/b": 1, "/A": 0}),
    ("uri: {regex: '/a[0-9]+'}", {"/a1": 1, "/a12?x": 1, "/a": 0, "/a1b": 0, "/xa1": 0}),
    ("queryParams: {b: {exact: c}}", {"/?b=c": 1, "/?a=1&b=c": 1, "/?b=d": 0, "/": 0}),
    ("queryParams: {b: {regex: '[0-9]+'}}", {"/?b=12": 1, "/?b=x": 0}),
    ("uri: {prefix: /a}\n    queryParams: {b: {exact: c}}", {"/a?b=c": 1, "/a": 0, "/?b=c": 0}),
]


@pytest.mark.parametrize(("condition", "paths"), MATCHES, ids=[condition for condition, _ in MATCHES])
def test_conditions_on_the_path_and_query(condition: str, paths: dict[str, int]) -> None:
    simulation = reviews(f"- match:\n  - {condition}\n  route: [{{destination: {{host: reviews, subset: v1}}}}]\n"
                         "- directResponse: {status: 418}")  # fmt: skip
    found = {path: int(simulation.where(f"http://reviews{path}") == "reviews:v1") for path in paths}
    assert found == paths


@pytest.mark.parametrize(
    ("condition", "yes", "no"),
    [
        pytest.param("headers: {x-a: {prefix: ab}}", {"x_a": "abc"}, {"x_a": "xab"}, id="a header's prefix"),
        pytest.param("headers: {x-a: {regex: 'a.*c'}}", {"x_a": "abc"}, {"x_a": "abcd"}, id="a header's regex"),
        pytest.param("headers: {X-A: {}}", {"x_a": "any"}, {}, id="a header that is present"),
        pytest.param("withoutHeaders: {x-a: {}}", {}, {"x_a": "any"}, id="a header that is absent"),
        pytest.param("withoutHeaders: {x-a: {exact: b}}", {}, {"x_a": "b"}, id="a header that is not this"),
        pytest.param("withoutHeaders: {x-a: {exact: b}}", {"x_a": "c"}, {"x_a": "b"}, id="a header that is another"),
        pytest.param("method: {exact: POST}", {"method": "POST"}, {"method": "GET"}, id="a method"),
    ],
)
def test_conditions_on_headers(condition: str, yes: dict[str, str], no: dict[str, str]) -> None:
    simulation = reviews(
        f"- match:\n  - {condition}\n  directResponse: {{status: 200}}\n- directResponse: {{status: 418}}"
    )
    assert simulation.where("http://reviews/", **yes) == 200
    assert simulation.where("http://reviews/", **no) == 418


def test_conditions_are_alternatives_and_their_parts_are_not() -> None:
    simulation = reviews("""
- match:
  - uri: {exact: /a}
    headers: {x: {exact: "1"}}
  - uri: {exact: /b}
  directResponse: {status: 200}
""")
    assert simulation.where("http://reviews/a", x="1") == 200
    assert simulation.where("http://reviews/a", x="2") is None
    assert simulation.where("http://reviews/b") == 200
    assert simulation.where("http://reviews/c") is None


def test_conditions_on_the_source_concern_only_that_source() -> None:
    texts = SUBSETS, rule("VirtualService", "reviews", """
hosts: [reviews]
http:
- match: [{sourceLabels: {app: productpage}}]
  route: [{destination: {host: reviews, subset: v2}}]
- match: [{sourceNamespace: elsewhere}]
  route: [{destination: {host: reviews, subset: v9}}]
- route: [{destination: {host: reviews, subset: v1}}]
""")  # fmt: skip
    assert sidecar(*texts).where("http://reviews/") == "reviews:v2"
    assert sidecar(*texts, of="ratings-v1").where("http://reviews/") == "reviews:v1"


def test_faults_are_for_whom_they_are_meant() -> None:
    simulation = reviews("""
- match: [{headers: {end-user: {exact: jason}}}]
  fault:
    delay: {percentage: {value: 100.0}, fixedDelay: 7s}
    abort: {percentage: {value: 12.5}, httpStatus: 555}
  route: [{destination: {host: reviews, subset: v1}}]
- fault: {delay: {percent: 50, fixedDelay: 10ms}, abort: {httpStatus: 500}}
  route: [{destination: {host: reviews, subset: v1}}]
""")
    jason = simulation.route("http://reviews/", end_user="jason")
    other = simulation.route("http://reviews/")
    assert jason is not None
    assert other is not None
    assert jason.fault == Fault(7.0, 100.0, 555, 12.5)
    assert other.fault == Fault(0.01, 50.0, None, 0.0)


def test_everything_that_a_route_can_do_arrives() -> None:
    route = reviews("""
- name: all
  match: [{uri: {prefix: /old}}]
  rewrite: {uri: /new, authority: ratings:9080}
  timeout: 1500ms
  retries: {attempts: 3, perTryTimeout: 2s, retryOn: "gateway-error,connect-failure,503", backoff: 50ms}
  mirrors:
  - {destination: {host: ratings}, percentage: {value: 0.5}}
  headers:
    request: {set: {X-A: "100%"}, add: {x-b: b}, remove: [x-c]}
    response: {add: {x-d: ""}}
  route:
  - destination: {host: reviews, subset: v1}
    weight: 100
    headers: {response: {set: {x-version: v1}}}
""").route("http://reviews/old/x")
    assert route is not None
    assert route.name == "all"
    assert route.headers == HeaderEdits((("x-a", "100%"),), (("x-b", "b"),), ("x-c",), (), (("x-d", ""),))
    forward = route.action
    assert isinstance(forward, Forward)
    assert forward.timeout_s == 1.5
    assert (forward.prefix_rewrite, forward.host_rewrite) == ("/new", "ratings:9080")
    assert forward.mirror == (("outbound|9080||ratings.default.svc.cluster.local", 0.5),)
    assert forward.clusters[0].headers == HeaderEdits(response_set=(("x-version", "v1"),))
    assert forward.retry is not None
    assert forward.retry.on == {RetryOn.GATEWAY_ERROR, RetryOn.CONNECT_FAILURE, RetryOn.STATUS_CODES}
    assert (forward.retry.attempts, forward.retry.per_try_timeout_s, forward.retry.status_codes) == (3, 2.0, {503})


def test_redirects_and_answers_need_no_upstream() -> None:
    simulation = reviews("""
- match: [{uri: {prefix: /go}}]
  redirect: {uri: /there, authority: example.com, scheme: https, port: 8443, redirectCode: 307}
- directResponse: {status: 503, body: {string: "closed"}}
""")
    go, closed = simulation.route("http://reviews/go"), simulation.route("http://reviews/")
    assert go is not None
    assert closed is not None
    assert go.action == Redirect(307, "https", "example.com", 8443, "/there")
    assert closed.action == DirectResponse(503, b"closed")


def test_without_a_word_there_is_no_timeout_and_only_safe_retries() -> None:
    for simulation in (sidecar(), reviews("- route: [{destination: {host: reviews, subset: v1}}]")):
        route = simulation.route("http://reviews/")
        assert route is not None
        assert isinstance(route.action, Forward)
        assert route.action.timeout_s is None
        assert route.action.retry is not None
        assert route.action.retry.attempts == 2
        assert route.action.retry.on == {
            RetryOn.CONNECT_FAILURE,
            RetryOn.REFUSED_STREAM,
            RetryOn.RESET_BEFORE_REQUEST,
        }


def test_no_retries_means_none() -> None:
    route = reviews("- route: [{destination: {host: reviews}}]\n  retries: {attempts: 0}").route("http://reviews/")
    assert route is not None
    assert isinstance(route.action, Forward)
    assert route.action.retry is None


def test_a_policy_shapes_the_cluster() -> None:
    simulation = sidecar(
        rule(
            "DestinationRule",
            "reviews",
            """
host: reviews
trafficPolicy:
  loadBalancer: {simple: RANDOM}
  connectionPool:
    tcp: {maxConnections: 7, connectTimeout: 250ms}
    http: {http1MaxPendingRequests: 5, http2MaxRequests: 9, maxRetries: 2, maxRequestsPerConnection: 3, idleTimeout: 4s}
subsets:
- {name: v1, labels: {version: v1}}
- name: v2
  labels: {version: v2}
  trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}
- name: v3
  labels: {version: v3}
  trafficPolicy: {portLevelSettings: [{port: {number: 9080}, loadBalancer: {simple: LEAST_CONN}}]}
""",
        )
    )
    name = "outbound|9080|{}|reviews.default.svc.cluster.local"
    whole, v1, v2, v3 = (simulation.clusters[name.format(subset)] for subset in ("", "v1", "v2", "v3"))
    for cluster in (whole, v1):
        assert cluster.balancing is Balancing.RANDOM
        assert cluster.connect_timeout_s == 0.25
        limits = cluster.thresholds
        assert (limits.max_connections, limits.max_pending, limits.max_requests, limits.max_retries) == (7, 5, 9, 2)
        assert (cluster.idle_timeout_s, cluster.max_requests_per_connection) == (4.0, 3)
    assert v2.balancing is Balancing.ROUND_ROBIN
    assert v2.connect_timeout_s == 0.25
    assert v3.balancing is Balancing.LEAST_REQUEST
    assert v3.connect_timeout_s == 10.0  # a port's policy is taken whole


def test_mutual_tls_is_used_where_it_is_offered() -> None:
    cluster = sidecar().clusters["outbound|9080||reviews.default.svc.cluster.local"]
    assert cluster.tls is not None
    assert cluster.tls.only_where_offered
    assert cluster.tls.sans == ("spiffe://cluster.local/ns/default/sa/bookinfo-reviews",)
    assert cluster.tls.sni == "outbound_.9080_._.reviews.default.svc.cluster.local"
    assert (cluster.tls.certificate, cluster.tls.validation) == ("default", "ROOTCA")
    assert (cluster.service.host, cluster.service.name) == ("reviews.default.svc.cluster.local", "reviews")


@pytest.mark.parametrize(("mode", "tls"), [("ISTIO_MUTUAL", True), ("DISABLE", False)])
def test_a_rule_can_demand_or_forbid_mutual_tls(mode: str, tls: bool) -> None:
    text = rule("DestinationRule", "reviews", f"host: reviews\ntrafficPolicy: {{tls: {{mode: {mode}}}}}")
    cluster = sidecar(text).clusters["outbound|9080||reviews.default.svc.cluster.local"]
    assert (cluster.tls is not None) is tls
    assert cluster.tls is None or not cluster.tls.only_where_offered


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        pytest.param([], {"tls", "raw_buffer"}, id="both without a rule"),
        pytest.param([("istio-system", "mtls: {mode: STRICT}")], {"tls"}, id="strict in the whole mesh"),
        pytest.param(
            [("istio-system", "mtls: {mode: STRICT}"), ("default", "mtls: {mode: PERMISSIVE}")],
            {"tls", "raw_buffer"},
            id="a namespace of its own mind",
        ),
        pytest.param(
            [("default", "mtls: {mode: PERMISSIVE}"),
             ("default", "selector: {matchLabels: {app: reviews}}\nmtls: {mode: STRICT}")],
            {"tls"}, id="a workload of its own mind",
        ),
        pytest.param([("default", "selector: {matchLabels: {app: other}}\nmtls: {mode: STRICT}")],
                     {"tls", "raw_buffer"}, id="another workload's rule"),
        pytest.param([("default", "mtls: {mode: DISABLE}")], {"any"}, id="none"),
        pytest.param([("default", "mtls: {mode: UNSET}"), ("istio-system", "mtls: {mode: STRICT}")], {"tls"},
                     id="unset inherits"),
        pytest.param(
            [("default", "selector: {matchLabels: {app: reviews}}\nmtls: {mode: STRICT}\n"
                         "portLevelMtls: {9080: {mode: PERMISSIVE}}")],
            {"tls", "raw_buffer"}, id="a port of its own mind",
        ),
    ],
)  # fmt: skip
def test_what_a_workload_accepts(rules: list[tuple[str, str]], expected: set[str]) -> None:
    texts = [rule("PeerAuthentication", f"p{i}", spec, namespace) for i, (namespace, spec) in enumerate(rules)]
    listener = sidecar(*texts, of="reviews-v1").listeners["virtualInbound"]
    assert {chain.transport.value for chain in listener.filter_chains} == expected
    assert listener.detect_tls is ("tls" in expected)
    for chain in listener.filter_chains:
        assert (chain.tls is not None) is (chain.transport is TransportMatch.TLS)
        if chain.tls is not None:
            assert chain.tls.require_client_certificate
            assert chain.tls.trust_domains == ("cluster.local",)
            assert chain.tls.min_version == "TLSv1.3"


def test_workloads_that_take_no_tls_are_sent_none() -> None:
    text = rule("PeerAuthentication", "p", "selector: {matchLabels: {version: v2}}\nmtls: {mode: DISABLE}")
    loads = sidecar(text).loads["outbound|9080||reviews.default.svc.cluster.local"]
    assert [(e.workload.version, e.tls) for e in loads] == [("v1", True), ("v2", False), ("v3", True)]


def test_requests_that_arrive_go_to_the_application() -> None:
    simulation = sidecar(of="reviews-v2")
    listener = simulation.listeners["virtualInbound"]
    assert str(listener.address) == "127.0.0.1:10004"
    simulation.routes["inbound"] = listener.filter_chains[0].http.routes  # type: ignore[assignment]
    assert simulation.where("http://whatever/", table="inbound") == "inbound|9080||"
    assert simulation.addresses("inbound|9080||") == ["127.0.0.1:9004"]


def test_the_port_asked_for_tells_an_application_s_ports_apart() -> None:
    ports = [{"service_port": 80, "app": "127.0.0.1:1"}, {"service_port": 81, "app": "127.0.0.1:2"}]
    one = workload("a", "a", "v1", 9001, ports=ports)
    simulation = sidecar(of="a", workloads=(one,))
    simulation.routes["inbound"] = simulation.listeners["virtualInbound"].filter_chains[0].http.routes  # type: ignore[assignment]
    assert simulation.where("http://a:81/", table="inbound") == "inbound|81||"
    assert simulation.where("http://a:80/", table="inbound") == "inbound|80||"
    assert simulation.where("http://a/", table="inbound") == "inbound|80||"
    assert simulation.where("http://a/") == "a"
    assert simulation.route("http://a:82/") is not None
    assert simulation.where("http://a:82/") == 502


def test_a_client_without_a_service_has_no_inbound_listener() -> None:
    client = Workload(name="load", service_account="load", outbound="127.0.0.1:7000")
    simulation = sidecar(of="load", workloads=(*WORKLOADS, client))
    assert list(simulation.listeners) == ["virtualOutbound"]
    assert simulation.where("http://reviews/") == "reviews"


GATEWAY = rule("Gateway", "edge", """
selector: {istio: ingressgateway}
servers:
- port: {number: 80, name: http, protocol: HTTP}
  hosts: ["*"]
""")  # fmt: skip


def edge(*texts: str) -> Simulation:
    return simulate(mesh(*texts), proxy("ingress"))


def test_a_gateway_lets_in_what_rules_name() -> None:
    simulation = edge(GATEWAY, rule("VirtualService", "bookinfo", """
hosts: ["*"]
gateways: [edge]
http:
- match: [{uri: {exact: /productpage}}, {uri: {prefix: /static}}]
  route: [{destination: {host: productpage, port: {number: 9080}}}]
"""))  # fmt: skip
    for authority in ("localhost:18080", "example.com", "10.0.0.1"):
        assert simulation.where(f"http://{authority}/productpage", table="http.80") == "productpage"
    assert simulation.where("http://localhost/reviews", table="http.80") is None
    (listener,) = simulation.listeners.values()
    assert listener.name == "127.0.0.1_18080"
    assert not listener.filter_chains[0].http.trust_forwarded


def test_an_outside_client_reaches_no_service_that_is_not_exposed() -> None:
    simulation = edge(GATEWAY)
    for authority in ("reviews", "reviews.default.svc.cluster.local:9080", "localhost"):
        assert simulation.where(f"http://{authority}/", table="http.80") is None


def test_a_gateway_s_hosts_bound_what_rules_may_claim() -> None:
    narrow = GATEWAY.replace('"*"', '"*.example.com", "default/shop.test"')
    name = "VirtualService"
    simulation = edge(
        narrow,
        rule(
            name, "a", "hosts: [a.example.com, other.test]\ngateways: [edge]\nhttp: [{directResponse: {status: 201}}]"
        ),
        rule(name, "b", "hosts: ['*']\ngateways: [edge]\nhttp: [{directResponse: {status: 202}}]"),
        rule(
            name, "c", "hosts: [shop.test]\ngateways: [default/edge]\nhttp: [{directResponse: {status: 203}}]", "away"
        ),
    )
    assert simulation.where("http://a.example.com/", table="http.80") == 201
    assert simulation.where("http://b.example.com:18080/", table="http.80") == 202
    assert simulation.where("http://other.test/", table="http.80") is None
    assert simulation.where("http://shop.test/", table="http.80") == 202


def test_rules_of_a_gateway_are_merged_and_what_takes_everything_comes_last() -> None:
    name = "VirtualService"
    simulation = edge(
        GATEWAY,
        rule(name, "all", "hosts: ['*']\ngateways: [edge]\nhttp: [{directResponse: {status: 201}}]"),
        rule(name, "some", "hosts: ['*']\ngateways: [edge]\nhttp:\n- match: [{uri: {prefix: /some}}]\n"
                           "  directResponse: {status: 202}"),
    )  # fmt: skip
    assert simulation.where("http://x/some", table="http.80") == 202
    assert simulation.where("http://x/other", table="http.80") == 201


def test_a_rule_for_gateways_alone_changes_nothing_within_the_mesh() -> None:
    text = rule("VirtualService", "r", "hosts: [reviews]\ngateways: [edge]\nhttp: [{directResponse: {status: 418}}]")
    assert sidecar(GATEWAY, text).where("http://reviews/") == "reviews"
    assert edge(GATEWAY, text).where("http://reviews.default.svc.cluster.local/", table="http.80") == 418


def test_a_rule_may_treat_the_gateway_and_the_mesh_differently() -> None:
    text = rule("VirtualService", "r", """
hosts: [reviews]
gateways: [mesh, edge]
http:
- match: [{gateways: [edge]}]
  directResponse: {status: 201}
- directResponse: {status: 202}
""")  # fmt: skip
    assert sidecar(GATEWAY, text).where("http://reviews/") == 202
    assert edge(GATEWAY, text).where("http://reviews.default.svc.cluster.local/", table="http.80") == 201


def test_a_service_outside_is_found_by_its_name() -> None:
    simulation = sidecar(rule("ServiceEntry", "api", """
hosts: [api.example.com]
ports: [{number: 443, name: https, protocol: http}]
location: MESH_EXTERNAL
resolution: DNS
"""))  # fmt: skip
    assert simulation.where("http://api.example.com:443/") == "api.example.com"
    cluster = simulation.clusters["outbound|443||api.example.com"]
    assert cluster.discovery is Discovery.DNS
    assert [str(e.address) for e in cluster.endpoints] == ["api.example.com:443"]
    assert cluster.tls is None


def test_a_service_outside_may_have_fixed_addresses() -> None:
    simulation = sidecar(rule("ServiceEntry", "db", """
hosts: [db.example.com]
ports: [{number: 80, name: http, targetPort: 8080}, {number: 81, name: admin}]
resolution: STATIC
endpoints:
- {address: 192.0.2.1, weight: 3}
- {address: 192.0.2.2, ports: {admin: 9999}}
"""))  # fmt: skip
    assert simulation.addresses("outbound|80||db.example.com") == ["192.0.2.1:8080", "192.0.2.2:8080"]
    assert simulation.addresses("outbound|81||db.example.com") == ["192.0.2.1:81", "192.0.2.2:9999"]
    assert [e.weight for e in simulation.loads["outbound|80||db.example.com"]] == [3, 1]


ORIGINATE = (
    rule("ServiceEntry", "api", "hosts: [api.example.com]\nports: [{number: 443, name: https}]\nresolution: DNS"),
    rule("DestinationRule", "api", "host: api.example.com\ntrafficPolicy: {tls: {mode: SIMPLE}}"),
)


def test_tls_to_the_outside_is_checked_against_the_system_s_authorities() -> None:
    settings = MeshSettings(root_pem=ROOT_PEM, system_roots_pem=ROOT_PEM)
    simulation = simulate(mesh(*ORIGINATE, settings=settings), proxy("reviews-v1"))
    tls = simulation.clusters["outbound|443||api.example.com"].tls
    assert tls is not None
    assert (tls.sni, tls.sans, tls.certificate) == ("api.example.com", ("api.example.com",), None)
    assert tls.validation == "file-root:system"


def test_without_authorities_nothing_is_sent_outside_unchecked() -> None:
    simulation = sidecar(*ORIGINATE)
    assert simulation.addresses("outbound|443||api.example.com") == []


def test_a_stored_service_selects_workloads_by_label() -> None:
    simulation = sidecar(rule("Service", "stars", """
selector: {app: reviews}
ports: [{port: 80, targetPort: 9080, name: http}]
"""))  # fmt: skip
    assert simulation.where("http://stars/") == "stars"
    assert len(simulation.addresses("outbound|80||stars.default.svc.cluster.local")) == 3


def test_equal_input_gives_equal_bytes_and_one_change_few() -> None:
    text = rule("VirtualService", "r", "hosts: [reviews]\nhttp: [{directResponse: {status: 418}}]")
    one, same = (generate(mesh(), proxy("reviews-v1")) for _ in range(2))
    changed = generate(mesh(text), proxy("reviews-v1"))
    assert one == same
    assert changed.hash != one.hash
    assert [u.rpartition(".")[2] for u in one.versions if one.versions[u] != changed.versions[u]] == [
        "RouteConfiguration"
    ]


def test_a_rule_of_one_service_leaves_other_proxies_hashes_alone() -> None:
    text = rule("VirtualService", "r", "hosts: ['*']\ngateways: [edge]\nhttp: [{directResponse: {status: 418}}]")
    assert generate(mesh(GATEWAY), proxy("reviews-v1")) == generate(mesh(GATEWAY, text), proxy("reviews-v1"))
    assert generate(mesh(GATEWAY), proxy("ingress")) != generate(mesh(GATEWAY, text), proxy("ingress"))
