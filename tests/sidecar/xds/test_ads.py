"""The ADS machine: what it asks, answers and hands out, step by step."""

from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage

from sidecar.config.listener import Listener
from sidecar.xds.ads import CLUSTER_WAIT_S, MAX_REPORTED, WARMING_S, Ads, Request, Step
from sidecar.xds.configuration import Configuration
from sidecar.xds.kinds import Kind
from tests.sidecar.xds.authority import TestAuthority
from tests.sidecar.xds.control_plane import ControlPlane
from tests.sidecar.xds.resources import (
    anchors,
    assignment,
    eds_cluster,
    pack,
    rds_listener,
    routes,
    upstream_tls,
)


def cds(*names: str, **changes: Any) -> list[AnyMessage]:
    return [pack(Kind.CDS, eds_cluster(name, **changes)) for name in names]


def eds(name: str, *ports: int) -> AnyMessage:
    return pack(Kind.EDS, assignment(name, *ports))


def lds(*names: str) -> list[AnyMessage]:
    """Listeners that take their routes from a configuration named `r-NAME`."""
    return [pack(Kind.LDS, rds_listener(name, 1000 + len(name), f"r-{name}")) for name in names]


def rds(name: str, *clusters: str) -> AnyMessage:
    return pack(Kind.RDS, routes(name, *clusters))


class Script:
    """A stream by hand: what the machine sends collects in `sent`."""

    def __init__(self) -> None:
        self.ads = Ads()
        self.sent: list[Request] = []
        self.now = 100.0
        self.count = 0
        self.connect()

    def connect(self) -> list[Request]:
        self.sent += (requests := self.ads.connected())
        return requests

    def response(self, kind: Kind, version: str, *resources: AnyMessage) -> list[Request]:
        """Returns what is sent at once."""
        self.count += 1
        self.sent += (requests := self.ads.received(kind.value, version, f"n{self.count}", resources))
        return requests

    def step(self) -> Step:
        step = self.ads.step(self.now)
        self.sent += step.requests
        return step

    def configuration(self) -> Configuration:
        configuration = self.step().configuration
        assert configuration is not None, f"nothing to apply; waiting for {self.ads.waiting_for}"
        return configuration

    def apply(self) -> list[Request]:
        self.configuration()
        self.sent += (requests := self.ads.applied())
        return requests

    def serve_one_service(self) -> None:
        """Cluster `a`, its endpoint, listener `l` with its routes: all accepted."""
        self.response(Kind.CDS, "c1", *cds("a"))
        self.response(Kind.EDS, "e1", eds("a", 1))
        self.response(Kind.LDS, "l1", *lds("l"))
        self.response(Kind.RDS, "r1", rds("r-l", "a"))
        self.apply()
        self.sent.clear()


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def serving() -> Script:
    script = Script()
    script.serve_one_service()
    return script


# Asking


def test_clusters_and_listeners_are_asked_for_as_a_whole(script: Script) -> None:
    assert script.sent == [Request(Kind.CDS, "", ""), Request(Kind.LDS, "", "")]


def test_endpoints_and_routes_are_asked_for_by_the_names_that_are_used(script: Script) -> None:
    assert script.response(Kind.CDS, "c1", *cds("b", "a")) == [Request(Kind.EDS, "", "", ("a", "b"))]
    assert script.response(Kind.LDS, "l1", *lds("l")) == [Request(Kind.RDS, "", "", ("r-l",))]


def test_secrets_are_asked_for_by_the_names_that_are_used(script: Script) -> None:
    requests = script.response(Kind.CDS, "c1", *cds("a", transport_socket=upstream_tls()))
    assert requests == [Request(Kind.EDS, "", "", ("a",)), Request(Kind.SDS, "", "", ("ROOTCA",))]


def test_a_cluster_more_is_asked_for_with_the_last_nonce_and_version(serving: Script) -> None:
    requests = serving.response(Kind.CDS, "c2", *cds("a", "b"))
    assert requests == [Request(Kind.EDS, "e1", "n2", ("a", "b"))]


def test_names_whose_request_crossed_a_response_are_asked_for_again(serving: Script) -> None:
    # The server sent n6 before it saw the request with n2: stale, it passes over it.
    serving.response(Kind.CDS, "c2", *cds("a", "b"))
    assert serving.response(Kind.EDS, "e2", eds("a", 2)) == [Request(Kind.EDS, "e1", "n6", ("a", "b"))]
    assert serving.response(Kind.EDS, "e3", eds("a", 2), eds("b", 3)) == []


