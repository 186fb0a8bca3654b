"""What is set and not understood is rejected, with the path to it."""

from typing import Any

import pytest
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.json_format import ParseDict

from sidecar.xds.decode import decode
from sidecar.xds.kinds import Kind
from sidecar.xds.rejected import Rejected
from tests.sidecar.xds.authority import TestAuthority, key_pem, new_key
from tests.sidecar.xds.resources import (
    ADS,
    TYPE,
    anchors,
    assignment,
    chain,
    common_tls,
    downstream_tls,
    eds_cluster,
    listener,
    manager,
    merged,
    pack,
    raw_socket,
    rds,
    routes,
    upstream_tls,
)


def rejection(kind: Kind, packed: AnyMessage) -> Rejected:
    with pytest.raises(Rejected) as raised:
        decode(kind, packed)
    return raised.value


CLUSTER = eds_cluster("c")

OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
HTTP2 = f"typed_extension_protocol_options[{OPTIONS}].explicit_http_config.http2_protocol_options"


def http2_options(**options: Any) -> dict[str, Any]:
    """A cluster that speaks HTTP/2 so."""
    packed = {"@type": TYPE + OPTIONS, "explicit_http_config": {"http2_protocol_options": options}}
    return {"typed_extension_protocol_options": {OPTIONS: packed}}


def outlier(**options: Any) -> dict[str, Any]:
    """Outlier detection by failures in a row."""
    return {"outlier_detection": {"enforcing_success_rate": 0, **options}}


LISTENER = listener("l", 80, chain(manager(rds=rds("r"))))
HTTP = "filter_chains[0].filters[0].typed_config"
IN_HTTP = "filter_chains.0.filters.0.typed_config"
ROUTES = routes("r", "c")
ROUTE = "virtual_hosts[0].routes[0]"
IN_ROUTE = "virtual_hosts.0.routes.0"
ASSIGNMENT = assignment("c", 80)
ENDPOINT = "endpoints[0].lb_endpoints[0]"
IN_ENDPOINT = "endpoints.0.lb_endpoints.0"
LUA = {"name": "lua", "typed_config": {"@type": TYPE + "google.protobuf.Duration", "value": "1s"}}


