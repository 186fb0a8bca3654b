"""Resources that are understood, and what they are understood as."""

from typing import Any

import pytest

from mesh.records import Workload
from sidecar.config.cluster import (
    Balancing,
    Cluster,
    Discovery,
    Http2,
    Protocol,
    Service,
    TcpKeepAlive,
    Thresholds,
    UpstreamTls,
)
from sidecar.config.endpoint import Address, Endpoint
from sidecar.config.listener import Codec, Direction, DownstreamTls, Listener, TransportMatch
from sidecar.config.outlier import OutlierDetection
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
    WeightedCluster,
)
from sidecar.config.secret import Certificate, TrustAnchors
from sidecar.xds.decode import decode
from sidecar.xds.kinds import Kind
from sidecar.xds.needs import LoadAssignment, Needs
from tests.sidecar.xds.authority import TestAuthority
from tests.sidecar.xds.resources import (
    ADS,
    INSPECTOR,
    TYPE,
    anchors,
    assignment,
    chain,
    common_tls,
    downstream_tls,
    eds_cluster,
    listener,
    manager,
    pack,
    raw_socket,
    rds,
    routes,
    socket_address,
    upstream_tls,
)


def decode_cluster(**changes: Any) -> Cluster:
    value = decode(Kind.CDS, pack(Kind.CDS, eds_cluster("c", **changes))).value
    assert isinstance(value, Cluster)
    return value


def decode_listener(plain: dict[str, Any], *, gateway: bool = False) -> Listener:
    value = decode(Kind.LDS, pack(Kind.LDS, plain), gateway=gateway).value
    assert isinstance(value, Listener)
    return value


def decode_route(plain: dict[str, Any]) -> Route:
    host = {"name": "h", "domains": ["*"], "routes": [{"match": {"prefix": "/"}} | plain]}
    value = decode(Kind.RDS, pack(Kind.RDS, {"name": "r", "virtual_hosts": [host]})).value
    assert isinstance(value, RouteConfiguration)
    return value.virtual_hosts[0].routes[0]


def decode_forward(**action: Any) -> Forward:
    value = decode_route({"route": {"cluster": "c"} | action}).action
    assert isinstance(value, Forward)
    return value


def decode_match(**match: Any) -> RouteMatch:
    return decode_route({"match": {"prefix": "/"} | match, "route": {"cluster": "c"}}).match


# Clusters


def test_an_eds_cluster_names_the_endpoints_to_subscribe_to() -> None:
    plain = eds_cluster("c", eds_cluster_config={"eds_config": ADS, "service_name": "elsewhere"})
    decoded = decode(Kind.CDS, pack(Kind.CDS, plain))
    assert decoded.needs == Needs(assignments=frozenset({"elsewhere"}))
    assert decoded.value == Cluster("c", Discovery.EDS, balancing=Balancing.ROUND_ROBIN, connect_timeout_s=1.0)


def test_an_eds_cluster_without_service_name_is_subscribed_to_by_its_own() -> None:
    decoded = decode(Kind.CDS, pack(Kind.CDS, eds_cluster("c", eds_cluster_config={"eds_config": ADS})))
    assert decoded.needs.assignments == {"c"}


def test_a_cluster_has_its_limits_timeouts_and_service() -> None:
    cluster = decode_cluster(
        lb_policy="LEAST_REQUEST",
        connect_timeout="0.250s",
        circuit_breakers={"thresholds": [{"max_connections": 1, "max_pending_requests": 2, "max_requests": 3}]},
        metadata={"filter_metadata": {"istio": {"services": [{"host": "c.ns.svc", "name": "c", "namespace": "ns"}]}}},
        typed_extension_protocol_options={
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": TYPE + "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http_protocol_options": {}},
                "common_http_protocol_options": {"idle_timeout": "7s", "max_requests_per_connection": 9},
            }
        },
    )
    assert cluster.balancing is Balancing.LEAST_REQUEST
    assert cluster.connect_timeout_s == 0.25
    assert cluster.thresholds == Thresholds(1, 2, 3, 3)
    assert cluster.service == Service("c.ns.svc", "c", "ns")
    assert (cluster.idle_timeout_s, cluster.max_requests_per_connection) == (7.0, 9)


