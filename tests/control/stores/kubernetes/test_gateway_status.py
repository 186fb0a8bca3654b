"""A Gateway's status tells where it is reached, what it lacks for that, and what is wrong with the Secrets it names."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from control.api.credential import Credential
from control.api.parse import parse
from control.api.source import SourceFile
from control.api.world import World
from control.stores.kubernetes.gateway_status import Addresses, Around, Edge, GatewayStatus, gateway_statuses
from control.stores.kubernetes.services import Reach, decode_service
from tests.control.stores.kubernetes.conftest import Follow
from tests.control.stores.kubernetes.test_credentials import CHAIN, OTHER_CHAIN, edge, secret
from tests.kubernetes.api_server import FakeApiServer
from tests.kubernetes.objects import Object, node, rule

Eventually = Callable[..., Awaitable[None]]
NODES = ("192.0.2.1", "192.0.2.2")


def world(mode: str = "SIMPLE") -> World:
    text = f"""\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: all}}
spec:
  selector: {{app: edge}}
  servers:
  - port: {{number: 443, name: https, protocol: HTTPS}}
    hosts: [shop.example.com]
    tls: {{mode: {mode}, credentialName: shop}}
"""
    resources = parse([SourceFile("x.yaml", text)]).resources
    return World({each.key: each for each in resources})


def around(*reach: Reach, ports: frozenset[int] = frozenset({443}), **more: Any) -> Around:
    edges = [Edge("edge", {"app": "edge", "version": "1"}, ports, (one,), "192.0.2.2") for one in reach]
    return replace(Around(edges, NODES, {("edge", "shop"): Credential("c", "k", ends_at=200.0)}, {}, 100.0), **more)


def of(here: Around, mode: str = "SIMPLE") -> GatewayStatus:
    (status,) = gateway_statuses(world(mode), here).values()
    return status


GIVEN = Reach(("203.0.113.7",))


@pytest.mark.parametrize(
    ("spec", "status", "reach"),
    [
        pytest.param({"type": "LoadBalancer"}, {"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}}, GIVEN,
                     id="a load balancer's address"),
        pytest.param({"type": "LoadBalancer", "externalIPs": ["10.1.1.1"]},
                     {"loadBalancer": {"ingress": [{"hostname": "lb.example"}]}}, Reach(("lb.example",)),
                     id="before externalIPs, a load balancer's name"),
        pytest.param({"type": "LoadBalancer"}, {}, Reach(), id="a load balancer that has given none yet"),
        pytest.param({"type": "ClusterIP", "externalIPs": ["10.1.1.1"]}, {}, Reach(("10.1.1.1",)), id="externalIPs"),
        pytest.param({"type": "NodePort"}, {}, Reach(by_node=True), id="a port of the nodes"),
        pytest.param({"type": "NodePort", "externalTrafficPolicy": "Local"}, {}, Reach(by_node=True, local=True),
                     id="of nodes with pods of its own"),
        pytest.param({"type": "ClusterIP"}, {}, Reach(), id="inside alone"),
    ],
)  # fmt: skip
def test_how_a_service_is_reached_from_outside(spec: Object, status: Object, reach: Reach) -> None:
    found = decode_service({"spec": {"ports": [{"port": 80}], **spec}, "status": status})
    assert found is not None
    assert found.reach == reach


@pytest.mark.parametrize(
    ("reach", "addresses"),
    [
        pytest.param(GIVEN, (("IPAddress", "203.0.113.7"),), id="given"),
        pytest.param(Reach(("lb.example",)), (("Hostname", "lb.example"),), id="a name"),
        pytest.param(Reach(by_node=True), (("IPAddress", "192.0.2.1"), ("IPAddress", "192.0.2.2")), id="every node"),
        pytest.param(Reach(by_node=True, local=True), (("IPAddress", "192.0.2.2"),), id="the pods' nodes"),
    ],
)
def test_a_gateway_that_is_served_says_where(reach: Reach, addresses: Addresses) -> None:
    found = of(around(reach, reach))
    assert found.addresses == addresses
    assert found.conditions == (("Programmed", "True", "Programmed", ""), ("ResolvedRefs", "True", "ResolvedRefs", ""))


@pytest.mark.parametrize(
    ("here", "reason", "said"),
    [
        pytest.param(around(), "NoGateway", "no pod of a gateway has the labels", id="nobody serves it"),
        pytest.param(around(GIVEN, ports=frozenset({80})), "PortUnavailable", "by port 443; add it to the Service",
                     id="its port is no Service's"),
        pytest.param(around(Reach()), "AddressNotAssigned", "no address outside the cluster", id="it has no address"),
    ],
)  # fmt: skip
def test_a_gateway_that_is_not_served_says_why(here: Around, reason: str, said: str) -> None:
    kind, status, found, message = of(here).conditions[0]
    assert (kind, status, found) == ("Programmed", "False", reason)
    assert said in message


@pytest.mark.parametrize(
    ("more", "mode", "said"),
    [
        pytest.param({"credentials": {}}, "SIMPLE", "is not there, or may not be read; its servers have no effect",
                     id="missing"),
        pytest.param({"problems": {("edge", "shop"): "tls.key is missing"}}, "SIMPLE",
                     "tls.key is missing; the last good version goes on", id="bad, after a good one"),
        pytest.param({"problems": {("edge", "shop"): "tls.key is missing"}, "credentials": {}}, "SIMPLE",
                     "tls.key is missing; its servers have no effect", id="bad from the first"),
        pytest.param({}, "MUTUAL", "has no ca.crt, which MUTUAL needs", id="nobody to check clients against"),
        pytest.param({"now": 200.0}, "SIMPLE", "its certificate ended at 1970-01-01T00:03:20Z", id="ended"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_secret_is_said(more: Any, mode: str, said: str) -> None:
    kind, status, reason, message = of(around(GIVEN, **more), mode).conditions[1]
    assert (kind, status, reason) == ("ResolvedRefs", "False", "InvalidCertificateRef")
    assert said in message


def reached(server: FakeApiServer) -> tuple[dict[str, tuple[str, str]], list[str]]:
    """Its conditions, and its addresses."""
    status = server.get("networking.istio.io/v1", "Gateway", "all", "default").get("status", {})
    conditions = {each["type"]: (each["status"], each["message"]) for each in status.get("conditions", ())}
    return conditions, [each["value"] for each in status.get("addresses", ())]


def given(address: str) -> Object:
    """The gateway's Service, with an address of a load balancer."""
    service = edge("shop")[1]
    service["spec"]["type"] = "LoadBalancer"
    return service | {"status": {"loadBalancer": {"ingress": [{"ip": address}]}}}


