"""Probes and hooks as the kubelet would do them, against real servers."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from mesh.clock import SystemClock
from sidecar.agent.app_probes import FRESH_S, AppProbes
from sidecar.agent.http_server import Request, Response
from sidecar.pod import Action, AppProbe, GrpcHealth, HttpGet, Pod, TcpSocket
from tests.sidecar.net.authority import Authority

Eventually = Callable[..., Awaitable[None]]
PATH = "/app-health/web/livez"
POD = "127.0.0.1"


@dataclass
class Application:
    """Answers as told; keeps what it was asked."""

    answers: dict[str, bytes] = field(default_factory=dict)
    """By path; `{port}` is its own."""
    asked: list[str] = field(default_factory=list)
    peers: list[str] = field(default_factory=list)
    port: int = 0
    hold: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            self.peers.append(writer.get_extra_info("peername")[0])
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.asked.append(head)
            path = head.split(" ")[1]
            if path == "/held":
                await self.hold.wait()
            answer = self.answers.get(path, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            writer.write(answer.replace(b"{port}", str(self.port).encode()))
            await writer.drain()
        writer.close()


@pytest.fixture
async def application() -> AsyncIterator[Application]:
    made = Application()
    server = await asyncio.start_server(made.serve, POD, 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    made.hold.set()
    server.close()
    await server.wait_closed()


class Clock(SystemClock):
    """Each time it is asked, so much has passed that nothing is fresh, unless it stands."""

    def __init__(self, step_s: float = FRESH_S) -> None:
        self._step_s = step_s
        self._now = 0.0

    def monotonic(self) -> float:  # type: ignore[override]
        self._now += self._step_s
        return self._now


def probes_of(action: Action, timeout_s: float = 5.0, clock: Clock | None = None) -> AppProbes:
    return AppProbes(Pod("web", POD, probes=(AppProbe(PATH, action, timeout_s),)), clock or Clock())


async def ask(probes: AppProbes, agent: str = "kube-probe/1.33", path: str = PATH) -> Response:
    return await probes.page(Request("GET", path, (), {"user-agent": agent}))


async def test_the_applications_status_is_the_answer(application: Application) -> None:
    probes = probes_of(HttpGet(application.port, "/live?deep=1", headers=(("X-Key", "k"),)))
    assert await ask(probes) == Response(200)
    (head,) = application.asked
    assert head.startswith("GET /live?deep=1 HTTP/1.1\r\n")
    assert f"\r\nHost: {POD}:{application.port}\r\n" in head
    assert "\r\nX-Key: k\r\n" in head
    assert "\r\nUser-Agent: kube-probe/1.33\r\n" in head
    assert "\r\nAccept: */*\r\n" in head
    assert application.peers == ["127.0.0.6"], "the capture's rules know us by our address"


async def test_headers_of_the_probe_replace_the_usual_ones(application: Application) -> None:
    headers = (("Host", "inner.example"), ("user-agent", "mine"), ("Accept", ""))
    await ask(probes_of(HttpGet(application.port, headers=headers)))
    (head,) = application.asked
    assert "\r\nHost: inner.example\r\n" in head
    assert "\r\nuser-agent: mine\r\n" in head
    assert "accept" not in head.lower()
    assert head.lower().count("user-agent") == 1


async def test_who_is_no_kubelet_does_not_speak_as_one(application: Application) -> None:
    await ask(probes_of(HttpGet(application.port)), "curl/8\r\nX: y")
    assert "User-Agent: kube-probe/remora\r\n" in application.asked[0]


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", 204, id="another success"),
        pytest.param(b"HTTP/1.1 299 Odd\r\ncontent-length: 0\r\n\r\n", 200, id="a success without a name"),
        pytest.param(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", 404, id="not found"),
        pytest.param(b"HTTP/1.1 599 Odd\r\ncontent-length: 0\r\n\r\n", 503, id="a failure without a name"),
        pytest.param(b"HTTP/1.1 304 Not Modified\r\n\r\n", 200, id="neither success nor redirect"),
        pytest.param(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200, id="interim answer"
        ),
        pytest.param(b"HTTP/1.0 200 OK\r\n\r\nuntil the end", 200, id="body until the end"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort", 503, id="body cut off"),
        pytest.param(b"HTTP/1.1 200 OK\r\n", 503, id="head cut off"),
        pytest.param(b"", 503, id="nothing"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", 503, id="no HTTP"),
        pytest.param(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000, 503, id="endless head"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\ncontent-length: 999999\r\n\r\n" + b"y" * 20_000, 200, id="10 KiB of a body suffice"
        ),
    ],
)
async def test_what_counts_as_an_answer(answer: bytes, status: int, application: Application) -> None:
    application.answers["/"] = answer
    assert (await ask(probes_of(HttpGet(application.port)))).status == status


@pytest.mark.parametrize(
    ("location", "status", "asked"),
    [
        pytest.param(b"/there", 500, ["/", "/there"], id="a path"),
        pytest.param(b"http://127.0.0.1:{port}/there", 500, ["/", "/there"], id="the same host"),
        pytest.param(b"http://127.0.0.2:{port}/there", 200, ["/"], id="another host"),
        pytest.param(b"ftp://127.0.0.1/there", 200, ["/"], id="another scheme"),
        pytest.param(b"/", 503, ["/"] * 10, id="itself"),
        pytest.param(b"http://127.0.0.1:99999/", 503, ["/"], id="a port that is none"),
    ],
)
async def test_redirects_are_followed_as_by_the_kubelet(
    location: bytes, status: int, asked: list[str], application: Application
) -> None:
    application.answers["/"] = b"HTTP/1.1 302 Found\r\ncontent-length: 0\r\nlocation: " + location + b"\r\n\r\n"
    application.answers["/there"] = b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"
    assert (await ask(probes_of(HttpGet(application.port)))).status == status
    assert [head.split(" ")[1] for head in application.asked] == asked


async def test_a_certificate_is_not_verified(application: Application, tmp_path: Path) -> None:
    issued = Authority().issue()
    pair = tmp_path / "pair.pem"
    pair.write_text(issued.chain_pem + issued.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    server = await asyncio.start_server(application.serve, POD, 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    assert (await ask(probes_of(HttpGet(port, https=True)))).status == 200
    assert (await ask(probes_of(HttpGet(application.port, https=True)))).status == 503, "it does not speak TLS"
    server.close()
    await server.wait_closed()


async def test_a_port_is_connected_to(application: Application) -> None:
    assert (await ask(probes_of(TcpSocket(application.port)))).status == 200
    refused = await ask(probes_of(TcpSocket(1)))
    assert (refused.status, refused.body) == (503, b"Connection refused\n")
    assert (await ask(probes_of(TcpSocket(application.port, "localhost")))).status == 200


class Health:
    """grpc.health.v1.Health by gRPC's own server."""

    def __init__(self) -> None:
        self.answer = b"\x08\x01"
        self.code: grpc.StatusCode | None = None
        self.asked: list[tuple[bytes, dict[str, str]]] = []

    async def check(self, request: bytes, context: Any) -> bytes:
        self.asked.append((request, dict(context.invocation_metadata())))
        if self.code is not None:
            await context.abort(self.code, "because")
        return self.answer

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[int]:
        server = grpc.aio.server()
        handler = grpc.unary_unary_rpc_method_handler(self.check)
        generic = grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler})
        server.add_generic_rpc_handlers((generic,))
        port = server.add_insecure_port(f"{POD}:0")
        await server.start()
        try:
            yield port
        finally:
            await server.stop(0)