def test_envoys_defaults_hold_where_a_cluster_says_nothing() -> None:
    assert decode(Kind.CDS, pack(Kind.CDS, {"name": "s", "type": "STATIC"})).value == Cluster(
        "s", Discovery.STATIC, balancing=Balancing.ROUND_ROBIN, connect_timeout_s=5.0
    )


def test_outliers_are_detected_by_envoys_defaults_where_only_rates_are_switched_off() -> None:
    assert decode_cluster(outlier_detection={"enforcing_success_rate": 0}).outlier == OutlierDetection()


def test_every_number_of_outlier_detection_is_taken() -> None:
    cluster = decode_cluster(
        outlier_detection={
            "consecutive_5xx": 1,
            "enforcing_consecutive_5xx": 2,
            "consecutive_gateway_failure": 3,
            "enforcing_consecutive_gateway_failure": 4,
            "split_external_local_origin_errors": True,
            "consecutive_local_origin_failure": 5,
            "enforcing_consecutive_local_origin_failure": 6,
            "interval": "7s",
            "base_ejection_time": "8s",
            "max_ejection_time": "9.5s",
            "max_ejection_time_jitter": "0.5s",
            "max_ejection_percent": 10,
            "always_eject_one_host": True,
            "enforcing_success_rate": 0,
            "enforcing_local_origin_success_rate": 0,
        },
        common_lb_config={"healthy_panic_threshold": {"value": 11}},
    )
    assert cluster.outlier == OutlierDetection(1, 2, 3, 4, True, 5, 6, 7.0, 8.0, 9.5, 0.5, 10, True)
    assert cluster.panic_percent == 11.0


def test_the_longest_ejection_is_never_shorter_than_the_first() -> None:
    cluster = decode_cluster(outlier_detection={"enforcing_success_rate": 0, "base_ejection_time": "400s"})
    assert cluster.outlier is not None
    assert cluster.outlier.max_ejection_s == 400.0


def test_endpoints_have_priorities_and_these_a_factor() -> None:
    plain = assignment("c", 80)
    plain["endpoints"].append({"priority": 2, **assignment("c", 81)["endpoints"][0]})
    plain["policy"] = {"overprovisioning_factor": 200}
    near, far = Endpoint(Address("127.0.0.1", 80)), Endpoint(Address("127.0.0.1", 81), priority=2)
    assert decode(Kind.EDS, pack(Kind.EDS, plain)).value == LoadAssignment("c", (near, far), 200)


def test_a_static_cluster_brings_its_endpoints() -> None:
    plain = {"name": "inbound|9080||", "type": "STATIC", "load_assignment": assignment("inbound|9080||", 80)}
    value = decode(Kind.CDS, pack(Kind.CDS, plain)).value
    assert isinstance(value, Cluster)
    assert value.endpoints == (Endpoint(Address("127.0.0.1", 80)),)


