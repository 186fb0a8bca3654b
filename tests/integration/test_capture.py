"""Captured traffic: applications that know nothing of the mesh, in network namespaces with the rules of `remora-init`.

Two pods with sidecars of user 1337 ("web" calls "reviews"), one whose only address is IPv6 ("ratings"), and one outside
the mesh ("legacy"); control plane and collector beside them. Services' addresses exist nowhere: without capture,
nothing of this would work.
"""

import http.client
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest

from tests.netns.captured_mesh import PROXY, CapturedMesh, Port, Sidecar, connect, request
from tests.netns.namespaces import Namespace, Network, lacking
from tests.netns.packets import Wiretap, tls_records

T = TypeVar("T")

REVIEWS = {4: "10.96.0.10", 6: "fd00:96::10"}
RATINGS = "fd00:96::20"
SECRET = "the-word-that-nobody-else-may-read"
UNDECLARED = 5555
"""A port that neither a Service nor the pod names."""
GREETING = b"220 ready\r\n"

SERVICES = f"""\
apiVersion: v1
kind: Service
metadata: {{name: reviews}}
spec:
  clusterIP: {REVIEWS[4]}
  clusterIPs: ["{REVIEWS[4]}", "{REVIEWS[6]}"]
  selector: {{app: reviews}}
  ports:
  - {{name: http, port: 80, targetPort: 9080}}
  - {{name: tcp-greeting, port: 7000}}
  - {{name: unknown, port: 7001}}
---
apiVersion: v1
kind: Service
metadata: {{name: ratings}}
spec:
  clusterIP: "{RATINGS}"
  clusterIPs: ["{RATINGS}"]
  selector: {{app: ratings}}
  ports:
  - {{name: http, port: 80, targetPort: 9080}}
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec:
  clusterIP: 10.96.0.30
  selector: {{app: web}}
  ports:
  - {{name: http, port: 80, targetPort: 8080}}
"""


EXCLUDED = {
    "traffic.sidecar.istio.io/excludeInboundPorts": "9999",
    "traffic.sidecar.istio.io/excludeOutboundPorts": "9998",
}

STRICT = """\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict}
spec: {mtls: {mode: STRICT}}
"""


def until(condition: Callable[[], T], what: str, within: float = 10.0) -> T:
    deadline = time.monotonic() + within
    while not (result := condition()):
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        time.sleep(0.02)
    return result


class Pods:
    """The mesh of this module, by names."""

    def __init__(self, mesh: CapturedMesh) -> None:
        self.mesh = mesh
        self.hub = mesh.hub
        network = mesh.network
        self.web, self.reviews = network.pod("web"), network.pod("reviews")
        self.ratings, self.legacy = network.pod("ratings"), network.pod("legacy")
        self.sidecars: dict[str, Sidecar] = {}

    def start(self) -> None:
        mesh = self.mesh
        mesh.start()
        mesh.apply(SERVICES)
        reviews = [Port("http", 9080), Port("tcp-greeting", 7000), Port("unknown", 7001)]
        registered = (
            mesh.register(self.web, "web", [Port("http", 8080)], annotations=EXCLUDED),
            mesh.register(self.reviews, "reviews", reviews, annotations=EXCLUDED),
            mesh.register(self.ratings, "ratings", [Port("http", 9080)], [self.ratings.ipv6]),
        )
        for sidecar in registered:
            sidecar.capture()
            sidecar.start()
            self.sidecars[sidecar.name] = sidecar
        mesh.http_server(self.web, 8080, "web")
        for port in (9080, UNDECLARED, 9999):
            mesh.http_server(self.reviews, port, "reviews")
        mesh.tcp_server(self.reviews, 7000, GREETING)
        mesh.tcp_server(self.reviews, 7001)
        mesh.http_server(self.ratings, 9080, "ratings")
        for port in (80, 8088, 9998):
            mesh.http_server(self.legacy, port, "legacy")
        mesh.tcp_server(self.legacy, 7777, GREETING)