def test_names_that_are_not_used_any_more_are_left_once_the_change_serves(serving: Script) -> None:
    serving.response(Kind.CDS, "c2", *cds("a", "b"))
    serving.response(Kind.EDS, "e2", eds("a", 1), eds("b", 2))
    serving.apply()
    assert serving.response(Kind.CDS, "c3", *cds("a")) == [], "the old ones are still served"
    requests = serving.apply()
    assert requests == [Request(Kind.CDS, "c3", "n7"), Request(Kind.EDS, "e2", "n6", ("a",))]
    assert serving.ads.accepted(Kind.EDS)[1][0].decoded.name == "a"
    assert len(serving.ads.accepted(Kind.EDS)[1]) == 1


def test_what_was_not_asked_for_is_passed_over(serving: Script) -> None:
    serving.response(Kind.EDS, "e2", eds("a", 2), eds("unknown", 3))
    serving.apply()
    assert [each.decoded.name for each in serving.ads.accepted(Kind.EDS)[1]] == ["a"]


def test_a_type_that_nobody_asked_for_is_passed_over(script: Script) -> None:
    assert script.ads.received("type.googleapis.com/other", "1", "n", []) == []


# Acknowledging


def test_nothing_is_acknowledged_before_the_workers_serve_it(script: Script) -> None:
    script.response(Kind.CDS, "c1", *cds("a"))
    script.response(Kind.EDS, "e1", eds("a", 1))
    assert all(not request.nonce for request in script.sent)
    script.configuration()
    assert all(not request.nonce for request in script.sent)
    assert script.ads.applied() == [Request(Kind.CDS, "c1", "n1"), Request(Kind.EDS, "e1", "n2", ("a",))]


def test_what_serves_already_is_acknowledged_without_applying_it(serving: Script) -> None:
    serving.response(Kind.CDS, "c2", *cds("a"))
    step = serving.step()
    assert step.configuration is None
    assert step.requests == (Request(Kind.CDS, "c2", "n5"),)
    assert serving.ads.accepted(Kind.CDS)[0] == "c2"


def test_responses_of_one_push_are_applied_as_one(serving: Script) -> None:
    serving.response(Kind.CDS, "c2", *cds("a", connect_timeout="9s"))
    serving.response(Kind.EDS, "e2", eds("a", 2))
    serving.response(Kind.RDS, "r2", rds("r-l"))
    assert serving.apply() == [
        Request(Kind.CDS, "c2", "n5"),
        Request(Kind.EDS, "e2", "n6", ("a",)),
        Request(Kind.RDS, "r2", "n7", ("r-l",)),
    ]
    assert serving.step() == Step()


def test_of_two_responses_of_a_kind_the_later_is_acknowledged(serving: Script) -> None:
    serving.response(Kind.EDS, "e2", eds("a", 2))
    serving.response(Kind.EDS, "e3", eds("a", 3))
    configuration = serving.configuration()
    assert [endpoint.address.port for endpoint in configuration.clusters[0].endpoints] == [3]
    assert serving.ads.applied() == [Request(Kind.EDS, "e3", "n6", ("a",))]


def test_what_arrives_while_the_workers_apply_waits_for_its_turn(serving: Script) -> None:
    serving.response(Kind.EDS, "e2", eds("a", 2))
    serving.configuration()
    serving.response(Kind.EDS, "e3", eds("a", 3))
    assert serving.step() == Step(), "one configuration at a time"
    assert serving.ads.applied() == [], "n5 is stale: an acknowledgement of it would be passed over"
    assert serving.ads.accepted(Kind.EDS)[0] == "e2"
    assert serving.apply() == [Request(Kind.EDS, "e3", "n6", ("a",))]


# Refusing


def test_a_bad_resource_is_refused_at_once_with_the_old_version_and_the_new_nonce(serving: Script) -> None:
    bad = pack(Kind.CDS, eds_cluster("a", lb_policy="RING_HASH"))
    (nack,) = serving.response(Kind.CDS, "c2", bad)
    assert (nack.kind, nack.version, nack.nonce) == (Kind.CDS, "c1", "n5")
    assert nack.error is not None
    assert nack.error.startswith("CDS a: lb_policy: RING_HASH is not supported")
    assert serving.step() == Step(), "the old configuration goes on"


