"""Captured DNS: an application asks for names as any program does; its sidecar answers, or asks the pod's own server.

One pod with capture of DNS as Istio's users ask for it ("shop"), one that it calls ("reviews"), and in the hub the DNS
server that `/etc/resolv.conf` names, which knows the outside alone.
"""

import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.netns.captured_mesh import APP, CapturedMesh, Port
from tests.netns.namespaces import Network, as_user, lacking
from tests.sidecar.agent.dns.name_server import NameServer, records

REVIEWS = "10.96.0.10"
SERVICE = f"""\
apiVersion: v1
kind: Service
metadata: {{name: reviews}}
spec:
  clusterIP: {REVIEWS}
  selector: {{app: reviews}}
  ports:
  - {{name: http, port: 80, targetPort: 9080}}
"""
CAPTURE_DNS = {"proxy.istio.io/config": 'proxyMetadata: {ISTIO_META_DNS_CAPTURE: "true"}'}
RESOLV_CONF = "search default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"

ASK = """\
import json, socket, sys, time, urllib.request
began = time.monotonic()
try:
    found = sorted({each[4][0] for each in socket.getaddrinfo(sys.argv[1], 80, type=socket.SOCK_STREAM)})
except socket.gaierror as error:
    found = error.args[0]
body = ""
if isinstance(found, list) and len(sys.argv) > 2:
    body = urllib.request.urlopen(f"http://{sys.argv[1]}{sys.argv[2]}", timeout=10).read().decode()
print(json.dumps([found, body, time.monotonic() - began]))
"""


class Shop:
    """The pod whose application asks."""

    def __init__(self, mesh: CapturedMesh) -> None:
        network = mesh.network
        self.mesh = mesh
        self.pod, self.reviews = network.pod("shop"), network.pod("reviews")
        self.pod.resolv_conf = mesh.directory / "resolv.conf"
        self.pod.resolv_conf.write_text(f"nameserver {mesh.hub.ipv4}\n{RESOLV_CONF}")
        self.pod.resolv_conf.chmod(0o644)
        self.server: NameServer | None = None

    def start(self) -> None:
        mesh = self.mesh
        mesh.start()
        mesh.apply(SERVICE)
        self.sidecar = mesh.register(self.pod, "shop", annotations=CAPTURE_DNS)
        for each in (self.sidecar, mesh.register(self.reviews, "reviews", [Port("http", 9080)])):
            each.capture()
            each.start()
        mesh.http_server(self.reviews, 9080, "reviews")
        self.serve_names()

    def serve_names(self) -> None:
        hub = self.mesh.hub
        tcp = hub.listen(hub.ipv4, 53)
        udp = hub.new_socket(socket.AF_INET, kind=socket.SOCK_DGRAM)
        udp.bind((hub.ipv4, 53))
        self.server = NameServer(udp, tcp, records({("www.example.com", "A"): ["192.0.2.80"]}))

    def stop_names(self) -> None:
        if self.server is not None:
            self.server.close()
            self.server = None

    def ask(self, *words: str) -> tuple[list[str] | int, str, float]:
        """As an application: addresses or getaddrinfo's error, the answer to a request if one is asked for, seconds."""
        command = (*as_user(APP), sys.executable, "-I", "-c", ASK, *words)
        found, body, seconds = json.loads(self.pod.run(*command).stdout)
        return found, body, seconds


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    if reason := lacking():
        pytest.skip(reason)
    mesh = CapturedMesh(Network("d"))
    made: Shop | None = None
    try:
        made = Shop(mesh)
        made.start()
        yield made
    finally:
        if made is not None:
            made.stop_names()
        mesh.close()


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < deadline, what
        threading.Event().wait(0.05)


def test_a_service_that_no_dns_server_knows_is_found_and_called_through_the_mesh(shop: Shop) -> None:
    until(lambda: shop.sidecar.metrics().get("remora_agent_dns_names", 0) > 0, "the names come")
    assert shop.server is not None
    before = len(shop.server.asked)
    found, body, _ = shop.ask("reviews", "/found-by-name")
    assert found == [REVIEWS]
    answer = json.loads(body)
    assert (answer["server"], answer["path"]) == ("reviews", "/found-by-name")
    assert "spiffe://cluster.local/ns/default/sa/shop-account" in answer["headers"]["x-forwarded-client-cert"]
    assert shop.ask("reviews.default.svc.cluster.local")[0] == [REVIEWS]
    assert len(shop.server.asked) == before, "nobody else was asked"
    for name in ("reviews.default", "reviews.default.svc", "reviews.default."):
        assert shop.ask(name)[0] == [REVIEWS]


def test_getent_finds_it_too(shop: Shop) -> None:
    said = shop.pod.run(*as_user(APP), "getent", "ahostsv4", "reviews").stdout
    assert said.split()[0] == REVIEWS


def test_an_outside_name_is_asked_of_the_pods_own_server(shop: Shop) -> None:
    assert shop.server is not None
    assert shop.ask("www.example.com")[0] == ["192.0.2.80"]
    assert "www.example.com." in {str(message.question[0].name) for _, message in shop.server.asked}
    assert shop.ask("nobody.example.com")[0] in (socket.EAI_NONAME, socket.EAI_NODATA)


def test_while_the_server_is_away_the_outside_fails_in_bounded_time_and_the_mesh_is_found(shop: Shop) -> None:
    shop.stop_names()
    try:
        found, _, seconds = shop.ask("www.example.com.")
        assert found == socket.EAI_AGAIN, "SERVFAIL"
        assert seconds < 5.0
        assert shop.ask("reviews")[0] == [REVIEWS]
        assert shop.sidecar.metrics()["remora_agent_dns_unanswered_total"] > 0
    finally:
        shop.serve_names()
    assert shop.ask("www.example.com")[0] == ["192.0.2.80"]


def test_an_agent_that_serves_dns_stays_small(shop: Shop) -> None:
    assert shop.sidecar.metrics()["remora_agent_process_resident_memory_bytes"] < 75 * 1024**2