@pytest.fixture(scope="module")
def pods() -> Iterator[Pods]:
    if reason := lacking():
        pytest.skip(reason)
    mesh = CapturedMesh(Network("c"))
    try:
        made = Pods(mesh)
        made.start()
        yield made
    finally:
        mesh.close()


def the_record(pods: Pods, workload: str, **wanted: Any) -> dict[str, Any]:
    """The access record that has these values, once it is in the store."""

    def found() -> dict[str, Any] | None:
        matching = [
            record
            for record in pods.mesh.logs(workload)
            if all(record.get(key) == value for key, value in wanted.items())
        ]
        return matching[-1] if matching else None

    return until(found, f"a record of {workload} with {wanted} among {pods.mesh.logs(workload)[-3:]}")


def spelled(address: tuple[Any, ...]) -> str:
    """As records have it."""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def receive(client: socket.socket, length: int) -> bytes:
    got = b""
    while len(got) < length and (data := client.recv(65_536)):
        got += data
    return got


# Between pods


@pytest.mark.parametrize("version", [4, 6], ids=["by IPv4", "by IPv6"])
def test_a_request_to_a_services_address_is_captured_on_both_sides_and_encrypted_between(
    pods: Pods, version: int
) -> None:
    path = f"/both-{version}"
    with Wiretap(pods.mesh.hub, pods.reviews.link) as wire:
        answer = request(pods.web, REVIEWS[version], 80, path, authority="reviews", body=SECRET)
        assert (answer.status, answer.seen["server"], answer.seen["body"]) == (200, "reviews", SECRET)

        # On the wire: TLS from the first byte, to the pod's own address; nothing of the request in plaintext.
        assert SECRET.encode() not in wire.everything()
        assert path.encode() not in wire.everything()
        assert {s.destination for s in wire.segments() if s.source == pods.web.ipv4} == {pods.reviews.ipv4}
        assert not [s for s in wire.segments() if REVIEWS[version] in (s.source, s.destination)]
        if version == 4:  # the connection may be one of before
            sent = list(tls_records(wire.sent_to(pods.reviews.ipv4, 9080)))
            assert sent[0].kind == 22
            assert b"outbound_.80_._.reviews.default.svc.cluster.local" in sent[0].body, "SNI"
            assert b"\x08http/1.1" in sent[0].body, "ALPN"
            assert any(record.kind == 23 for record in sent)

    # Who the client is, by its certificate.
    assert "URI=spiffe://cluster.local/ns/default/sa/web-account" in answer.seen["headers"]["x-forwarded-client-cert"]
    # The application sees its own sidecar, from the address that rules let through, at the port it listens on.
    assert answer.seen["peer"][0] == "127.0.0.6"
    assert answer.seen["local"] == [pods.reviews.ipv4, 9080]

    # The client's sidecar knows the application's own address and port, and the service that it meant.
    client = the_record(pods, "web", path=path)
    assert client["downstream_remote_address"] == spelled(answer.client)
    assert client["downstream_local_address"] == spelled((REVIEWS[version], 80))
    assert client["upstream_host"] == f"{pods.reviews.ipv4}:9080"
    assert client["destination_service"] == "reviews.default.svc.cluster.local"
    # The server's sidecar knows who came, from which pod, and where to.
    server = the_record(pods, "reviews", path=path)
    assert server["source_principal"] == "spiffe://cluster.local/ns/default/sa/web-account"
    assert server["downstream_remote_address"].startswith(f"{pods.web.ipv4}:")
    assert server["downstream_local_address"] == f"{pods.reviews.ipv4}:9080"


