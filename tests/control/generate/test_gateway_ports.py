"""A port that Gateways call by several numbers, as a laptop's way in is 80 to one rule and 8080 to another."""

import pytest

from control.api import Workload
from tests.control.translate.bookinfo import WORKLOADS, mesh, proxy, rule
from tests.control.translate.simulation import Simulation, simulate

AT = "127.0.0.1:18080"
INGRESS = Workload(
    name="ingress",
    namespace="istio-system",
    kind="gateway",
    labels={"istio": "ingressgateway"},
    service_account="ingress",
    gateway_ports={"80": AT, "8080": AT, "9000": "127.0.0.1:19000"},
)
RULE = rule("VirtualService", "all", "hosts: ['*']\ngateways: [edge]\nhttp: [{directResponse: {status: 201}}]")


def gateway(*numbers: int) -> str:
    servers = "".join(
        f"- port: {{number: {number}, name: http-{number}, protocol: HTTP}}\n  hosts: ['*']\n" for number in numbers
    )
    return rule("Gateway", "edge", f"selector: {{istio: ingressgateway}}\nservers:\n{servers}")


def edge(*texts: str) -> Simulation:
    workloads = (*(each for each in WORKLOADS if each.name != "ingress"), INGRESS)
    return simulate(mesh(*texts, workloads=workloads), proxy("ingress", workloads))


@pytest.mark.parametrize("number", [80, 8080])
def test_either_number_leads_to_the_one_listener(number: int) -> None:
    simulation = edge(gateway(number), RULE)
    assert sorted(simulation.listeners) == ["127.0.0.1_18080", "127.0.0.1_19000"]
    assert simulation.listeners["127.0.0.1_18080"].filter_chains[0].http.route_name == "http.80"
    assert simulation.where("http://localhost:18080/", table="http.80") == 201
    assert simulation.where("http://localhost:19000/", table="http.9000") is None


def test_a_gateway_that_names_both_has_each_route_once() -> None:
    simulation = edge(gateway(80, 8080), RULE)
    (host,) = simulation.routes["http.80"].virtual_hosts
    assert len(host.routes) == 1


def test_a_route_for_one_number_is_not_the_others() -> None:
    text = RULE.replace("[{directResponse", "[{match: [{port: 8080}], directResponse")
    assert edge(gateway(80), text).where("http://x/", table="http.80") is None
    assert edge(gateway(8080), text).where("http://x/", table="http.80") == 201