@pytest.mark.parametrize(
    ("changes", "path", "why"),
    [
        pytest.param(
            {"outlier_detection": {}},
            "outlier_detection.enforcing_success_rate",
            "must be 0",
            id="ejection by rates of success, Envoy's default",
        ),
        pytest.param(
            outlier(split_external_local_origin_errors=True),
            "outlier_detection.enforcing_local_origin_success_rate",
            "must be 0",
            id="the same for failures on our side",
        ),
        pytest.param(
            outlier(enforcing_failure_percentage=1),
            "outlier_detection.enforcing_failure_percentage",
            "must be 0",
            id="ejection by rates of failure",
        ),
        pytest.param(
            outlier(monitors=[{"name": "m"}]), "outlier_detection.monitors", "not supported", id="monitors of others"
        ),
        pytest.param(
            outlier(base_ejection_time="20s", max_ejection_time="10s"),
            "outlier_detection.max_ejection_time",
            "less than base_ejection_time, 20 s",
            id="at most less than at least",
        ),
        pytest.param(
            outlier(interval="0s"), "outlier_detection.interval", "at least 0.001s", id="sweeps without a pause"
        ),
        pytest.param(
            outlier(max_ejection_percent=101), "outlier_detection.max_ejection_percent", "0 to 100", id="more than all"
        ),
        pytest.param(
            outlier() | {"type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "eds_cluster_config": None},
            "outlier_detection",
            "ORIGINAL_DST",
            id="outliers among addresses that clients choose",
        ),
        pytest.param(
            {"common_lb_config": {"healthy_panic_threshold": {"value": 101}}},
            "common_lb_config.healthy_panic_threshold.value",
            "0 to 100",
            id="panic always",
        ),
        pytest.param(
            {"common_lb_config": {"locality_weighted_lb_config": {}}},
            "common_lb_config.locality_weighted_lb_config",
            "not supported",
            id="weights of localities",
        ),
        pytest.param({"health_checks": [{"timeout": "1s"}]}, "health_checks", "not supported", id="health checks"),
        pytest.param({"lb_policy": "RING_HASH"}, "lb_policy", "RING_HASH", id="ring hash"),
        pytest.param({"lb_policy": 99}, "lb_policy", "99 is no value", id="a policy of the future"),
        pytest.param({"connect_timeout": "0s"}, "connect_timeout", "more than 0", id="no time to connect"),
        pytest.param(
            {"upstream_connection_options": {"tcp_keepalive": {"keepalive_time": 40_000}}},
            "upstream_connection_options.tcp_keepalive.keepalive_time",
            "32767",
            id="a keep-alive that the kernel does not know",
        ),
        pytest.param(
            http2_options(connection_keepalive={"interval": "1s"}),
            f"{HTTP2}.connection_keepalive.timeout",
            "at least",
            id="PINGs without a time-out",
        ),
        pytest.param(
            http2_options(connection_keepalive={"interval": "1s", "timeout": "1s", "connection_idle_interval": "1s"}),
            f"{HTTP2}.connection_keepalive.connection_idle_interval",
            "not supported",
            id="PINGs before requests",
        ),
        pytest.param(
            http2_options(max_concurrent_streams=0), f"{HTTP2}.max_concurrent_streams", "from 1", id="no streams"
        ),
        pytest.param(
            http2_options(initial_stream_window_size=1), f"{HTTP2}.initial_stream_window_size", "from", id="no window"
        ),
        pytest.param({"connect_timeout": "-1s"}, "connect_timeout", "duration", id="negative time"),
        pytest.param(
            {"eds_cluster_config.eds_config": {"path_config_source": {"path": "/x"}}},
            "eds_cluster_config.eds_config",
            "only `ads`",
            id="endpoints from a file",
        ),
        pytest.param(
            {"circuit_breakers": {"thresholds": [{"priority": "HIGH"}]}},
            "circuit_breakers.thresholds[0].priority",
            "HIGH",
            id="limits of another priority",
        ),
        pytest.param(
            {"circuit_breakers": {"thresholds": [{"retry_budget": {}}]}},
            "circuit_breakers.thresholds[0].retry_budget",
            "is not supported",
            id="retry budget",
        ),
        pytest.param(
            {"transport_socket": upstream_tls(max_session_keys=3)},
            "transport_socket.typed_config.max_session_keys",
            "is not supported",
            id="session keys",
        ),
        pytest.param(
            {"transport_socket": upstream_tls(), "transport_socket_matches": [{"transport_socket": raw_socket()}]},
            "transport_socket",
            "must be plaintext",
            id="two kinds of TLS",
        ),
        pytest.param(
            {"transport_socket_matches": [{"match": {"zone": "a"}, "transport_socket": upstream_tls()}]},
            "transport_socket_matches[0].match",
            "supported",
            id="TLS by another label",
        ),
        pytest.param(
            {
                "transport_socket": upstream_tls(
                    common_tls_context=common_tls(
                        tls_certificate_sds_secret_configs=[
                            {
                                "name": "other",
                                "sds_config": {
                                    "api_config_source": {
                                        "api_type": "GRPC",
                                        "grpc_services": [{"envoy_grpc": {"cluster_name": "sds-grpc"}}],
                                    }
                                },
                            }
                        ]
                    )
                )
            },
            "transport_socket.typed_config.common_tls_context.tls_certificate_sds_secret_configs[0].name",
            "no such secret",
            id="a secret that the agent does not have",
        ),
        pytest.param(
            {
                "typed_extension_protocol_options": {
                    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                        "@type": TYPE + "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                        "explicit_http_config": {"http3_protocol_options": {}},
                    }
                }
            },
            "typed_extension_protocol_options[envoy.extensions.upstreams.http.v3.HttpProtocolOptions]"
            ".explicit_http_config.http3_protocol_options",
            "only http_protocol_options",
            id="HTTP/3 upstream",
        ),
    ],
)
def test_clusters(changes: dict[str, Any], path: str, why: str) -> None:
    rejected = rejection(Kind.CDS, pack(Kind.CDS, merged(CLUSTER, changes)))
    assert (rejected.kind, rejected.resource, rejected.path) == ("CDS", "c", path)
    assert why in rejected.why