def test_mutual_tls_between_pods_that_have_ipv6_alone(pods: Pods) -> None:
    with Wiretap(pods.mesh.hub, pods.ratings.link) as wire:
        answer = request(pods.web, RATINGS, 80, "/six", authority="ratings", body=SECRET)
        assert (answer.status, answer.seen["server"]) == (200, "ratings")
        assert SECRET.encode() not in wire.everything()
        assert next(tls_records(wire.sent_to(pods.ratings.ipv6, 9080))).kind == 22
    assert answer.seen["peer"][0] == "::6"
    assert "web-account" in answer.seen["headers"]["x-forwarded-client-cert"]
    assert the_record(pods, "ratings", path="/six")["downstream_remote_address"].startswith(f"[{pods.web.ipv6}]:")


@pytest.mark.parametrize("version", [4, 6], ids=["by IPv4", "by IPv6"])
def test_a_server_that_speaks_first_is_heard_at_once_and_encrypted(pods: Pods, version: int) -> None:
    with Wiretap(pods.mesh.hub, pods.reviews.link) as wire, connect(pods.web, REVIEWS[version], 7000) as client:
        assert receive(client, len(GREETING)) == GREETING
        client.sendall(SECRET.encode())
        assert receive(client, len(SECRET)) == SECRET.upper().encode()
        everything = wire.everything()
        assert GREETING not in everything
        assert SECRET.encode() not in everything
        assert SECRET.upper().encode() not in everything
        first = next(tls_records(wire.sent_to(pods.reviews.ipv4, 7000)))
        assert (first.kind, b"\x05istio" in first.body) == (22, True), "ALPN of relayed bytes"
        mine = client.getsockname()
    host, port = mine[:2]
    record = the_record(pods, "web", downstream_remote_address=f"[{host}]:{port}" if version == 6 else f"{host}:{port}")
    assert record["destination_service"] == "reviews.default.svc.cluster.local"
    assert record["bytes_received"] == len(SECRET)


def test_a_port_of_unknown_protocol_takes_requests_and_bytes(pods: Pods) -> None:
    with Wiretap(pods.mesh.hub, pods.reviews.link) as wire, connect(pods.web, REVIEWS[4], 7001) as client:
        client.sendall(b"\x00\x01" + SECRET.encode())
        assert receive(client, len(SECRET) + 2) == b"\x00\x01" + SECRET.upper().encode()
        assert SECRET.upper().encode() not in wire.everything()


def test_an_application_that_calls_its_own_service_comes_in_by_its_own_sidecar(pods: Pods) -> None:
    answer = request(pods.web, "10.96.0.30", 80, "/myself", authority="web")
    assert (answer.status, answer.seen["server"], answer.seen["peer"][0]) == (200, "web", "127.0.0.6")
    assert "web-account" in answer.seen["headers"]["x-forwarded-client-cert"]
    until(lambda: [r for r in pods.mesh.logs("web") if r.get("path") == "/myself"][1:], "a record of each side")
    directions = sorted(r["direction"] for r in pods.mesh.logs("web") if r.get("path") == "/myself")
    assert directions == ["inbound", "outbound"]


def test_a_pods_own_address_is_its_own_affair(pods: Pods) -> None:
    answer = request(pods.web, pods.web.ipv4, 8080, "/direct")
    assert (answer.status, answer.seen["peer"][0]) == (200, pods.web.ipv4)
    assert "x-forwarded-client-cert" not in answer.seen["headers"]


# Beyond the mesh


@pytest.mark.parametrize("version", [4, 6], ids=["by IPv4", "by IPv6"])
def test_a_destination_outside_the_mesh_is_reached_where_it_is(pods: Pods, version: int) -> None:
    """At a port that no service has it is relayed as bytes, which nobody reads."""
    to = pods.legacy.address(version)
    answer = request(pods.web, to, 8088, "/outside", authority="legacy.example.com")
    assert (answer.status, answer.seen["server"]) == (200, "legacy")
    assert answer.seen["peer"][0] == pods.web.address(version)
    record = the_record(pods, "web", downstream_remote_address=spelled(answer.client))
    assert record["upstream_cluster"] == "PassthroughCluster"
    assert record["downstream_local_address"] == record["upstream_host"] == spelled((to, 8088))
    with connect(pods.web, to, 7777) as client:
        assert receive(client, len(GREETING)) == GREETING
        client.sendall(b"quit")
        assert receive(client, 4) == b"QUIT"