def test_a_refused_response_with_names_goes_on_asking_for_them(serving: Script) -> None:
    bad = assignment("a", 1)
    bad["endpoints"][0]["priority"] = 129
    (nack,) = serving.response(Kind.EDS, "e2", pack(Kind.EDS, bad))
    assert (nack.version, nack.nonce, nack.names) == ("e1", "n5", ("a",))


def test_the_next_good_version_is_applied_after_a_refusal(serving: Script) -> None:
    serving.response(Kind.CDS, "c2", pack(Kind.CDS, eds_cluster("a", lb_policy="RING_HASH")))
    serving.response(Kind.CDS, "c3", *cds("a", connect_timeout="7s"))
    assert serving.apply() == [Request(Kind.CDS, "c3", "n6")]
    assert serving.ads.serving is not None
    assert serving.ads.serving.clusters[0].connect_timeout_s == 7.0


def test_one_bad_resource_refuses_the_response_as_a_whole(serving: Script) -> None:
    serving.response(
        Kind.CDS, "c2", *cds("a", connect_timeout="7s"), pack(Kind.CDS, eds_cluster("b", lb_policy="MAGLEV"))
    )
    assert serving.step() == Step()


def test_several_bad_resources_are_all_told_up_to_a_bound(script: Script) -> None:
    count = MAX_REPORTED + 5
    bad = [pack(Kind.CDS, eds_cluster(f"c{n:02}", lb_policy="MAGLEV")) for n in range(count)]
    (nack,) = script.response(Kind.CDS, "c1", *bad)
    assert nack.error is not None
    assert "c00: lb_policy" in nack.error
    assert f"c{MAX_REPORTED - 1:02}: lb_policy" in nack.error
    assert nack.error.endswith("; and 5 more")


def test_a_resource_given_twice_is_refused(script: Script) -> None:
    (nack,) = script.response(Kind.CDS, "c1", *cds("a"), *cds("a", connect_timeout="9s"))
    assert nack.error == "CDS a: is given twice in one response"


def test_what_the_workers_refuse_is_refused_with_their_reason(serving: Script) -> None:
    serving.response(Kind.LDS, "l2", *lds("l", "other"))
    serving.response(Kind.RDS, "r2", rds("r-l", "a"), rds("r-other", "a"))
    serving.configuration()
    nack, *_ = serving.ads.refused("other", "address", "cannot listen on 127.0.0.1:1: in use")
    assert nack == Request(Kind.LDS, "l1", "n5", (), "LDS other: address: cannot listen on 127.0.0.1:1: in use")
    assert serving.ads.serving is not None
    assert [listener.name for listener in serving.ads.serving.listeners] == ["l"]


def test_what_came_beside_the_refused_is_tried_without_it(serving: Script) -> None:
    serving.response(Kind.LDS, "l2", *lds("l", "other"))
    serving.response(Kind.RDS, "r2", rds("r-other", "a"))
    serving.response(Kind.EDS, "e2", eds("a", 9))
    serving.configuration()
    serving.ads.refused("other", "address", "in use")
    configuration = serving.configuration()
    assert [listener.name for listener in configuration.listeners] == ["l"]
    assert configuration.clusters[0].endpoints[0].address.port == 9
    assert Request(Kind.EDS, "e2", "n7", ("a",)) in serving.ads.applied()


def test_a_refusal_that_names_no_resource_refuses_everything_of_the_step(serving: Script) -> None:
    serving.response(Kind.EDS, "e2", eds("a", 9))
    serving.response(Kind.RDS, "r2", rds("r-l"))
    serving.configuration()
    nacks = serving.ads.refused("", "", "the workers ended")
    assert [(nack.kind, nack.version, nack.nonce) for nack in nacks] == [(Kind.EDS, "e1", "n5"), (Kind.RDS, "r1", "n6")]
    assert serving.step() == Step()


# Reconnecting


def test_a_new_stream_begins_with_the_last_versions_and_no_nonces(serving: Script) -> None:
    assert serving.connect() == [
        Request(Kind.CDS, "c1", ""),
        Request(Kind.EDS, "e1", "", ("a",)),
        Request(Kind.LDS, "l1", ""),
        Request(Kind.RDS, "r1", "", ("r-l",)),
    ]


