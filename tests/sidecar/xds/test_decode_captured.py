"""What redirected connections need of a configuration: listeners without sockets, chains by destination, clusters by
original destination; and what is rejected with its path."""

from typing import Any

import pytest

from sidecar.config.cluster import Cluster, Discovery, Protocol
from sidecar.config.listener import Listener
from sidecar.xds.decode import decode
from sidecar.xds.kinds import Kind
from sidecar.xds.rejected import Rejected
from tests.sidecar.xds.resources import TYPE, chain, listener, pack
from tests.sidecar.xds.test_decode_tcp import tcp

ORIGINAL = {
    "name": "o",
    "typed_config": {"@type": TYPE + "envoy.extensions.filters.listener.original_dst.v3.OriginalDst"},
}
OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
PASSTHROUGH = {"name": "PassthroughCluster", "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED"}


def decoded(*matches: dict[str, Any], **changes: Any) -> Listener:
    chains = [chain(tcp(), filter_chain_match=match) for match in matches] or [chain(tcp())]
    found = decode(Kind.LDS, pack(Kind.LDS, listener("l", 80, *chains, **changes))).value
    assert isinstance(found, Listener)
    return found


def cluster(**changes: Any) -> Cluster:
    found = decode(Kind.CDS, pack(Kind.CDS, PASSTHROUGH | changes)).value
    assert isinstance(found, Cluster)
    return found


def protocol(name: str) -> dict[str, Any]:
    return {OPTIONS: {"@type": TYPE + OPTIONS, name: {}}}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, (True, False, False), id="an ordinary one"),
        pytest.param({"listener_filters": [ORIGINAL]}, (True, True, False), id="asks where connections were going"),
        pytest.param({"use_original_dst": True}, (True, True, True), id="and hands them over"),
        pytest.param({"bind_to_port": False}, (False, False, False), id="is handed them"),
        pytest.param(
            {"bind_to_port": False, "listener_filters": [ORIGINAL]}, (False, False, False), id="has been told already"
        ),
    ],
)
def test_who_has_a_socket_and_who_hands_over(changes: dict[str, Any], expected: tuple[bool, bool, bool]) -> None:
    found = decoded(**changes)
    assert (found.bound, found.original_destination, found.hand_over) == expected


def test_chains_by_port_and_range_of_addresses() -> None:
    ranges = [{"address_prefix": "10.1.2.3", "prefix_len": 8}, {"address_prefix": "fd00::1", "prefix_len": 64}]
    found = decoded({"destination_port": 80, "prefix_ranges": ranges}, {"destination_port": 81}, {})
    assert [(each.destination_port, each.destinations) for each in found.filter_chains] == [
        (80, ("10.0.0.0/8", "fd00::/64")),
        (81, ()),
        (None, ()),
    ]


@pytest.mark.parametrize(
    ("match", "changes", "path", "why"),
    [
        pytest.param(
            {}, {"bind_to_port": False, "use_original_dst": True}, "use_original_dst", "needs a socket", id="both"
        ),
        pytest.param(
            {"destination_port": 70_000}, {}, "filter_chains[0].filter_chain_match.destination_port", "no", id="port"
        ),
        pytest.param(
            {"prefix_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 33}]}, {},
            "filter_chains[0].filter_chain_match.prefix_ranges[0]", "is not a range", id="a prefix that is too long",
        ),
        pytest.param(
            {"prefix_ranges": [{"address_prefix": "everywhere"}]}, {},
            "filter_chains[0].filter_chain_match.prefix_ranges[0]", "is not a range", id="a word for a range",
        ),
        pytest.param(
            {"source_prefix_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}, {},
            "filter_chains[0].filter_chain_match.source_prefix_ranges", "not supported", id="by source",
        ),
    ],
)  # fmt: skip
def test_listeners_that_are_rejected(match: dict[str, Any], changes: dict[str, Any], path: str, why: str) -> None:
    with pytest.raises(Rejected) as raised:
        decoded(match, **changes)
    assert raised.value.path == path
    assert why in raised.value.why


def test_chains_that_differ_in_the_port_alone_are_two() -> None:
    assert len(decoded({"destination_port": 80}, {"destination_port": 81}).filter_chains) == 2
    with pytest.raises(Rejected, match="same conditions"):
        decoded({"destination_port": 80}, {"destination_port": 80})


def test_a_cluster_by_original_destination() -> None:
    bind = {
        "source_address": {"address": "127.0.0.6", "port_value": 0},
        "extra_source_addresses": [{"address": {"address": "::6", "port_value": 0}}],
    }
    found = cluster(
        cleanup_interval="60s",
        upstream_bind_config=bind,
        typed_extension_protocol_options=protocol("use_downstream_protocol_config"),
    )
    assert found.discovery is Discovery.ORIGINAL
    assert found.protocol is Protocol.DOWNSTREAM
    assert found.source_addresses == ("127.0.0.6", "::6")
    assert found.cleanup_s == 60.0
    assert cluster().cleanup_s == 5.0


def source(**changes: Any) -> dict[str, Any]:
    return {"upstream_bind_config": {"source_address": {"address": "127.0.0.6", "port_value": 0}, **changes}}


@pytest.mark.parametrize(
    ("changes", "path", "why"),
    [
        pytest.param({"lb_policy": "ROUND_ROBIN"}, "lb_policy", "CLUSTER_PROVIDED", id="something to balance"),
        pytest.param({"type": "STATIC"}, "lb_policy", "CLUSTER_PROVIDED is not supported", id="nothing provided"),
        pytest.param(
            {"original_dst_lb_config": {"use_http_header": True}}, "original_dst_lb_config.use_http_header",
            "not supported", id="by a header that a client writes",
        ),
        pytest.param(
            {"original_dst_lb_config": {"upstream_port_override": 80}}, "original_dst_lb_config.upstream_port_override",
            "not supported", id="another port",
        ),
        pytest.param({"cleanup_interval": "0s"}, "cleanup_interval", "more than 0", id="no time to be forgotten"),
        pytest.param(
            {"load_assignment": {"cluster_name": "c"}}, "load_assignment", "no endpoints", id="endpoints of its own"
        ),
        pytest.param(
            {"type": "STATIC", "lb_policy": "RANDOM",
             "typed_extension_protocol_options": protocol("use_downstream_protocol_config")},
            f"typed_extension_protocol_options[{OPTIONS}].use_downstream_protocol_config", "ORIGINAL_DST alone",
            id="the client's protocol elsewhere",
        ),
        pytest.param(
            source(source_address={"address": "here", "port_value": 0}),
            "upstream_bind_config.source_address.address", "not an IP address", id="a name to connect from",
        ),
        pytest.param(
            source(source_address={"address": "127.0.0.6", "port_value": 9}),
            "upstream_bind_config.source_address.port_value", "must be 0", id="a port to connect from",
        ),
        pytest.param(
            source(extra_source_addresses=[{"address": {"address": "127.0.0.7", "port_value": 0}}]),
            "upstream_bind_config.extra_source_addresses[0].address.address", "second address of IPv4",
            id="two of a family",
        ),
        pytest.param(
            source(freebind=True), "upstream_bind_config.freebind", "not supported", id="an address that is not there"
        ),
    ],
)  # fmt: skip
def test_clusters_that_are_rejected(changes: dict[str, Any], path: str, why: str) -> None:
    with pytest.raises(Rejected) as raised:
        cluster(**changes)
    assert raised.value.path == path
    assert why in raised.value.why