@pytest.mark.parametrize("version", [4, 6], ids=["by IPv4", "by IPv6"])
def test_a_host_that_no_service_is_at_a_port_that_services_have_is_reached_as_http(pods: Pods, version: int) -> None:
    to = pods.legacy.address(version)
    path = f"/outside-{version}"
    answer = request(pods.web, to, 80, path, authority="legacy.example.com")
    assert (answer.status, answer.seen["server"]) == (200, "legacy")
    record = the_record(pods, "web", path=path)
    assert (record["upstream_cluster"], record["upstream_host"]) == ("PassthroughCluster", spelled((to, 80)))
    assert answer.seen["headers"]["x-request-id"] == record["request_id"]


def test_a_destination_that_does_not_exist_fails_and_nothing_goes_around(pods: Pods) -> None:
    """The sidecar has accepted before it knows: a request is answered, bytes end."""
    answer = request(pods.web, pods.hub.ipv4, 80, "/nobody", authority="nobody.example.com")
    assert answer.status == 503
    assert "UF" in the_record(pods, "web", path="/nobody")["response_flags"]
    with connect(pods.web, pods.legacy.ipv4, 8089) as client:
        client.sendall(b"anyone?")
        assert refused(client)
        mine = spelled(client.getsockname())
    assert "UF" in the_record(pods, "web", downstream_remote_address=mine)["response_flags"]


@pytest.mark.parametrize("version", [4, 6], ids=["by IPv4", "by IPv6"])
def test_a_client_outside_the_mesh_comes_in_as_plaintext_by_the_sidecar(pods: Pods, version: int) -> None:
    """PERMISSIVE, as by default."""
    answer = request(pods.legacy, pods.reviews.address(version), 9080, f"/plain-{version}", authority="reviews")
    assert (answer.status, answer.seen["server"]) == (200, "reviews")
    assert answer.seen["peer"][0] == ("127.0.0.6" if version == 4 else "::6")
    assert "x-forwarded-client-cert" not in answer.seen["headers"]
    record = the_record(pods, "reviews", path=f"/plain-{version}")
    assert record["downstream_remote_address"] == spelled(answer.client)


@pytest.mark.parametrize("version", [4, 6], ids=["by IPv4", "by IPv6"])
def test_a_port_that_nobody_declared_is_captured_too(pods: Pods, version: int) -> None:
    answer = request(pods.legacy, pods.reviews.address(version), UNDECLARED, "/undeclared")
    assert answer.seen["peer"][0] == ("127.0.0.6" if version == 4 else "::6")
    record = the_record(pods, "reviews", downstream_remote_address=spelled(answer.client))
    assert record["upstream_cluster"] == ("InboundPassthroughCluster" if version == 4 else record["upstream_cluster"])
    assert record["upstream_host"] == spelled((pods.reviews.address(version), UNDECLARED))


def test_under_strict_nothing_comes_in_without_a_certificate_but_at_excluded_ports(pods: Pods) -> None:
    pods.mesh.apply(STRICT)
    try:
        for host in (pods.reviews.ipv4, pods.reviews.ipv6):
            for port in (9080, 7000, 7001, UNDECLARED):
                until(lambda host=host, port=port: turned_away(pods.legacy, host, port), f"{host}:{port} is closed")
            assert request(pods.legacy, host, 9999).status == 200
        answer = request(pods.web, REVIEWS[4], 80, "/strict", authority="reviews")
        assert "web-account" in answer.seen["headers"]["x-forwarded-client-cert"]
    finally:
        pods.mesh.delete(STRICT)
    until(lambda: not turned_away(pods.legacy, pods.reviews.ipv4, 9080), "PERMISSIVE again")