@pytest.mark.parametrize(
    ("changes", "path", "why"),
    [
        pytest.param({"address": {"pipe": {"path": "/x"}}}, "address.socket_address", "required", id="Unix socket"),
        pytest.param(
            {"address.socket_address.address": "localhost"},
            "address.socket_address.address",
            "not an IP address",
            id="host name",
        ),
        pytest.param({"address.socket_address.protocol": "UDP"}, "address.socket_address.protocol", "UDP", id="UDP"),
        pytest.param(
            {"address.socket_address.port_value": 0}, "address.socket_address.port_value", "not be 0", id="port 0"
        ),
        pytest.param({"traffic_direction": "UNSPECIFIED"}, "traffic_direction", "required", id="no direction"),
        pytest.param({"filter_chains": []}, "filter_chains", "required", id="no filter chain"),
        pytest.param({"access_log": [{"name": "x"}]}, "access_log", "not supported", id="listener's access log"),
        pytest.param(
            {"filter_chains.0.filter_chain_match": {"server_names": ["x"]}},
            "filter_chains[0].filter_chain_match.server_names",
            "tls_inspector",
            id="match by SNI without inspector",
        ),
        pytest.param(
            {"filter_chains.0.filter_chain_match": {"transport_protocol": "quic"}},
            "filter_chains[0].filter_chain_match.transport_protocol",
            "'quic'",
            id="QUIC",
        ),
        pytest.param(
            {"filter_chains.0.filter_chain_match": {"transport_protocol": "tls"}},
            "filter_chains[0].filter_chain_match.transport_protocol",
            "tls_inspector",
            id="TLS match without inspector",
        ),
        pytest.param({"filter_chains.0.filters": []}, "filter_chains[0].filters", "must be one", id="no filter"),
        pytest.param(
            {"filter_chains.0.filters.0": LUA},
            HTTP,
            "type google.protobuf.Duration is not supported",
            id="another network filter",
        ),
        pytest.param({f"{IN_HTTP}.codec_type": "HTTP3"}, f"{HTTP}.codec_type", "HTTP3", id="HTTP/3"),
        pytest.param({f"{IN_HTTP}.rds": None}, f"{HTTP}.rds", "routes must come", id="no routes"),
        pytest.param(
            {f"{IN_HTTP}.http_filters.0": LUA}, f"{HTTP}.http_filters[0].typed_config", "Duration", id="another filter"
        ),
        pytest.param({f"{IN_HTTP}.http_filters": []}, f"{HTTP}.http_filters", "router", id="no router"),
        pytest.param({f"{IN_HTTP}.merge_slashes": True}, f"{HTTP}.merge_slashes", "not supported", id="merge slashes"),
        pytest.param(
            {f"{IN_HTTP}.xff_num_trusted_hops": 1}, f"{HTTP}.xff_num_trusted_hops", "not supported", id="trusted hops"
        ),
        pytest.param(
            {f"{IN_HTTP}.forward_client_cert_details": "ALWAYS_FORWARD_ONLY"},
            f"{HTTP}.forward_client_cert_details",
            "ALWAYS_FORWARD_ONLY",
            id="a client's word about its certificate",
        ),
        pytest.param(
            {f"{IN_HTTP}.tracing": {"custom_tags": [{"tag": "x"}]}},
            f"{HTTP}.tracing.custom_tags",
            "not supported",
            id="custom tags",
        ),
        pytest.param(
            {f"{IN_HTTP}.tracing": {"random_sampling": {"value": 101}}},
            f"{HTTP}.tracing.random_sampling.value",
            "0 to 100",
            id="more than all traces",
        ),
        pytest.param(
            {f"{IN_HTTP}.upgrade_configs": [{"upgrade_type": "CONNECT-UDP"}]},
            f"{HTTP}.upgrade_configs[0].upgrade_type",
            "not supported",
            id="CONNECT-UDP",
        ),
    ],
)
def test_listeners(changes: dict[str, Any], path: str, why: str) -> None:
    rejected = rejection(Kind.LDS, pack(Kind.LDS, merged(LISTENER, changes)))
    assert (rejected.kind, rejected.resource, rejected.path) == ("LDS", "l", path)
    assert why in rejected.why