async def test_grpc_health_is_asked_of_a_service() -> None:
    health = Health()
    async with health.served() as port:
        assert (await ask(probes_of(GrpcHealth(port, "a.B")))).status == 200
        assert (await ask(probes_of(GrpcHealth(port)))).status == 200
        assert [request for request, _ in health.asked] == [b"\x0a\x03a.B", b""]
        assert health.asked[0][1]["user-agent"].startswith("kube-probe/1.33")

        async def why() -> bytes:
            response = await ask(probes_of(GrpcHealth(port)))
            assert response.status == 503
            return response.body

        for answer, reason in (
            (b"\x08\x02", b"the service says NOT_SERVING\n"),
            (b"", b"the service says UNKNOWN\n"),
            (b"\x08\x63", b"the service says 99\n"),
            (b"\x08\xff", b"the answer is no HealthCheckResponse: it is cut off\n"),
            (b"\x12\x09x", b"the answer is no HealthCheckResponse: it is cut off\n"),
        ):
            health.answer = answer
            assert await why() == reason
        health.answer = b"\x12\x02hi\x08\x01"  # a field of the future
        assert (await ask(probes_of(GrpcHealth(port)))).status == 200
        health.code = grpc.StatusCode.UNIMPLEMENTED
        assert await why() == b"it does not implement grpc.health.v1.Health\n"
        health.code = grpc.StatusCode.NOT_FOUND
        assert await why() == b"it answered with gRPC status 5: because\n"