async def test_the_status_follows_what_the_load_balancer_and_the_secret_are(
    server: FakeApiServer, follow: Follow, eventually: Eventually
) -> None:
    for each in [*edge("shop"), node("node-1")]:
        server.seed(each)
    async with follow():
        await eventually(lambda: reached(server)[0].get("Programmed", ("",))[0] == "False", "it has no address")
        assert "Secret edge/shop is not there" in reached(server)[0]["ResolvedRefs"][1]
        server.seed(given("203.0.113.7"))
        server.seed(secret())
        await eventually(lambda: reached(server)[1] == ["203.0.113.7"], "the address is there")
        await eventually(lambda: reached(server)[0]["ResolvedRefs"] == ("True", ""), "the Secret is there")
        assert reached(server)[0]["Programmed"] == ("True", "")
        server.seed(secret(tls_crt=OTHER_CHAIN))
        await eventually(lambda: "last good" in reached(server)[0]["ResolvedRefs"][1], "it is said to be bad")
        server.seed(secret(tls_crt=CHAIN))
        await eventually(lambda: reached(server)[0]["ResolvedRefs"] == ("True", ""), "it is good again")
        server.seed(edge("shop")[1])
        await eventually(lambda: reached(server)[1] == [], "the address is taken back")
        assert reached(server)[0]["Accepted"][0] == "True"


async def test_only_the_leader_writes_it_and_a_bad_gateway_keeps_the_address_of_its_last_good_version(
    server: FakeApiServer, follow: Follow, eventually: Eventually
) -> None:
    for each in [*edge("shop")[:1], *edge("shop")[2:], given("203.0.113.7"), secret()]:
        server.seed(each)
    async with follow(leads=False) as made:
        assert reached(server) == ({}, [])
        made.leads = True
        await eventually(lambda: reached(server)[1] == ["203.0.113.7"], "the new leader writes it")
        server.seed(rule("Gateway", "all", {"selector": {"app": "edge"}, "servers": "none"}))
        await eventually(lambda: reached(server)[0].get("Accepted", ("",))[0] == "False", "it is bad")
        await eventually(lambda: reached(server)[1] == ["203.0.113.7"], "what goes on is reached as before")
