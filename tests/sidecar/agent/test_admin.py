"""The admin, metrics and readiness endpoints over real sockets."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from mesh.lifecycle import TaskScope
from sidecar.agent import http_server
from sidecar.agent.admin import admin_pages, metrics_pages, readiness_pages
from sidecar.agent.http_server import Handler, HttpServer, Request, Response
from sidecar.agent.sockets import open_socket
from sidecar.config.endpoint import Address
from tests.sidecar.agent.views import FakeViews, ask, exchange, parse_answer

Eventually = Callable[..., Awaitable[None]]
Serve = Callable[[Handler], Awaitable[int]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    servers: list[HttpServer] = []
    async with TaskScope() as scope:

        async def start(handler: Handler) -> int:
            server = HttpServer(handler, scope)
            sock = open_socket(Address("127.0.0.1", 0))
            await server.start(sock)
            servers.append(server)
            port: int = sock.getsockname()[1]
            return port

        yield start
        for server in servers:
            await server.close()


@pytest.fixture
def views() -> FakeViews:
    return FakeViews()


@pytest.fixture
async def admin(serve: Serve, views: FakeViews) -> int:
    return await serve(admin_pages(views))


@pytest.fixture
def level() -> Iterator[None]:
    before = logging.getLogger().level
    yield
    logging.getLogger().setLevel(before)


@pytest.mark.parametrize(("state", "status"), [("LIVE", 200), ("DRAINING", 503), ("PRE_INITIALIZING", 503)])
async def test_readiness_says_the_state(state: str, status: int, admin: int, views: FakeViews, serve: Serve) -> None:
    views.word = state
    answer = await ask(admin, "GET", "/ready")
    assert (answer.status, answer.body) == (status, f"{state}\n")
    kubelet = await serve(readiness_pages(views))
    assert (await ask(kubelet, "GET", "/healthz/ready", host="10.1.2.3:15021")).status == status


async def test_metrics_are_served_to_prometheus_under_any_host(views: FakeViews, serve: Serve) -> None:
    port = await serve(metrics_pages(views))
    for path in ("/metrics", "/stats/prometheus"):
        answer = await ask(port, "GET", path, host="10.1.2.3:15020")
        assert answer.status == 200
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert answer.body.endswith("a 1\n")


@pytest.mark.parametrize("page", [admin_pages, metrics_pages])
async def test_who_prefers_openmetrics_gets_it(
    page: Callable[[FakeViews], Handler], views: FakeViews, serve: Serve
) -> None:
    prometheus = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
    answer = await ask(await serve(page(views)), "GET", "/metrics", accept=prometheus)
    assert answer.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert answer.body.endswith("a 1\n# EOF\n")


async def test_statistics_as_envoy_names_them(admin: int) -> None:
    answer = await ask(admin, "GET", "/stats")
    assert answer.body.splitlines() == [
        "cluster.outbound|80||a.upstream_cx_total: 5",
        "listener.127.0.0.1_80.downstream_cx_active: 2",
        "istio_requests_total{reporter=source}: 7",
        "remora_agent_workers: 1",
    ]
    assert (await ask(admin, "GET", "/stats?format=prometheus")).body.endswith("a 1\n")
    assert (await ask(admin, "GET", "/stats?format=xml")).status == 400


def clusters(active: int, *, ejected: bool = False) -> dict[str, object]:
    host = {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 80}},
        "stats": [{"name": "cx_active", "value": str(active), "type": "GAUGE"}],
        "health_status": {"eds_health_status": "UNHEALTHY"} | ({"failed_outlier_check": True} if ejected else {}),
        "weight": 2,
        "priority": 1,
    }
    return {"cluster_statuses": [{"name": "a", "host_statuses": [host]}]}


def listeners() -> dict[str, object]:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 15001}}
    return {"listener_statuses": [{"name": "virtualOutbound", "local_address": address}]}


async def test_clusters_of_several_workers_are_one(admin: int, views: FakeViews) -> None:
    views.workers = [{"clusters": clusters(1)}, {"clusters": clusters(4)}]
    answer = await ask(admin, "GET", "/clusters")
    assert answer.body.splitlines() == [
        "a::127.0.0.1:80::cx_active::5",
        "a::127.0.0.1:80::health_flags::unhealthy",
        "a::127.0.0.1:80::weight::2",
        "a::127.0.0.1:80::priority::1",
    ]
    plain = json.loads((await ask(admin, "GET", "/clusters?format=json")).body)
    assert plain["cluster_statuses"][0]["host_statuses"][0]["stats"][0]["value"] == "5"


async def test_an_endpoint_that_one_worker_has_ejected_is_shown_as_ejected(admin: int, views: FakeViews) -> None:
    views.workers = [{"clusters": clusters(1)}, {"clusters": clusters(4, ejected=True)}]
    answer = await ask(admin, "GET", "/clusters")
    assert "a::127.0.0.1:80::health_flags::unhealthy/failed_outlier_check" in answer.body.splitlines()


async def test_listeners_are_shown_once(admin: int, views: FakeViews) -> None:
    views.workers = [{"listeners": listeners()}, {"listeners": listeners()}]
    assert (await ask(admin, "GET", "/listeners")).body == "virtualOutbound::127.0.0.1:15001\n"
    assert len(json.loads((await ask(admin, "GET", "/listeners?format=json")).body)["listener_statuses"]) == 1


@pytest.mark.usefixtures("level")
async def test_the_level_of_logging_is_shown_and_set(admin: int) -> None:
    assert (await ask(admin, "POST", "/logging?level=debug")).status == 200
    assert logging.getLogger().level == logging.DEBUG
    assert (await ask(admin, "GET", "/logging")).body == "level: debug\n"
    assert (await ask(admin, "POST", "/logging?level=loud")).status == 400
    assert logging.getLogger().level == logging.DEBUG


async def test_draining_needs_a_post(admin: int, views: FakeViews) -> None:
    refused = await ask(admin, "GET", "/drain")
    assert (refused.status, refused.headers["allow"]) == (405, "POST")
    assert views.stopped == []
    assert (await ask(admin, "POST", "/drain")).status == 200
    assert (await ask(admin, "POST", "/quitquitquit")).status == 200
    assert views.stopped == ["POST /drain", "POST /quitquitquit"]


async def test_workers_are_replaced_by_a_post(admin: int, views: FakeViews) -> None:
    none = await ask(admin, "POST", "/workers/replace")
    assert (none.status, none.body) == (503, "no worker serves\n")
    views.workers = [{}, {}]
    assert (await ask(admin, "POST", "/workers/replace")).body == "2 replaced\n"


async def test_an_unknown_page_names_the_known_ones(admin: int) -> None:
    answer = await ask(admin, "GET", "/help")
    assert answer.status == 404
    assert "GET /config_dump\n" in answer.body


async def test_an_unknown_parameter_is_refused(admin: int) -> None:
    assert (await ask(admin, "GET", "/stats?filter=x")).status == 400


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"host": "evil.example:15000"}, id="a name made to resolve to loopback"),
        pytest.param({"host": "127.0.0.1.evil.example"}, id="a name that begins like an address"),
        pytest.param({"host": "10.0.0.1:15000"}, id="another address"),
        pytest.param({"host": ""}, id="no name"),
        pytest.param({"origin": "https://evil.example"}, id="a page's request"),
        pytest.param({"origin": "null"}, id="a sandboxed page's request"),
        pytest.param({"host": "localhost:15000", "origin": "http://localhost:3"}, id="a page at another port"),
        pytest.param({"host": "localhost:15000", "origin": "http://localhost"}, id="a page at the usual port"),
        pytest.param({"host": "localhost:15000", "origin": "http://127.0.0.1:15000"}, id="a page at another name"),
        pytest.param({"host": "localhost:15000", "origin": "https://localhost:15000"}, id="a page by another scheme"),
        pytest.param({"sec_fetch_site": "cross-site"}, id="a browser's word for it"),
        pytest.param({"sec_fetch_site": "same-site"}, id="a neighbour's page"),
    ],
)
async def test_web_pages_cannot_use_the_admin_endpoints(headers: dict[str, str], admin: int, views: FakeViews) -> None:
    for method, path in (("GET", "/config_dump"), ("POST", "/drain")):
        assert (await ask(admin, method, path, **headers)).status == 403
    assert views.stopped == []


@pytest.mark.parametrize("name", ["Host", "Origin"])
async def test_a_stranger_s_name_can_not_hide_before_a_second_one(name: str, admin: int, views: FakeViews) -> None:
    for first, second in (("http://evil.example", "http://127.0.0.1"), ("http://127.0.0.1", "http://evil.example")):
        first, second = (each.removeprefix("http://") if name == "Host" else each for each in (first, second))
        host = "" if name == "Host" else "Host: 127.0.0.1\r\n"
        fields = f"{host}{name}: {first}\r\n{name}: {second}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", admin)
        writer.write(f"POST /drain HTTP/1.1\r\n{fields}".encode())
        assert (await reader.read()).startswith(b"HTTP/1.1 403 ")
        writer.close()
        await writer.wait_closed()
    assert views.stopped == []


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:15000", "127.0.0.1", "127.5.6.7:80", "[::1]:15000", "[::1]"])
async def test_people_on_this_machine_can(host: str, admin: int) -> None:
    assert (await ask(admin, "GET", "/ready", host=host)).status == 200
    assert (await ask(admin, "GET", "/ready", host=host, origin=f"http://{host.lower()}")).status == 200


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(b"nonsense\r\n\r\n", 400, id="no request"),
        pytest.param(b"GET / HTTP/1.1\r\nhost: localhost\r\nbad header\r\n\r\n", 400, id="no header"),
        pytest.param(b"GET /?%s HTTP/1.1\r\nhost: localhost\r\n\r\n" % (b"a=1&" * 40), 400, id="too many parameters"),
        pytest.param(b"GET / HTTP/1.1\r\nx: %s" % (b"x" * 100_000), 413, id="a head without end"),
        pytest.param(
            b"POST /drain HTTP/1.1\r\ncontent-length: 999999\r\n\r\n" + bytes(100_000), 413, id="a large body"
        ),
        pytest.param(
            b"POST /drain HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            id="two lengths",
        ),
        pytest.param(b"GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n", 400, id="an upgrade"),
    ],
)
async def test_malformed_and_oversized_requests_end_their_connection_alone(
    data: bytes, status: int, admin: int, views: FakeViews
) -> None:
    answer = await exchange(admin, data)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"connection: close\r\n" in answer
    assert (await ask(admin, "GET", "/ready")).status == 200


async def test_a_scraper_keeps_its_connection(admin: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", admin)
    for _ in range(3):
        writer.write(b"GET /ready HTTP/1.1\r\nhost: localhost\r\n\r\n")
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert head.startswith(b"HTTP/1.1 200 ")
        assert await reader.readexactly(5) == b"LIVE\n"
    writer.close()


async def test_a_second_request_before_the_answer_is_refused(admin: int, views: FakeViews) -> None:
    views.slow.clear()
    reader, writer = await asyncio.open_connection("127.0.0.1", admin)
    request = b"GET /clusters HTTP/1.1\r\nhost: localhost\r\n\r\n"
    writer.write(request)
    await writer.drain()
    await asyncio.sleep(0.05)
    writer.write(request)
    answer = parse_answer(await asyncio.wait_for(reader.read(), 5))
    assert (answer.status, answer.body) == (400, "pipelining is not supported\n")
    writer.close()
    views.slow.set()


async def test_a_page_that_breaks_is_an_error_and_the_next_request_is_answered(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(request: Request) -> Response:
        if request.path == "/broken":
            raise RuntimeError("a bug of ours")
        return http_server.text("fine\n")

    port = await serve(handler)
    assert (await ask(port, "GET", "/broken")).status == 500
    assert "a bug of ours" in caplog.text
    assert (await ask(port, "GET", "/")).body == "fine\n"


async def test_one_address_does_not_keep_others_out(serve: Serve, eventually: Eventually) -> None:
    held, asked = asyncio.Event(), 0

    async def handler(request: Request) -> Response:
        nonlocal asked
        if request.path == "/held":
            asked += 1
            await held.wait()
        return http_server.text("fine\n")

    port = await serve(handler)
    crowd = []
    for _ in range(http_server.MAX_CONNECTIONS):
        _, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.9", 0))
        writer.write(b"GET /held HTTP/1.1\r\nhost: localhost\r\n\r\n")
        crowd.append(writer)
    await eventually(lambda: asked == len(crowd), "all of them are being answered")
    reader, late = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.9", 0))
    with contextlib.suppress(ConnectionResetError):
        assert await asyncio.wait_for(reader.read(), 5) == b"", "who has them all gets no more"
    assert (await ask(port, "GET", "/")).body == "fine\n"
    held.set()
    for each in (*crowd, late):
        each.close()


async def test_connections_beyond_the_bound_are_closed_and_there_is_room_again_after(
    admin: int, eventually: Eventually
) -> None:
    open_ones = [await asyncio.open_connection("127.0.0.1", admin) for _ in range(http_server.MAX_CONNECTIONS)]
    assert (await ask(admin, "GET", "/ready")).status == 200, "the oldest that asked nothing made room"
    reader, _ = open_ones[0]
    with contextlib.suppress(ConnectionResetError):  # closed either way is as good
        assert await asyncio.wait_for(reader.read(), 5) == b""
    for _, each in open_ones:
        each.close()

    async def answered() -> bool:
        try:
            return (await ask(admin, "GET", "/ready")).status == 200
        except (ConnectionError, IndexError, ValueError, KeyError):
            return False

    await eventually(answered, "there is room again")
