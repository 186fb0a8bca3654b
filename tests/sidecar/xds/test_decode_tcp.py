"""TCP proxies and the conditions of filter chains: what is understood, and what is rejected with its path."""

from typing import Any

import pytest

from sidecar.config.listener import Listener, Tcp, TcpTarget, TransportMatch
from sidecar.xds.decode import decode
from sidecar.xds.kinds import Kind
from sidecar.xds.needs import Decoded
from sidecar.xds.rejected import Rejected
from tests.sidecar.xds.resources import INSPECTOR, TYPE, chain, common_tls, listener, pack

HTTP_INSPECTOR = {
    "name": "http",
    "typed_config": {"@type": TYPE + "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"},
}
LOG = {
    "name": "log",
    "typed_config": {
        "@type": TYPE + "envoy.extensions.access_loggers.file.v3.FileAccessLog",
        "path": "/dev/stdout",
    },
}
PROXY = "filter_chains[0].filters[0].typed_config"
MATCH = "filter_chains[0].filter_chain_match"


def tcp(**changes: Any) -> dict[str, Any]:
    plain = {
        "@type": TYPE + "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "x", "cluster": "c",
    }  # fmt: skip
    plain |= changes
    return {key: value for key, value in plain.items() if value is not None}


def decoded(proxy: dict[str, Any], match: dict[str, Any] | None = None, **changes: Any) -> Decoded:
    parts = {} if match is None else {"filter_chain_match": match}
    return decode(Kind.LDS, pack(Kind.LDS, listener("l", 80, chain(proxy, **parts), **changes)))


def value(*arguments: Any, **changes: Any) -> Listener:
    found = decoded(*arguments, **changes).value
    assert isinstance(found, Listener)
    return found


def test_one_cluster() -> None:
    found = decoded(tcp())
    assert isinstance(found.value, Listener)
    assert found.value.filter_chains[0].tcp == Tcp((TcpTarget("c"),), access_log=False)
    assert found.needs.clusters == {"c"}


def test_several_by_weight_with_limits_and_log() -> None:
    clusters = {"clusters": [{"name": "a", "weight": 9}, {"name": "b", "weight": 1}]}
    proxy = tcp(cluster=None, weighted_clusters=clusters, idle_timeout="7s", max_connect_attempts=3, access_log=[LOG])
    found = decoded(proxy)
    assert isinstance(found.value, Listener)
    assert found.value.filter_chains[0].tcp == Tcp((TcpTarget("a", 9), TcpTarget("b", 1)), 7.0, 3, access_log=True)
    assert found.needs.clusters == {"a", "b"}


def test_silence_without_end_is_said_by_zero() -> None:
    first = value(tcp(idle_timeout="0s")).filter_chains[0].tcp
    other = value(tcp()).filter_chains[0].tcp
    assert first is not None
    assert other is not None
    assert (first.idle_timeout_s, other.idle_timeout_s) == (0.0, 3600.0)


def test_conditions_of_a_chain() -> None:
    match = {
        "transport_protocol": "tls", "server_names": ["A.example", "*.b.example"], "application_protocols": ["h2"],
    }  # fmt: skip
    found = value(tcp(), match, listener_filters=[INSPECTOR]).filter_chains[0]
    assert found.transport is TransportMatch.TLS
    assert found.server_names == ("*.b.example", "a.example")
    assert found.application_protocols == ("h2",)


def test_http_is_looked_for_within_a_time() -> None:
    found = value(
        tcp(),
        {"application_protocols": ["http/1.1"]},
        listener_filters=[HTTP_INSPECTOR],
        listener_filters_timeout="0.08s",
        continue_on_listener_filters_timeout=True,
    )
    assert (found.detect_http, found.detect_tls) == (True, False)
    assert (found.detect_timeout_s, found.serve_undetected) == (0.08, True)