def test_a_refused_version_is_not_claimed_by_a_new_stream(serving: Script) -> None:
    serving.response(Kind.CDS, "c2", pack(Kind.CDS, eds_cluster("a", lb_policy="MAGLEV")))
    assert serving.connect()[0] == Request(Kind.CDS, "c1", "")


def test_what_an_old_stream_sent_is_applied_but_not_acknowledged_to_the_new_one(serving: Script) -> None:
    serving.response(Kind.EDS, "e2", eds("a", 2))
    serving.configuration()
    serving.response(Kind.RDS, "r2", rds("r-l"))
    serving.connect()
    assert serving.ads.applied() == []
    assert serving.apply() == []
    assert [serving.ads.accepted(kind)[0] for kind in (Kind.EDS, Kind.RDS)] == ["e2", "r2"]


def test_the_configuration_goes_on_between_streams(serving: Script) -> None:
    before = serving.ads.serving
    serving.connect()
    assert serving.step() == Step()
    assert serving.ads.serving is before


# Warming


@pytest.mark.parametrize(
    "order",
    ["CELR", "CLER", "LRCE", "LCRE", "LCER", "CLRE"],
    ids=lambda order: " ".join({"C": "CDS", "E": "EDS", "L": "LDS", "R": "RDS"}[letter] for letter in order),
)
def test_in_any_order_no_listener_is_served_before_routes_and_clusters(script: Script, order: str) -> None:
    responses: dict[str, tuple[Kind, list[AnyMessage]]] = {
        "C": (Kind.CDS, cds("a")),
        "E": (Kind.EDS, [eds("a", 1)]),
        "L": (Kind.LDS, lds("l")),
        "R": (Kind.RDS, [rds("r-l", "a")]),
    }
    for letter in order:
        kind, resources = responses[letter]
        script.response(kind, f"{letter}1", *resources)
        step = script.step()
        if step.configuration is not None:
            assert_whole(step.configuration)
            script.ads.applied()
    assert script.ads.serving is not None
    assert_whole(script.ads.serving)
    assert [listener.name for listener in script.ads.serving.listeners] == ["l"]
    assert {kind: script.ads.accepted(kind)[0] for kind in (Kind.CDS, Kind.EDS, Kind.LDS, Kind.RDS)} == {
        Kind.CDS: "C1",
        Kind.EDS: "E1",
        Kind.LDS: "L1",
        Kind.RDS: "R1",
    }


def assert_whole(configuration: Configuration) -> None:
    clusters = {cluster.name: cluster for cluster in configuration.clusters}
    tables = {table.name: table for table in configuration.routes}
    for listener in configuration.listeners:
        assert isinstance(listener, Listener)
        for chain in listener.filter_chains:
            assert chain.http.route_name is not None
            for host in tables[chain.http.route_name].virtual_hosts:
                assert clusters[host.name].endpoints, f"{listener.name} leads to {host.name}, which is cold"


def test_clusters_are_served_before_there_are_listeners(script: Script) -> None:
    script.response(Kind.CDS, "c1", *cds("a"))
    assert script.step() == Step()
    script.response(Kind.EDS, "e1", eds("a", 1))
    assert script.configuration().listeners == ()
    assert not script.ads.has_listeners


def test_no_listeners_are_an_answer(script: Script) -> None:
    script.response(Kind.LDS, "l1")
    script.apply()
    assert script.ads.has_listeners


def test_a_cluster_waits_for_its_anchors(script: Script) -> None:
    script.response(Kind.CDS, "c1", *cds("a", transport_socket=upstream_tls()))
    script.response(Kind.EDS, "e1", eds("a", 1))
    assert script.step() == Step()
    script.response(Kind.SDS, "s1", pack(Kind.SDS, anchors("ROOTCA", TestAuthority().pem)))
    configuration = script.configuration()
    assert [each.name for each in configuration.trust_anchors] == ["ROOTCA"]


def test_a_route_to_a_cluster_that_is_on_its_way_waits_for_it(serving: Script) -> None:
    serving.response(Kind.RDS, "r2", rds("r-l", "b"))
    assert serving.step() == Step()
    assert serving.ads.waiting_for == ((Kind.CDS, "b"),)
    serving.response(Kind.CDS, "c2", *cds("a", "b"))
    assert serving.step() == Step()
    serving.response(Kind.EDS, "e2", eds("a", 1), eds("b", 2))
    assert_whole(serving.configuration())