@pytest.mark.parametrize("kind", ["STRICT_DNS", "LOGICAL_DNS"])
def test_a_dns_cluster_keeps_host_names(kind: str) -> None:
    endpoints = {"endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket_address("example.com", 443)}}]}]}
    plain = {"name": "d", "type": kind, "load_assignment": {"cluster_name": "d"} | endpoints, "dns_refresh_rate": "9s"}
    value = decode(Kind.CDS, pack(Kind.CDS, plain)).value
    assert isinstance(value, Cluster)
    assert (value.discovery, value.dns_refresh_s) == (Discovery.DNS, 9.0)
    assert value.endpoints[0].address == Address("example.com", 443)


def test_istios_pair_of_sockets_means_tls_where_it_is_offered() -> None:
    names = {
        "match_typed_subject_alt_names": [
            {"san_type": "URI", "matcher": {"exact": "spiffe://cluster.local/ns/a/sa/b"}},
            {"san_type": "URI", "matcher": {"exact": "spiffe://cluster.local/ns/a/sa/c"}},
        ]
    }
    common = common_tls(
        combined_validation_context={
            "default_validation_context": names,
            "validation_context_sds_secret_config": {"name": "ROOTCA", "sds_config": ADS},
        }
    )
    plain = eds_cluster(
        "c",
        transport_socket_matches=[
            {
                "name": "tlsMode-istio",
                "match": {"tlsMode": "istio"},
                "transport_socket": upstream_tls(sni="outbound_.80_._.c", common_tls_context=common),
            },
            {"name": "tlsMode-disabled", "match": {}, "transport_socket": raw_socket()},
        ],
    )
    decoded = decode(Kind.CDS, pack(Kind.CDS, plain))
    assert isinstance(decoded.value, Cluster)
    assert decoded.value.tls == UpstreamTls(
        sni="outbound_.80_._.c",
        certificate="default",
        validation="ROOTCA",
        sans=("spiffe://cluster.local/ns/a/sa/b", "spiffe://cluster.local/ns/a/sa/c"),
        alpn=("http/1.1",),
        only_where_offered=True,
    )
    assert decoded.needs.secrets == {"ROOTCA"}, "the agent's own `default` is not asked of the control plane"


def test_one_socket_for_all_means_tls_always() -> None:
    tls = decode_cluster(transport_socket=upstream_tls(sni="s")).tls
    assert tls is not None
    assert (tls.sni, tls.only_where_offered) == ("s", False)


def test_a_raw_buffer_is_plaintext() -> None:
    assert decode_cluster(transport_socket=raw_socket()).tls is None


# Endpoints


def test_an_endpoint_has_weight_health_tls_and_workload() -> None:
    plain = {
        "cluster_name": "c",
        "endpoints": [
            {
                "locality": {"zone": "z"},
                "load_balancing_weight": 3,
                "lb_endpoints": [
                    {
                        "endpoint": {"address": socket_address("10.0.0.1", 8080)},
                        "load_balancing_weight": 5,
                        "health_status": "DRAINING",
                        "metadata": {
                            "filter_metadata": {
                                "envoy.transport_socket_match": {"tlsMode": "istio"},
                                "istio": {"workload": "reviews-v1;default;reviews;v1;laptop"},
                                "remora": {"principal": "spiffe://cluster.local/ns/default/sa/reviews"},
                            }
                        },
                    }
                ],
            }
        ],
    }
    value = decode(Kind.EDS, pack(Kind.EDS, plain)).value
    workload = Workload(
        "reviews-v1", "default", "reviews", "v1", "reviews", "v1", "laptop",
        "spiffe://cluster.local/ns/default/sa/reviews",
    )  # fmt: skip
    assert value == LoadAssignment("c", (Endpoint(Address("10.0.0.1", 8080), 5, False, True, workload),))


def test_parts_of_a_workload_that_are_not_known_are_unknown() -> None:
    plain = assignment("c", 80)
    plain["endpoints"][0]["lb_endpoints"][0]["metadata"] = {"filter_metadata": {"istio": {"workload": "w;ns;;;"}}}
    value = decode(Kind.EDS, pack(Kind.EDS, plain)).value
    assert isinstance(value, LoadAssignment)
    assert value.endpoints[0].workload == Workload("w", "ns")


def test_no_endpoints_are_an_answer() -> None:
    assert decode(Kind.EDS, pack(Kind.EDS, {"cluster_name": "c"})).value == LoadAssignment("c", ())


# Listeners


def test_an_outbound_listener_waits_for_its_routes() -> None:
    http = manager(
        rds=rds("outbound"),
        tracing={"random_sampling": {"value": 1.0}},
        access_log=[
            {
                "name": "envoy.access_loggers.file",
                "typed_config": {
                    "@type": TYPE + "envoy.extensions.access_loggers.file.v3.FileAccessLog",
                    "path": "/dev/stdout",
                    "log_format": {"json_format": {"a": "%PROTOCOL%"}},
                },
            }
        ],
    )
    decoded = decode(Kind.LDS, pack(Kind.LDS, listener("virtualOutbound", 15001, chain(http))))
    value = decoded.value
    assert isinstance(value, Listener)
    assert decoded.needs == Needs(routes=frozenset({"outbound"}))
    assert (value.address, value.direction) == (Address("127.0.0.1", 15001), Direction.OUTBOUND)
    (only,) = value.filter_chains
    assert (only.transport, only.tls) == (TransportMatch.ANY, None)
    assert (only.http.route_name, only.http.routes) == ("outbound", None)
    assert (only.http.sampling_percent, only.http.trace, only.http.access_log) == (1.0, True, True)
    assert only.http.fault_filter
    assert only.http.trust_forwarded, "a sidecar believes its own application"


def test_without_tracing_and_access_log_there_is_neither() -> None:
    http = decode_listener(listener("l", 80, chain(manager(rds=rds("r"))))).filter_chains[0].http
    assert (http.trace, http.access_log) == (False, False)


def inbound(*chains: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return listener(
        "virtualInbound", 15006, *chains, traffic_direction="INBOUND", listener_filters=[INSPECTOR], **changes
    )


def test_a_permissive_inbound_listener_believes_only_what_came_by_mutual_tls() -> None:
    inline = manager(route_config=routes("inbound", "inbound|9080||"))
    plain = inbound(
        chain(inline, filter_chain_match={"transport_protocol": "tls"}, transport_socket=downstream_tls()),
        chain(inline, filter_chain_match={"transport_protocol": "raw_buffer"}),
    )
    decoded = decode(Kind.LDS, pack(Kind.LDS, plain))
    value = decoded.value
    assert isinstance(value, Listener)
    assert (value.direction, value.detect_tls) == (Direction.INBOUND, True)
    mutual, plaintext = value.filter_chains
    assert (mutual.transport, plaintext.transport) == (TransportMatch.TLS, TransportMatch.RAW)
    assert mutual.tls == DownstreamTls("default", "ROOTCA", True, ("http/1.1",), "TLSv1.3", ())
    assert mutual.http.trust_forwarded
    assert not plaintext.http.trust_forwarded
    assert mutual.http.routes is not None
    assert mutual.http.routes.virtual_hosts[0].domains == ("inbound|9080||",)
    assert decoded.needs == Needs(secrets=frozenset({"ROOTCA"}), clusters=frozenset({"inbound|9080||"}))


def test_a_prefix_of_the_clients_uri_is_its_trust_domain() -> None:
    validation = {
        "default_validation_context": {
            "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"prefix": "spiffe://cluster.local/"}}]
        },
        "validation_context_sds_secret_config": {"name": "ROOTCA", "sds_config": ADS},
    }
    tls = downstream_tls(common_tls_context=common_tls(combined_validation_context=validation))
    http = manager(route_config=routes("inbound", "c"))
    value = decode_listener(inbound(chain(http, transport_socket=tls)))
    assert value.filter_chains[0].tls is not None
    assert value.filter_chains[0].tls.trust_domains == ("cluster.local",)


def test_a_gateways_listener_is_the_edge_which_believes_nothing() -> None:
    plain = listener("127.0.0.1_8080", 8080, chain(manager(rds=rds("http.80"), use_remote_address=True)))
    value = decode_listener(plain, gateway=True)
    assert value.direction is Direction.GATEWAY
    assert not value.filter_chains[0].http.trust_forwarded


def test_a_default_filter_chain_is_told_apart() -> None:
    plain = inbound(
        chain(manager(rds=rds("a")), filter_chain_match={"transport_protocol": "tls"}),
        default_filter_chain=chain(manager(rds=rds("b"))),
    )
    value = decode_listener(plain)
    assert [each.transport for each in value.filter_chains] == [TransportMatch.TLS]
    assert value.default_chain is not None
    assert value.default_chain.http is not None
    assert value.default_chain.http.route_name == "b"


def test_limits_of_a_connection_manager() -> None:
    http = manager(
        rds=rds("r"),
        common_http_protocol_options={"idle_timeout": "10s", "max_headers_count": 7},
        request_headers_timeout="2s",
        stream_idle_timeout="0s",
        max_request_headers_kb=8,
        server_name="other",
    )
    got = decode_listener(listener("l", 80, chain(http))).filter_chains[0].http
    assert (got.idle_timeout_s, got.max_headers, got.request_headers_timeout_s) == (10.0, 7, 2.0)
    assert got.stream_idle_timeout_s == 86_400.0, "0 means off in Envoy; nothing stays for ever here"
    assert (got.max_header_bytes, got.server_name) == (8192, "other")


def test_upgrades_of_a_connection_manager_and_of_a_route() -> None:
    upgrades = [{"upgrade_type": "WebSocket"}, {"upgrade_type": "other", "enabled": False}]
    http = manager(rds=rds("r"), upgrade_configs=upgrades)
    assert decode_listener(listener("l", 80, chain(http))).filter_chains[0].http.upgrades == ("websocket",)
    http = manager(
        rds=rds("r"), upgrade_configs=[{"upgrade_type": "CONNECT"}], http2_protocol_options={"allow_connect": True}
    )
    assert decode_listener(listener("l", 80, chain(http))).filter_chains[0].http.upgrades == ("connect",)


@pytest.mark.parametrize(
    ("config", "ends"), [pytest.param({"connect_config": {}}, True, id="ends"), pytest.param({}, False, id="goes on")]
)
def test_a_route_for_connect(config: dict[str, Any], ends: bool) -> None:
    action = {"cluster": "c", "upgrade_configs": [{"upgrade_type": "CONNECT", **config}]}
    route = decode_route({"match": {"connect_matcher": {}}, "route": action})
    assert route.match == RouteMatch(connect=True)
    assert isinstance(route.action, Forward)
    assert (route.action.upgrades, route.action.end_connect) == ((("connect", True),), ends)


# Routes


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        pytest.param({"prefix": "/a"}, RouteMatch(StringMatch(MatchKind.PREFIX, "/a")), id="prefix"),
        pytest.param({"prefix": None, "path": "/a"}, RouteMatch(StringMatch(MatchKind.EXACT, "/a")), id="path"),
        pytest.param(
            {"prefix": None, "path": "/A", "case_sensitive": False},
            RouteMatch(StringMatch(MatchKind.EXACT, "/A", True)),
            id="path in any case",
        ),
        pytest.param(
            {"prefix": None, "safe_regex": {"regex": "/a[0-9]+"}},
            RouteMatch(StringMatch(MatchKind.REGEX, "/a[0-9]+")),
            id="regular expression",
        ),
        pytest.param(
            {"prefix": None, "path_separated_prefix": "/a"},
            RouteMatch(StringMatch(MatchKind.PREFIX, "/a"), True),
            id="path-separated prefix",
        ),
        pytest.param(
            {"headers": [{"name": "End-User", "string_match": {"exact": "jason"}}]},
            RouteMatch(headers=(HeaderMatch("end-user", StringMatch(MatchKind.EXACT, "jason")),)),
            id="header",
        ),
        pytest.param(
            {"headers": [{"name": "host", "string_match": {"suffix": ".x", "ignore_case": True}}]},
            RouteMatch(headers=(HeaderMatch(":authority", StringMatch(MatchKind.SUFFIX, ".x", True)),)),
            id="host is the authority",
        ),
        pytest.param(
            {"headers": [{"name": "a", "present_match": True, "invert_match": True}]},
            RouteMatch(headers=(HeaderMatch("a", StringMatch(MatchKind.PRESENT), True),)),
            id="header absent",
        ),
        pytest.param(
            {"headers": [{"name": "a", "present_match": False}]},
            RouteMatch(headers=(HeaderMatch("a", StringMatch(MatchKind.PRESENT), True),)),
            id="header not present",
        ),
        pytest.param(
            {"headers": [{"name": "a"}]},
            RouteMatch(headers=(HeaderMatch("a", StringMatch(MatchKind.PRESENT)),)),
            id="header with any value",
        ),
        pytest.param(
            {
                "headers": [
                    {
                        "name": "a",
                        "string_match": {"contains": "x"},
                        "invert_match": True,
                        "treat_missing_header_as_empty": True,
                    }
                ]
            },
            RouteMatch(headers=(HeaderMatch("a", StringMatch(MatchKind.CONTAINS, "x"), True, True),)),
            id="header that is missing counts as empty",
        ),
        pytest.param(
            {"headers": [{"name": "a", "prefix_match": "x"}, {"name": "b", "safe_regex_match": {"regex": "y+"}}]},
            RouteMatch(
                headers=(
                    HeaderMatch("a", StringMatch(MatchKind.PREFIX, "x")),
                    HeaderMatch("b", StringMatch(MatchKind.REGEX, "y+")),
                )
            ),
            id="deprecated header matches",
        ),
        pytest.param(
            {"query_parameters": [{"name": "q", "string_match": {"exact": "1"}}, {"name": "p"}]},
            RouteMatch(
                query=(
                    QueryMatch("q", StringMatch(MatchKind.EXACT, "1")),
                    QueryMatch("p", StringMatch(MatchKind.PRESENT)),
                )
            ),
            id="query parameters",
        ),
    ],
)
def test_matches(match: dict[str, Any], expected: RouteMatch) -> None:
    match = {key: value for key, value in ({"prefix": "/"} | match).items() if value is not None}
    assert decode_route({"match": match, "route": {"cluster": "c"}}).match == expected


