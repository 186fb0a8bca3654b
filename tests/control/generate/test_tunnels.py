"""Which ports an application may ask its sidecar for a tunnel to, and where tunnels go."""

import pytest

from control.api import Workload
from sidecar.config.route import Forward
from tests.control.translate.bookinfo import WORKLOADS, mesh, proxy, rule, workload
from tests.control.translate.simulation import Simulation, simulate

STORE = "store.default.svc.cluster.local"
OUTSIDE = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside}
spec:
  hosts: [www.example.com]
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 443, name: https, protocol: TLS}]
  resolution: DNS
"""


def store(name: str, version: str = "v1", **more: object) -> Workload:
    ports = [{"name": name, "service_port": 6379, "app": "127.0.0.1:9100"}]
    return workload(f"store-{version}", "store", version, 9100, ports=ports, **more)


def sidecar(name: str, *rules: str) -> Simulation:
    workloads = (*WORKLOADS, store(name), store(name, "v2"))
    return simulate(mesh(*rules, workloads=workloads), proxy("productpage-v1", workloads))


@pytest.mark.parametrize(
    ("name", "cluster"),
    [("redis", f"outbound|6379||{STORE}"), ("tls", f"outbound|6379||{STORE}"), ("any", f"outbound_tcp|6379||{STORE}")],
)
@pytest.mark.parametrize("host", ["store", "store.default", "store.default.svc", STORE])
def test_ports_of_bytes_by_all_names(name: str, cluster: str, host: str) -> None:
    simulation = sidecar(name)
    assert simulation.tunnel(f"{host}:6379") == {cluster: 1}
    assert cluster in simulation.clusters
    assert simulation.tunnel(f"{host}:6380") == 502, "another port is another service"


def test_requests_to_a_port_of_bytes_are_answered_as_to_nobody() -> None:
    assert sidecar("redis").where("http://store:6379/") == 502
    assert sidecar("any").where("http://store:6379/") == "store"


@pytest.mark.parametrize("name", ["http", "grpc"])
def test_no_tunnel_hides_requests_from_their_rules(name: str) -> None:
    assert sidecar(name).tunnel("store:6379") is None
    assert sidecar(name).where("http://store:6379/") == "store"


def test_a_host_that_nobody_knows_is_answered_as_a_request_to_it_is() -> None:
    simulation = sidecar("redis")
    assert simulation.tunnel("nobody.example:443") == simulation.where("http://nobody.example/") == 502


def test_the_world_outside_where_a_rule_knows_it() -> None:
    simulation = sidecar("redis", OUTSIDE)
    assert simulation.tunnel("www.example.com:443") == {"outbound|443||www.example.com": 1}
    assert simulation.tunnel("www.example.com:80") is None
    assert simulation.tunnel("www.example.com:444") == 502


SUBSETS = rule(
    "DestinationRule",
    "store",
    "host: store\nsubsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]",
)


def test_rules_for_connections_are_rules_for_tunnels() -> None:
    shares = rule(
        "VirtualService",
        "store",
        """
hosts: [store]
tcp:
- route:
  - {destination: {host: store, subset: v1}, weight: 90}
  - {destination: {host: store, subset: v2}, weight: 10}
""",
    )
    assert sidecar("redis", SUBSETS, shares).tunnel("store:6379") == {
        f"outbound|6379|v1|{STORE}": 90,
        f"outbound|6379|v2|{STORE}": 10,
    }


def test_rules_by_server_name_are_those_of_the_name_that_was_asked_for() -> None:
    named = rule(
        "VirtualService",
        "store",
        """
hosts: [store.default.svc.cluster.local, other.example]
tls:
- match: [{sniHosts: [other.example]}]
  route: [{destination: {host: store, subset: v1}}]
- match: [{sniHosts: [store.default.svc.cluster.local]}]
  route: [{destination: {host: store, subset: v2}}]
""",
    )
    assert sidecar("tls", SUBSETS, named).tunnel("store:6379") == {f"outbound|6379|v2|{STORE}": 1}


def test_a_tunnel_tries_again_while_nothing_was_sent_and_may_be_silent_for_an_hour() -> None:
    simulation = sidecar("redis")
    (host,) = [h for h in simulation.routes["outbound"].virtual_hosts if h.name == f"{STORE}:6379"]
    route, *blocked = host.routes
    assert [each.name for each in blocked] == ["block_all", "block_all"]
    assert isinstance(route.action, Forward)
    assert route.action.retry is not None
    assert {each.value for each in route.action.retry.on} == {"connect-failure"}
    assert (route.action.retry.attempts, route.action.timeout_s, route.action.idle_timeout_s) == (2, None, 3600.0)
