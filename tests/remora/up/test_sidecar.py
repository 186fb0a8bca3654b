"""A sidecar is registered before every start, and started with what the registration answered."""

import os
import random
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from remora.client import Control
from remora.state import State
from remora.up.applications import proxied
from remora.up.sidecar import Sidecar, TcpUpstream, Telemetry, Workload, environment
from remora.up.sockets import address, free_ports, listening
from sidecar import bootstrap
from tests.remora.conftest import FakeControl

REGISTERED: dict[str, Any] = {
    "token": "t0ken",
    "node_id": "sidecar~127.0.0.1~reviews-v1.default~default.svc.cluster.local",
    "identity": "spiffe://cluster.local/ns/default/sa/bookinfo-reviews",
    "ads": "127.0.0.1:15012",
    "csr": "127.0.0.1:15011",
    "root_pem": "",
}
REVIEWS = Workload(
    name="reviews-v1",
    namespace="default",
    service="reviews",
    version="v1",
    service_account="bookinfo-reviews",
    service_port=9080,
    app="127.0.0.1:5000",
    labels={"app": "reviews", "version": "v1"},
)


@pytest.fixture
def sidecar() -> Iterator[Sidecar]:
    made = Sidecar(REVIEWS)
    yield made
    made.close()


@pytest.fixture
def state(control: FakeControl) -> State:
    made = State(control.state)
    made.create()
    control.answer("POST", "/v1/workloads", REGISTERED, status=201)
    return made


async def test_it_is_registered_with_its_addresses(control: FakeControl, state: State, sidecar: Sidecar) -> None:
    with Control(state) as client:
        await sidecar.prepare(state, client, None)
    described = sidecar.describe()
    assert control.requests[-1] == (
        "POST",
        "/v1/workloads",
        {
            "name": "reviews-v1",
            "namespace": "default",
            "kind": "sidecar",
            "service": "reviews",
            "version": "v1",
            "service_account": "bookinfo-reviews",
            "labels": {"app": "reviews", "version": "v1"},
            "ports": [{"name": "http", "service_port": 9080, "app": "127.0.0.1:5000"}],
            "tcp_outbound": [],
            "inbound": described["inbound"],
            "outbound": described["outbound"],
            "gateway_ports": {},
            "admin": described["admin"],
            "metrics": described["metrics"].removeprefix("http://").removesuffix("/metrics"),
        },
    )


async def test_its_flags_are_what_the_proxy_understands(state: State, sidecar: Sidecar) -> None:
    with Control(state) as client:
        command = await sidecar.prepare(state, client, Telemetry("127.0.0.1:24224", "127.0.0.1:4317"))
    flags = list(command.argv)[list(command.argv).index("proxy") + 1 :]
    parsed = bootstrap.parse(flags)
    assert (parsed.node_id, str(parsed.identity)) == (REGISTERED["node_id"], REGISTERED["identity"])
    assert (parsed.workload, parsed.namespace, parsed.service, parsed.version) == (
        "reviews-v1",
        "default",
        "reviews",
        "v1",
    )
    assert (str(parsed.ads), str(parsed.csr)) == (REGISTERED["ads"], REGISTERED["csr"])
    assert (str(parsed.collector_forward), str(parsed.collector_otlp)) == ("127.0.0.1:24224", "127.0.0.1:4317")
    given = {
        place.fd for place in (*parsed.listen, parsed.admin, parsed.metrics) if isinstance(place, bootstrap.Inherited)
    }
    assert given == set(command.fds)
    addresses = set()
    for fd in command.fds:
        with socket.socket(fileno=os.dup(fd)) as inherited:
            addresses.add(address(inherited))
    assert {sidecar.describe()["inbound"], sidecar.outbound} < addresses


async def test_its_token_is_private_and_new_for_every_start(
    control: FakeControl, state: State, sidecar: Sidecar
) -> None:
    with Control(state) as client:
        await sidecar.prepare(state, client, None)
        control.answer("POST", "/v1/workloads", REGISTERED | {"token": "another"}, status=201)
        command = await sidecar.prepare(state, client, None)
    path = Path(list(command.argv)[list(command.argv).index("--token-file") + 1])
    assert path.read_text() == "another"
    assert path.stat().st_mode & 0o777 == 0o600
    assert "another" not in command.argv


async def test_a_gateway_listens_once_on_a_port_with_two_names(control: FakeControl, state: State) -> None:
    with listening() as ingress:
        gateway = Sidecar(
            Workload("gw", "remora-system", None, "latest", "gw", gateway_ports={"80": ingress, "8080": ingress})
        )
        try:
            with Control(state) as client:
                command = await gateway.prepare(state, client, None)
        finally:
            gateway.close()
        assert list(command.argv).count("--listen-fd") == 1
        sent = control.requests[-1][2]
        assert sent["gateway_ports"] == {"80": address(ingress), "8080": address(ingress)}
        assert (sent["kind"], sent["service"], sent["inbound"], sent["ports"]) == ("gateway", None, None, [])


def test_applications_reach_the_mesh_by_proxy_and_this_machine_without() -> None:
    env = proxied({"PATH": "/bin", "NO_PROXY": "old", "http_proxy": "old"}, "127.0.0.1:1")
    assert env["HTTP_PROXY"] == env["http_proxy"] == "http://127.0.0.1:1"
    assert env["NO_PROXY"] == env["no_proxy"] == "localhost,127.0.0.1,::1"
    assert env["PATH"] == "/bin"


def test_components_use_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://corporate:3128")
    monkeypatch.setenv("HTTP_PROXY", "http://corporate:3128")
    assert not [name for name in environment() if name.lower().endswith("_proxy")]


async def test_ports_of_services_are_its_own_sockets_and_registered(control: FakeControl, state: State) -> None:
    local = free_ports(1, random.Random(1))[0]
    workload = replace(REVIEWS, protocol="redis", tcp_upstreams=(TcpUpstream("cache", 6379, local),))
    sidecar = Sidecar(workload)
    try:
        with Control(state) as client:
            command = await sidecar.prepare(state, client, None)
        sent = control.requests[-1][2]
        listen = f"127.0.0.1:{local}"
        assert sent["tcp_outbound"] == [{"service": "cache", "port": 6379, "listen": listen}]
        assert sent["ports"][0]["name"] == "redis"
        held = set()
        for fd in command.fds:
            with socket.socket(fileno=os.dup(fd)) as inherited:
                held.add(address(inherited))
        assert listen in held
        with pytest.raises(OSError, match="in use"):
            Sidecar(workload)
    finally:
        sidecar.close()


def test_a_tunnel_for_https_is_asked_for_where_that_is_wanted() -> None:
    env = {"https_proxy": "http://office:3128", "HTTPS_PROXY": "http://office:3128"}
    assert proxied(env, "127.0.0.1:1")["https_proxy"] == "http://office:3128", "past the mesh, as it was"
    through = proxied(env, "127.0.0.1:1", https=True)
    assert through["https_proxy"] == through["HTTPS_PROXY"] == through["HTTP_PROXY"] == "http://127.0.0.1:1"
