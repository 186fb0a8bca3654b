"""Port 15020 of a pod."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from mesh.clock import SystemClock
from mesh.lifecycle import TaskScope
from sidecar.agent.admin import metrics_pages
from sidecar.agent.app_probes import AppProbes
from sidecar.agent.http_server import HttpServer, Request
from sidecar.agent.pod_pages import pod_pages
from sidecar.agent.sockets import open_socket
from sidecar.config.endpoint import Address
from sidecar.pod import AppProbe, Pod, TcpSocket
from tests.sidecar.agent.views import FakeViews, ask

HOOK = "/app-lifecycle/web/0123456789abcdef/prestopz"


class Leaver:
    def __init__(self) -> None:
        self.told: list[str] = []

    def stop(self, why: str) -> None:
        self.told.append(f"stop: {why}")

    def wind_down(self, why: str) -> None:
        self.told.append(f"wind down: {why}")


@pytest.fixture
def leaver() -> Leaver:
    return Leaver()


@pytest.fixture
async def port(leaver: Leaver) -> AsyncIterator[int]:
    hook = AppProbe(HOOK, TcpSocket(1), hook="/app-lifecycle/web/prestopz")
    pod = Pod("web", "127.0.0.1", probes=(AppProbe("/app-health/web/livez", TcpSocket(1)), hook))
    probes = AppProbes(pod, SystemClock())
    async with TaskScope() as scope:
        server = HttpServer(
            metrics_pages(FakeViews(), pod_pages(leaver, probes), probes.hooks), scope, probes.patience_s
        )
        sock = open_socket(Address("127.0.0.1", 0))
        await server.start(sock)
        yield sock.getsockname()[1]
        await server.close()


async def test_metrics_probes_and_orders_are_on_one_port(port: int, leaver: Leaver) -> None:
    assert (await ask(port, "GET", "/stats/prometheus")).status == 200
    assert (await ask(port, "GET", "/app-health/web/livez")).body == "Connection refused\n"
    assert (await ask(port, "GET", "/app-health/web/readyz")).status == 404
    assert (await ask(port, "POST", "/drain")).status == 200
    assert (await ask(port, "POST", "/quitquitquit")).status == 200
    assert leaver.told == ["wind down: POST /drain", "stop: POST /quitquitquit"]


async def test_a_hook_is_performed_for_who_knows_its_path_and_shown_to_nobody(port: int) -> None:
    assert (await ask(port, "GET", HOOK)).body == "Connection refused\n"
    for path in ("/app-lifecycle/web/prestopz", "/app-lifecycle/web/0123456789abcdee/prestopz", "/"):
        answer = await ask(port, "GET", path)
        assert answer.status == 404
        assert "GET /app-health/web/livez\n" in answer.body
        assert "lifecycle" not in answer.body


async def test_a_get_orders_nothing(port: int, leaver: Leaver) -> None:
    assert (await ask(port, "GET", "/quitquitquit")).status == 405
    assert leaver.told == []


@pytest.mark.parametrize(
    ("peer", "headers", "status"),
    [
        pytest.param("10.0.0.9", {"host": "localhost"}, 403, id="another pod"),
        pytest.param("::ffff:10.0.0.9", {"host": "localhost"}, 403, id="another pod, mapped into IPv6"),
        pytest.param("fe80::1%eth0", {"host": "localhost"}, 403, id="the link"),
        pytest.param("127.0.0.1", {"host": "evil.example"}, 403, id="a page whose name was made to point here"),
        pytest.param("127.0.0.1", {"host": "localhost", "origin": "https://evil.example"}, 403, id="another site"),
        pytest.param("127.0.0.1", {"host": "127.0.0.1:15020"}, 200, id="the pod itself"),
        pytest.param("::1", {"host": "[::1]:15020"}, 200, id="the pod itself by IPv6"),
    ],
)
async def test_orders_come_from_inside_the_pod_alone(
    peer: str, headers: dict[str, str], status: int, leaver: Leaver
) -> None:
    page = pod_pages(leaver, AppProbes(None, SystemClock()))["POST", "/quitquitquit"]
    response = await page(Request("POST", "/quitquitquit", (), headers, peer=(peer, 1)))
    assert getattr(response, "status", None) == status
    assert bool(leaver.told) == (status == 200)


async def test_a_hook_may_take_longer_than_other_pages(leaver: Leaver) -> None:
    async with TaskScope() as scope:
        done = asyncio.Event()

        async def slow(request: Request) -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                done.set()

        server = HttpServer(slow, scope, {"/hook": 0.05}.get)  # type: ignore[arg-type]
        sock = open_socket(Address("127.0.0.1", 0))
        await server.start(sock)
        assert (await ask(sock.getsockname()[1], "GET", "/hook")).status == 504
        assert done.is_set()
        await server.close()