def test_a_cluster_that_is_still_routed_to_goes_only_with_its_routes(serving: Script) -> None:
    serving.response(Kind.CDS, "c2")
    assert serving.step() == Step()
    serving.response(Kind.RDS, "r2", rds("r-l"))
    configuration = serving.configuration()
    assert configuration.clusters == ()
    assert configuration.routes[0].virtual_hosts == ()


def test_a_new_table_for_a_listener_is_waited_for(serving: Script) -> None:
    serving.response(Kind.LDS, "l2", pack(Kind.LDS, rds_listener("l", 1001, "another")))
    assert serving.step() == Step()
    serving.response(Kind.RDS, "r2", rds("another", "a"))
    assert serving.configuration().listeners[0].filter_chains[0].http.route_name == "another"


# Patience


def test_endpoints_that_never_come_are_none_after_envoys_time(script: Script) -> None:
    script.response(Kind.CDS, "c1", *cds("a", "b"))
    script.response(Kind.EDS, "e1", eds("a", 1))
    assert script.step() == Step()
    assert script.ads.wake_at() == script.now + WARMING_S
    script.now += WARMING_S
    configuration = script.configuration()
    assert [(cluster.name, len(cluster.endpoints)) for cluster in configuration.clusters] == [("a", 1), ("b", 0)]
    assert script.ads.wake_at() is None


def test_what_was_given_up_holds_nothing_up_again_and_is_taken_when_it_comes(script: Script) -> None:
    script.response(Kind.CDS, "c1", *cds("a"))
    script.step()
    script.now += WARMING_S
    script.apply()
    script.response(Kind.LDS, "l1")
    assert script.step().requests == (Request(Kind.LDS, "l1", "n2"),)
    assert script.ads.waiting_for == ((Kind.EDS, "a"),)
    script.response(Kind.EDS, "e1", eds("a", 1))
    assert len(script.configuration().clusters[0].endpoints) == 1
    script.ads.applied()
    assert script.ads.waiting_for == ()


def test_a_listener_whose_routes_never_come_stays_what_it_is(serving: Script) -> None:
    serving.response(Kind.LDS, "l2", pack(Kind.LDS, rds_listener("l", 1001, "missing")), *lds("new"))
    serving.step()
    serving.now += WARMING_S
    configuration = serving.configuration()
    assert [listener.name for listener in configuration.listeners] == ["l"]
    assert configuration.listeners[0].filter_chains[0].http.route_name == "r-l"
    assert configuration.routes[0].name == "r-l"


def test_a_route_to_a_cluster_that_does_not_exist_is_served_after_a_short_time(serving: Script) -> None:
    serving.response(Kind.RDS, "r2", rds("r-l", "a", "mistake"))
    serving.step()
    assert serving.ads.wake_at() == serving.now + CLUSTER_WAIT_S
    serving.now += CLUSTER_WAIT_S
    assert len(serving.configuration().routes[0].virtual_hosts) == 2


# Content


def test_equal_resources_have_equal_versions_and_others_do_not() -> None:
    def version(timeout: str) -> str:
        control_plane = ControlPlane()
        control_plane.has(Kind.CDS, *cds("a", connect_timeout=timeout))
        control_plane.has(Kind.EDS, eds("a", 1))
        configuration = control_plane.run()
        assert configuration is not None
        return configuration.version

    assert version("1s") == version("1s")
    assert version("1s") != version("2s")


def test_a_thousand_services_settle_in_few_steps() -> None:
    names = [f"outbound|80||s{n}" for n in range(1000)]
    control_plane = ControlPlane()
    control_plane.has(Kind.CDS, *cds(*names))
    control_plane.has(Kind.EDS, *(eds(name, 1, 2, 3) for name in names))
    control_plane.has(Kind.LDS, *lds("l"))
    control_plane.has(Kind.RDS, rds("r-l", *names))
    assert control_plane.run() is not None
    assert len(control_plane.applied) <= 2
    control_plane.has(Kind.RDS, rds("r-l", *names[:-1]))
    control_plane.run()
    assert len(control_plane.applied) <= 3
    assert control_plane.acked[Kind.RDS] == "2"