def test_a_client_certificate_cannot_be_required_without_anchors() -> None:
    socket = downstream_tls(
        common_tls_context={"tls_certificate_sds_secret_configs": common_tls()["tls_certificate_sds_secret_configs"]}
    )
    rejected = rejection(Kind.LDS, pack(Kind.LDS, merged(LISTENER, {"filter_chains.0.transport_socket": socket})))
    assert rejected.path == "filter_chains[0].transport_socket.typed_config.require_client_certificate"


@pytest.mark.parametrize(
    ("changes", "path", "why"),
    [
        pytest.param({"validate_clusters": True}, "validate_clusters", "only false", id="validate clusters"),
        pytest.param({"vhds": {"config_source": ADS}}, "vhds", "not supported", id="virtual hosts on demand"),
        pytest.param({"virtual_hosts.0.domains": []}, "virtual_hosts[0].domains", "required", id="no domain"),
        pytest.param(
            {"virtual_hosts.0.domains": ["a", "b.*.c"]}, "virtual_hosts[0].domains[1]", "b.*.c", id="star in the middle"
        ),
        pytest.param({"virtual_hosts.0.domains": ["a", "A"]}, "virtual_hosts", "domain a is in both", id="twice"),
        pytest.param({"virtual_hosts.0.cors": {}}, "virtual_hosts[0].cors", "not supported", id="CORS"),
        pytest.param({f"{IN_ROUTE}.match": {}}, f"{ROUTE}.match.prefix", "supported", id="no path match"),
        pytest.param(
            {f"{IN_ROUTE}.match": {"safe_regex": {"regex": "("}}},
            f"{ROUTE}.match.safe_regex.regex",
            "not a regular expression",
            id="broken pattern",
        ),
        pytest.param(
            {f"{IN_ROUTE}.match": {"safe_regex": {"regex": "a" * 1025}}},
            f"{ROUTE}.match.safe_regex.regex",
            "longer than 1024",
            id="giant pattern",
        ),
        pytest.param(
            {f"{IN_ROUTE}.match": {"safe_regex": {"regex": r"(a)\1"}}},
            f"{ROUTE}.match.safe_regex.regex",
            "not a regular expression",
            id="a pattern that RE2 does not know",
        ),
        pytest.param(
            {f"{IN_ROUTE}.match": {"prefix": "/", "runtime_fraction": {}}},
            f"{ROUTE}.match.runtime_fraction",
            "not supported",
            id="share of matches",
        ),
        pytest.param(
            {f"{IN_ROUTE}.match": {"prefix": "/", "headers": [{"name": "a", "range_match": {"end": "5"}}]}},
            f"{ROUTE}.match.headers[0].range_match",
            "not supported",
            id="numeric header match",
        ),
        pytest.param(
            {
                f"{IN_ROUTE}.match": {"connect_matcher": {}},
                f"{IN_ROUTE}.route": {"cluster": "c", "prefix_rewrite": "/"},
            },
            f"{ROUTE}.route",
            "path",
            id="a CONNECT with another path",
        ),
        pytest.param(
            {f"{IN_ROUTE}.route.upgrade_configs": [{"upgrade_type": "websocket", "connect_config": {}}]},
            f"{ROUTE}.route.upgrade_configs[0].connect_config",
            "CONNECT alone",
            id="connect_config without CONNECT",
        ),
        pytest.param(
            {
                f"{IN_ROUTE}.route.upgrade_configs": [
                    {"upgrade_type": "CONNECT", "connect_config": {"allow_post": True}}
                ]
            },
            f"{ROUTE}.route.upgrade_configs[0].connect_config.allow_post",
            "only CONNECT",
            id="POST for CONNECT",
        ),
        pytest.param({f"{IN_ROUTE}.route": None}, f"{ROUTE}.route", "supported", id="no action"),
        pytest.param(
            {f"{IN_ROUTE}.route.hash_policy": [{"terminal": True}]},
            f"{ROUTE}.route.hash_policy",
            "not supported",
            id="hash policy",
        ),
        pytest.param(
            {f"{IN_ROUTE}.route": {"cluster_header": "x"}}, f"{ROUTE}.route.cluster_header", "supported", id="by header"
        ),
        pytest.param(
            {f"{IN_ROUTE}.route": {"weighted_clusters": {"clusters": [{"name": "a", "weight": 0}]}}},
            f"{ROUTE}.route.weighted_clusters.clusters",
            "more than 0",
            id="weights of nothing",
        ),
        pytest.param(
            {
                f"{IN_ROUTE}.route": {
                    "weighted_clusters": {"clusters": [{"name": "a", "weight": 1}], "total_weight": 100}
                }
            },
            f"{ROUTE}.route.weighted_clusters.total_weight",
            "is 100, but the weights add up to 1",
            id="weights that do not add up",
        ),
        pytest.param(
            {f"{IN_ROUTE}.route.retry_policy": {"retry_on": "5xx,sometimes"}},
            f"{ROUTE}.route.retry_policy.retry_on",
            "'sometimes'",
            id="unknown retry condition",
        ),
        pytest.param(
            {f"{IN_ROUTE}.route.regex_rewrite": {"pattern": {"regex": "/a"}, "substitution": "\\1"}},
            f"{ROUTE}.route.regex_rewrite.substitution",
            "group",
            id="substitution of a missing group",
        ),
        pytest.param(
            {f"{IN_ROUTE}.request_headers_to_add": [{"header": {"key": "a", "value": "%PROTOCOL%"}}]},
            f"{ROUTE}.request_headers_to_add[0].header.value",
            "%COMMANDS%",
            id="format command in a header",
        ),
        pytest.param(
            {f"{IN_ROUTE}.request_headers_to_add": [{"header": {"key": "a", "value": "x\r\ny: z"}}]},
            f"{ROUTE}.request_headers_to_add[0].header.value",
            "control characters",
            id="line break in a header",
        ),
        pytest.param(
            {f"{IN_ROUTE}.request_headers_to_remove": ["Host"]},
            f"{ROUTE}.request_headers_to_remove",
            "host cannot be changed",
            id="removing Host",
        ),
        pytest.param(
            {f"{IN_ROUTE}.request_headers_to_add": [{"header": {"key": "Content-Length", "value": "5"}}]},
            f"{ROUTE}.request_headers_to_add[0].header.key",
            "content-length cannot be changed",
            id="framing",
        ),
        pytest.param(
            {
                f"{IN_ROUTE}.typed_per_filter_config": {
                    "envoy.filters.http.fault": {
                        "@type": TYPE + "envoy.extensions.filters.http.fault.v3.HTTPFault",
                        "abort": {"http_status": 99},
                    }
                }
            },
            f"{ROUTE}.typed_per_filter_config[envoy.filters.http.fault].abort.http_status",
            "99",
            id="a status that is none",
        ),
        pytest.param(
            {
                f"{IN_ROUTE}.typed_per_filter_config": {
                    "other": {"@type": TYPE + "envoy.extensions.filters.http.fault.v3.HTTPFault"}
                }
            },
            f"{ROUTE}.typed_per_filter_config[other]",
            "is not supported",
            id="configuration of another filter",
        ),
    ],
)
def test_routes(changes: dict[str, Any], path: str, why: str) -> None:
    rejected = rejection(Kind.RDS, pack(Kind.RDS, merged(ROUTES, changes)))
    assert (rejected.kind, rejected.resource, rejected.path) == ("RDS", "r", path)
    assert why in rejected.why