@pytest.mark.parametrize(
    ("action", "timeout_s"),
    [({}, 15.0), ({"timeout": "0s"}, None), ({"timeout": "1.5s"}, 1.5)],
    ids=["Envoy's default where not said", "none for 0", "as said"],
)
def test_a_routes_timeout(action: dict[str, Any], timeout_s: float | None) -> None:
    assert decode_forward(**action).timeout_s == timeout_s


def test_weights_and_their_header_edits() -> None:
    weighted = {
        "clusters": [
            {
                "name": "v1",
                "weight": 80,
                "request_headers_to_add": [{"header": {"key": "X-A", "value": "100%%"}}],
                "response_headers_to_remove": ["X-B"],
            },
            {"name": "v3", "weight": 20},
        ],
        "total_weight": 100,
    }
    route = decode_route({"route": {"weighted_clusters": weighted}})
    assert isinstance(route.action, Forward)
    edits = HeaderEdits(request_add=(("x-a", "100%"),), response_remove=("x-b",))
    assert route.action.clusters == (WeightedCluster("v1", 80, edits), WeightedCluster("v3", 20))


def test_header_edits_are_set_added_or_removed() -> None:
    edits = decode_route(
        {
            "route": {"cluster": "c"},
            "request_headers_to_add": [
                {"header": {"key": "a", "value": "1"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"},
                {"header": {"key": "b", "value": "2"}, "append_action": "APPEND_IF_EXISTS_OR_ADD"},
                {"header": {"key": "c", "value": "3"}, "append": False},
                {"header": {"key": "empty"}, "keep_empty_value": True},
                {"header": {"key": "dropped"}},
            ],
            "request_headers_to_remove": ["d"],
            "response_headers_to_add": [{"header": {"key": "e", "value": "4"}}],
        }
    ).headers
    assert edits == HeaderEdits(
        request_set=(("a", "1"), ("c", "3")),
        request_add=(("b", "2"), ("empty", "")),
        request_remove=("d",),
        response_add=(("e", "4"),),
    )


def test_a_retry_policy() -> None:
    policy = decode_forward(
        retry_policy={
            "retry_on": "connect-failure,refused-stream, retriable-status-codes",
            "num_retries": 3,
            "per_try_timeout": "2s",
            "retriable_status_codes": [503],
            "retry_back_off": {"base_interval": "0.1s", "max_interval": "0.5s"},
            "retry_host_predicate": [{"name": "envoy.retry_host_predicates.previous_hosts"}],
            "host_selection_retry_max_attempts": 5,
        }
    ).retry
    assert policy == RetryPolicy(
        frozenset({RetryOn.CONNECT_FAILURE, RetryOn.REFUSED_STREAM, RetryOn.STATUS_CODES}),
        3, 2.0, frozenset({503}), 0.1, 0.5,
    )  # fmt: skip


def test_rewrites_and_mirrors() -> None:
    action = decode_forward(
        host_rewrite_literal="Other",
        regex_rewrite={"pattern": {"regex": "^/a/(.*)$"}, "substitution": "/b/\\1"},
        request_mirror_policies=[
            {"cluster": "copy", "runtime_fraction": {"default_value": {"numerator": 25, "denominator": "TEN_THOUSAND"}}}
        ],
        max_stream_duration={"max_stream_duration": "0s", "grpc_timeout_header_max": "0s"},
    )
    assert action.host_rewrite == "other"
    assert action.regex_rewrite == ("^/a/(.*)$", "/b/\\1")
    assert action.mirror == (("copy", 0.25),)


def test_clusters_that_routes_name_are_needed() -> None:
    plain = routes("r", "a", "b")
    plain["virtual_hosts"][0]["routes"][0]["route"]["request_mirror_policies"] = [{"cluster": "m"}]
    assert decode(Kind.RDS, pack(Kind.RDS, plain)).needs.clusters == {"a", "b", "m"}


def test_a_redirect() -> None:
    plain = {
        "redirect": {
            "https_redirect": True,
            "host_redirect": "h",
            "port_redirect": 8443,
            "path_redirect": "/p",
            "response_code": "PERMANENT_REDIRECT",
        }
    }
    assert decode_route(plain).action == Redirect(308, "https", "h", 8443, "/p")


def test_a_direct_response() -> None:
    plain = {"direct_response": {"status": 404, "body": {"inline_string": "no such page"}}}
    assert decode_route(plain).action == DirectResponse(404, b"no such page")


def test_a_fault_of_a_route() -> None:
    fault = {
        "@type": TYPE + "envoy.extensions.filters.http.fault.v3.HTTPFault",
        "delay": {"fixed_delay": "7s", "percentage": {"numerator": 100}},
        "abort": {"http_status": 500, "percentage": {"numerator": 5, "denominator": "MILLION"}},
    }
    plain = {"route": {"cluster": "c"}, "typed_per_filter_config": {"envoy.filters.http.fault": fault}}
    assert decode_route(plain).fault == Fault(7.0, 100.0, 500, 0.0005)


def test_virtual_hosts_have_lower_case_domains_of_every_form() -> None:
    plain = routes("r", "a")
    plain["virtual_hosts"][0]["domains"] = ["Reviews", "*.Example.com", "reviews:*", "*", "*:9080"]
    value = decode(Kind.RDS, pack(Kind.RDS, plain)).value
    assert isinstance(value, RouteConfiguration)
    assert value.virtual_hosts[0].domains == ("reviews", "*.example.com", "reviews:*", "*", "*:9080")


# Secrets


def test_trust_anchors_as_text_or_bytes() -> None:
    pem = TestAuthority().pem
    assert decode(Kind.SDS, pack(Kind.SDS, anchors("ROOTCA", pem))).value == TrustAnchors("ROOTCA", pem)


def test_a_certificate_with_its_key() -> None:
    chain_pem, key_pem = TestAuthority().pair("spiffe://a/ns/b/sa/c")
    plain = {
        "name": "gateway",
        "tls_certificate": {
            "certificate_chain": {"inline_string": chain_pem},
            "private_key": {"inline_string": key_pem},
        },
    }
    assert decode(Kind.SDS, pack(Kind.SDS, plain)).value == Certificate("gateway", chain_pem, key_pem)


@pytest.mark.parametrize(
    ("options", "protocol"),
    [
        ({"explicit_http_config": {"http_protocol_options": {}}}, Protocol.HTTP1),
        ({"explicit_http_config": {"http2_protocol_options": {}}}, Protocol.HTTP2),
        ({"auto_config": {}}, Protocol.AUTO),
        ({"common_http_protocol_options": {"idle_timeout": "7s"}}, Protocol.HTTP1),
    ],
)
def test_what_a_cluster_speaks(options: dict[str, Any], protocol: Protocol) -> None:
    name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    plain = eds_cluster("c", typed_extension_protocol_options={name: {"@type": TYPE + name, **options}})
    value = decode(Kind.CDS, pack(Kind.CDS, plain)).value
    assert isinstance(value, Cluster)
    assert value.protocol is protocol


def test_how_http_2_is_spoken_to_a_cluster() -> None:
    name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    http2 = {
        "allow_connect": True,
        "max_concurrent_streams": 7,
        "initial_stream_window_size": 70_000,
        "initial_connection_window_size": 80_000,
        "connection_keepalive": {"interval": "30s", "timeout": "5s"},
    }
    for options in (
        {"explicit_http_config": {"http2_protocol_options": http2}},
        {"auto_config": {"http2_protocol_options": http2}},
    ):
        decoded = decode_cluster(typed_extension_protocol_options={name: {"@type": TYPE + name, **options}})
        assert decoded.http2 == Http2(7, 70_000, 80_000, 30.0, 5.0)


def test_the_kernel_s_keep_alive_of_a_cluster() -> None:
    options = {"tcp_keepalive": {"keepalive_time": 30, "keepalive_probes": 3}}
    assert decode_cluster(upstream_connection_options=options).tcp_keepalive == TcpKeepAlive(30, 0, 3)
    assert decode_cluster(upstream_connection_options={"tcp_keepalive": {}}).tcp_keepalive == TcpKeepAlive()
    assert decode_cluster().tcp_keepalive is None


@pytest.mark.parametrize(
    ("codec_type", "codec"), [("AUTO", Codec.AUTO), ("HTTP1", Codec.HTTP1), ("HTTP2", Codec.HTTP2)]
)
def test_what_a_listener_speaks(codec_type: str, codec: Codec) -> None:
    http = decode_listener(listener("l", 80, chain(manager(rds=rds("r"), codec_type=codec_type)))).filter_chains[0].http
    assert http is not None
    assert http.codec is codec