@pytest.mark.parametrize(
    ("proxy", "match", "changes", "path", "why"),
    [
        pytest.param(tcp(cluster=None), None, {}, f"{PROXY}.cluster", "must be one cluster", id="no cluster"),
        pytest.param(tcp(stat_prefix=""), None, {}, f"{PROXY}.stat_prefix", "required", id="no prefix"),
        pytest.param(
            tcp(cluster=None, weighted_clusters={"clusters": [{"name": "a"}]}), None, {},
            f"{PROXY}.weighted_clusters.clusters[0].weight", "at least 1", id="no weight",
        ),
        pytest.param(tcp(max_connect_attempts=99), None, {}, f"{PROXY}.max_connect_attempts", "1 to 16", id="attempts"),
        pytest.param(
            tcp(tunneling_config={"hostname": "x"}), None, {}, f"{PROXY}.tunneling_config", "not supported", id="tunnel"
        ),
        pytest.param(
            tcp(hash_policy=[{"source_ip": {}}]), None, {}, f"{PROXY}.hash_policy", "not supported", id="hash policy"
        ),
        pytest.param(
            tcp(max_downstream_connection_duration="5s"), None, {}, f"{PROXY}.max_downstream_connection_duration",
            "not supported", id="duration",
        ),
        pytest.param(
            tcp(metadata_match={"filter_metadata": {"envoy.lb": {"a": "b"}}}), None, {}, f"{PROXY}.metadata_match",
            "not supported", id="subset",
        ),
        pytest.param(
            tcp(), {"source_ports": [80]}, {}, f"{MATCH}.source_ports", "not supported", id="match by the source's port"
        ),
        pytest.param(
            tcp(), {"server_names": ["*"]}, {"listener_filters": [INSPECTOR]}, f"{MATCH}.server_names[0]", "neither",
            id="a star alone",
        ),
        pytest.param(
            tcp(), {"server_names": ["a*b"]}, {"listener_filters": [INSPECTOR]}, f"{MATCH}.server_names[0]", "neither",
            id="a star within",
        ),
        pytest.param(
            tcp(), {"server_names": ["a"], "transport_protocol": "raw_buffer"}, {"listener_filters": [INSPECTOR]},
            f"{MATCH}.server_names", "names no server", id="a name in plaintext",
        ),
        pytest.param(
            tcp(), {"application_protocols": ["http/1.1"]}, {}, f"{MATCH}.application_protocols[0]", "http_inspector",
            id="HTTP that nobody looks for",
        ),
        pytest.param(
            tcp(), {"application_protocols": ["istio"]}, {"listener_filters": [HTTP_INSPECTOR]},
            f"{MATCH}.application_protocols[0]", "tls_inspector", id="ALPN that nobody looks for",
        ),
        pytest.param(
            tcp(), None, {"listener_filters_timeout": "0s"}, "listener_filters_timeout", "more than 0", id="no time-out"
        ),
        pytest.param(
            tcp(), None,
            {"listener_filters": [{"name": "o", "typed_config": {
                "@type": TYPE + "google.protobuf.Duration", "value": "1s"}}]},
            "listener_filters[0].typed_config", "is not supported", id="another listener filter",
        ),
    ],
)  # fmt: skip
def test_what_is_rejected(
    proxy: dict[str, Any], match: dict[str, Any] | None, changes: dict[str, Any], path: str, why: str
) -> None:
    with pytest.raises(Rejected) as raised:
        decoded(proxy, match, **changes)
    assert (raised.value.kind, raised.value.resource, raised.value.path) == ("LDS", "l", path)
    assert why in raised.value.why


def test_two_chains_with_the_same_conditions_are_rejected() -> None:
    plain = listener("l", 80, chain(tcp()), chain(tcp()))
    with pytest.raises(Rejected) as raised:
        decode(Kind.LDS, pack(Kind.LDS, plain))
    assert raised.value.path == "filter_chains[1].filter_chain_match"


@pytest.mark.parametrize(
    ("name", "understood"),
    [
        ("file-cert:/a.pem~/b.pem", True),
        ("file-cert:/a.pem", False),
        ("file-cert:a.pem~b.pem", False),
        ("file-root:/a.pem", False),
        ("another", False),
    ],
)
def test_certificates_in_files_are_named_by_both_paths(name: str, understood: bool) -> None:
    own = common_tls()["tls_certificate_sds_secret_configs"][0]["sds_config"]
    tls = {
        "name": "tls",
        "typed_config": {
            "@type": TYPE + "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {"tls_certificate_sds_secret_configs": [{"name": name, "sds_config": own}]},
        },
    }
    packed = pack(Kind.LDS, listener("l", 80, chain(tcp(), transport_socket=tls)))
    if not understood:
        with pytest.raises(Rejected, match="no such secret"):
            decode(Kind.LDS, packed)
        return
    found = decode(Kind.LDS, packed).value
    assert isinstance(found, Listener)
    assert found.filter_chains[0].tls is not None
    assert found.filter_chains[0].tls.certificate == name