@pytest.mark.parametrize(
    ("changes", "path", "why"),
    [
        pytest.param({"endpoints.0.priority": 129}, "endpoints[0].priority", "at most 128", id="a priority too many"),
        pytest.param(
            {"policy": {"weighted_priority_health": True}},
            "policy.weighted_priority_health",
            "not supported",
            id="health by weight",
        ),
        pytest.param(
            {"policy": {"overprovisioning_factor": 0}}, "policy.overprovisioning_factor", "at least 1", id="no capacity"
        ),
        pytest.param(
            {"policy": {"drop_overloads": [{"category": "x"}]}}, "policy.drop_overloads", "not supported", id="drops"
        ),
        pytest.param(
            {f"{IN_ENDPOINT}.endpoint.address.socket_address.address": "host"},
            f"{ENDPOINT}.endpoint.address.socket_address.address",
            "not an IP address",
            id="host name",
        ),
        pytest.param(
            {f"{IN_ENDPOINT}.endpoint.address.socket_address.port_value": 0},
            f"{ENDPOINT}.endpoint.address.socket_address.port_value",
            "must not be 0",
            id="port 0",
        ),
        pytest.param(
            {f"{IN_ENDPOINT}.load_balancing_weight": 0},
            f"{ENDPOINT}.load_balancing_weight",
            "at least 1",
            id="weight 0",
        ),
        pytest.param(
            {f"{IN_ENDPOINT}.metadata": {"filter_metadata": {"istio": {"workload": "a;b"}}}},
            f"{ENDPOINT}.metadata.filter_metadata[istio].workload",
            "five parts",
            id="half a workload",
        ),
    ],
)
def test_endpoints(changes: dict[str, Any], path: str, why: str) -> None:
    rejected = rejection(Kind.EDS, pack(Kind.EDS, merged(ASSIGNMENT, changes)))
    assert (rejected.kind, rejected.resource, rejected.path) == ("EDS", "c", path)
    assert why in rejected.why