async def test_a_server_without_grpc_is_not_healthy(application: Application) -> None:
    response = await ask(probes_of(GrpcHealth(application.port)))
    assert response.status == 503


async def test_an_application_that_does_not_answer_fails_in_its_time(application: Application) -> None:
    probes = probes_of(HttpGet(application.port, "/held"), timeout_s=0.05)
    response = await ask(probes)
    assert (response.status, response.body) == (503, b"no answer within 0.05 s\n")
    assert (probes.performed, probes.failed, probes.failing) == (1, 1, 1)


async def test_who_asks_while_it_is_performed_gets_that_outcome(
    application: Application, eventually: Eventually
) -> None:
    probes = probes_of(HttpGet(application.port, "/held"))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask(probes)) for _ in range(100)]
        await eventually(lambda: application.asked != [], "it is under way")
        await eventually(lambda: probes.shared == 99, "the others wait for it")
        tasks[5].cancel()
        application.hold.set()
    assert [task.result().status for task in tasks if not task.cancelled()] == [200] * 99
    assert (len(application.asked), probes.performed) == (1, 1)
    assert (await ask(probes)).status == 200
    assert len(application.asked) == 2


async def test_who_asks_again_at_once_is_told_the_latest_outcome(application: Application) -> None:
    probes = probes_of(HttpGet(application.port), clock=Clock(step_s=FRESH_S / 20))
    application.answers["/"] = b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"
    assert [(await ask(probes)).status for _ in range(15)] == [500] * 15
    assert (len(application.asked), probes.failed, probes.shared) == (1, 1, 14)
    del application.answers["/"]
    assert [(await ask(probes)).status for _ in range(15)].count(200) > 5
    assert len(application.asked) == 2


async def test_a_hook_is_performed_each_time_and_told_to_nobody(
    application: Application, caplog: pytest.LogCaptureFixture
) -> None:
    path = "/app-lifecycle/web/0123456789abcdef/prestopz"
    hook = AppProbe(path, HttpGet(application.port), 5.0, "/app-lifecycle/web/prestopz")
    probes = AppProbes(Pod("web", POD, probes=(hook,)), Clock(step_s=0.0))
    assert probes.hooks == {path}
    application.answers["/"] = b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"
    assert [(await ask(probes, path=path)).status for _ in range(3)] == [500] * 3
    assert len(application.asked) == 3
    assert [record.getMessage() for record in caplog.records] == ["/app-lifecycle/web/prestopz fails: it answered 500"]


async def test_a_failure_is_told_once_and_its_end_too(
    application: Application, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "remora.probes")
    probes = probes_of(HttpGet(application.port))
    application.answers["/"] = b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"
    await ask(probes)
    await ask(probes)
    del application.answers["/"]
    await ask(probes)
    await ask(probes)
    assert [record.getMessage() for record in caplog.records] == [
        f"{PATH} fails: it answered 500",
        f"{PATH} succeeds again",
    ]


def test_only_what_was_given_is_served_and_its_time_is_known() -> None:
    probes = probes_of(TcpSocket(1), timeout_s=30)
    assert probes.paths == (PATH,)
    assert probes.patience_s(PATH) == 31.0
    assert probes.patience_s("/metrics") is None
    assert AppProbes(None, SystemClock()).paths == ()