def turned_away(there: Namespace, host: str, port: int) -> bool:
    try:
        return request(there, host, port).status == 0
    except (ConnectionError, http.client.BadStatusLine):
        return True


def test_five_megabytes_arrive_as_they_were_sent(pods: Pods) -> None:
    body = "0123456789abcdef" * 330_000
    answer = request(pods.web, REVIEWS[4], 80, "/large", authority="reviews", body=body)
    assert answer.seen["body"] == body


# What is not captured


@pytest.mark.parametrize("version", [4, 6], ids=["by IPv4", "by IPv6"])
def test_excluded_ports_go_around_the_sidecar(pods: Pods, version: int) -> None:
    inbound = request(pods.legacy, pods.reviews.address(version), 9999, "/excluded")
    assert inbound.seen["peer"] == list(inbound.client), "the client itself, its port too"
    outbound = request(pods.web, pods.legacy.address(version), 9998, "/excluded")
    assert outbound.seen["peer"] == list(outbound.client)
    assert "x-request-id" not in inbound.seen["headers"] | outbound.seen["headers"]


@pytest.mark.parametrize("version", [4, 6], ids=["by IPv4", "by IPv6"])
def test_what_user_1337_sends_goes_around_the_sidecar(pods: Pods, version: int) -> None:
    answer = request(pods.web, pods.legacy.address(version), 8088, "/as-sidecar", uid=PROXY)
    assert answer.seen["peer"] == list(answer.client)
    assert "x-request-id" not in answer.seen["headers"]


def test_the_sidecars_own_ports_are_reached_from_outside_and_its_administration_is_not(pods: Pods) -> None:
    assert pods.sidecars["reviews"].metrics()
    with pytest.raises(ConnectionRefusedError):
        connect(pods.legacy, pods.reviews.ipv4, 15_000, uid=0)


@pytest.mark.parametrize("port", [15_001, 15_006])
def test_whoever_connects_to_the_sidecars_own_listeners_is_sent_away(pods: Pods, port: int) -> None:
    """A connection that was on its way there already would come back to it for ever."""
    before = looped(pods)
    for there, host in ((pods.legacy, pods.reviews.ipv4), (pods.reviews, "127.0.0.1")):
        with connect(there, host, port) as client:
            client.sendall(b"GET / HTTP/1.1\r\nhost: reviews\r\n\r\n")
            assert refused(client)
    until(lambda: looped(pods) >= before + 2, "both are counted")


def looped(pods: Pods) -> float:
    metrics = pods.sidecars["reviews"].metrics()
    return sum(value for name, value in metrics.items() if name.startswith("remora_listener_cx_loop_total"))


def refused(client: socket.socket) -> bool:
    try:
        return client.recv(100) == b""
    except ConnectionResetError:
        return True


# The rules beneath


def test_rules_applied_again_change_nothing_while_traffic_flows(pods: Pods) -> None:
    before = tables(pods.web)
    with connect(pods.web, REVIEWS[4], 7000) as client:
        assert receive(client, len(GREETING)) == GREETING
        assert pods.sidecars["web"].capture() == "IPv4: nothing to do\nIPv6: nothing to do\n"
        assert tables(pods.web) == before
        client.sendall(b"still here")
        assert receive(client, 10) == b"STILL HERE"


def test_without_the_rules_the_services_address_leads_nowhere(pods: Pods) -> None:
    """Last: it takes them out, and puts them back."""
    pods.sidecars["web"].capture("init-iptables", "--remove")
    empty = pods.mesh.network.pod("empty")
    assert tables(pods.web) == tables(empty)
    with pytest.raises(OSError, match=r"unreachable|No route"):
        request(pods.web, REVIEWS[4], 80)
    pods.sidecars["web"].capture()
    assert request(pods.web, REVIEWS[4], 80, authority="reviews").status == 200


def tables(pod: Namespace) -> str:
    return pod.saved(4) + pod.saved(6)