def test_anchors_that_are_no_certificates() -> None:
    rejected = rejection(Kind.SDS, pack(Kind.SDS, anchors("ROOTCA", "no PEM")))
    assert rejected.path == "validation_context.trusted_ca"


def test_a_key_of_another_certificate_is_rejected_and_not_quoted() -> None:
    chain_pem, _ = TestAuthority().pair("spiffe://a/ns/b/sa/c")
    other = key_pem(new_key())
    plain = {
        "name": "s",
        "tls_certificate": {"certificate_chain": {"inline_string": chain_pem}, "private_key": {"inline_string": other}},
    }
    rejected = rejection(Kind.SDS, pack(Kind.SDS, plain))
    assert str(rejected) == "SDS s: tls_certificate.private_key: does not belong to the certificate"


def test_a_secret_in_a_file_is_not_read() -> None:
    plain = {"name": "s", "validation_context": {"trusted_ca": {"filename": "/etc/passwd"}}}
    assert rejection(Kind.SDS, pack(Kind.SDS, plain)).path == "validation_context.trusted_ca"


def test_a_field_number_that_is_not_known() -> None:
    packed = pack(Kind.CDS, CLUSTER)
    packed.value += bytes([0xF8, 0xFF, 0x01, 0x01])  # field 4095, a number
    assert "unknown number 4095" in rejection(Kind.CDS, packed).why


def test_a_field_number_that_is_not_known_deep_inside() -> None:
    message = ParseDict(ASSIGNMENT, ClusterLoadAssignment())
    address = message.endpoints[0].lb_endpoints[0].endpoint.address.socket_address
    address.MergeFromString(b"\xc8\x3e\x01")
    rejected = rejection(Kind.EDS, AnyMessage(type_url=Kind.EDS.value, value=message.SerializeToString()))
    assert rejected.path == f"{ENDPOINT}.endpoint.address.socket_address"
    assert "unknown number 1001" in rejected.why


def test_a_resource_of_another_kind() -> None:
    assert "among CDS" in rejection(Kind.CDS, pack(Kind.EDS, ASSIGNMENT)).why


def test_bytes_that_are_no_message() -> None:
    assert "is not a" in rejection(Kind.CDS, AnyMessage(type_url=Kind.CDS.value, value=b"\xff")).why


def test_a_resource_without_a_name() -> None:
    rejected = rejection(Kind.CDS, pack(Kind.CDS, {"type": "STATIC"}))
    assert str(rejected) == "CDS (unnamed): name: is required"
