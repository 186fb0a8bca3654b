"""gRPC, HTTP/2 and WebSocket through two sidecars of a running mesh: real servers and clients that know of no proxy."""

import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from websockets.sync.client import connect

from remora.up.sockets import free_ports
from tests.integration.debian import program
from tests.integration.guests import client_of, running
from tests.integration.mesh import RunningMesh, until
from tests.integration.test_connections import HTTP_SERVER, logged, metrics

pytestmark = pytest.mark.mesh

GRPC_SERVER = """
import sys, time
from concurrent import futures
import grpc

def fail(request, context):
    context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")

def wait(request, context):
    context.add_callback(lambda: open(sys.argv[2], "w").close())
    open(sys.argv[2] + ".awaited", "w").close()
    while context.is_active():
        time.sleep(0.02)

class Echo(grpc.GenericRpcHandler):
    def service(self, details):
        return {
            "/test.Echo/Unary": grpc.unary_unary_rpc_method_handler(lambda request, context: request),
            "/test.Echo/Collect": grpc.stream_unary_rpc_method_handler(lambda requests, context: b"".join(requests)),
            "/test.Echo/Repeat": grpc.unary_stream_rpc_method_handler(lambda request, context: iter([request] * 50)),
            "/test.Echo/Chat": grpc.stream_stream_rpc_method_handler(lambda requests, context: requests),
            "/test.Echo/Fail": grpc.unary_unary_rpc_method_handler(fail),
            "/test.Echo/Wait": grpc.unary_unary_rpc_method_handler(wait),
        }.get(details.method)

server = grpc.server(futures.ThreadPoolExecutor(8), handlers=(Echo(),))
server.add_insecure_port("127.0.0.1:" + sys.argv[1])
server.start()
server.wait_for_termination()
"""

WEBSOCKET_SERVER = """
import sys
from websockets.sync.server import serve

def say_back(socket):
    for message in socket:
        socket.send(message)

with serve(say_back, "127.0.0.1", int(sys.argv[1]), max_size=None) as server:
    server.serve_forever()
"""

LARGE = bytes(range(256)) * (4 * 1024 * 4 - 16)
"""Nearly four megabytes, gRPC's limit for a message."""


def a_port() -> int:
    (port,) = free_ports(1, random.Random())
    return port


@pytest.fixture(scope="module")
def cancelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that exists once the server was told that a call is over."""
    return tmp_path_factory.mktemp("grpc") / "cancelled"


@pytest.fixture(scope="module")
def entrance(mesh: RunningMesh, cancelled: Path) -> Iterator[int]:
    """The port at which a client finds the gRPC server, through its sidecar and the server's."""
    port = a_port()
    command = (sys.executable, "-c", GRPC_SERVER, str(port), str(cancelled))
    with (
        running(mesh, "echo", "--port", str(port), "--service-port", "50051", "--protocol", "grpc", command=command),
        client_of(mesh, "echo:50051", name="grpc-caller") as local,
    ):
        with grpc.insecure_channel(f"127.0.0.1:{local}") as channel:
            until(lambda: _says_back(channel), "the server answers")
        yield local


def _says_back(channel: grpc.Channel) -> bool:
    try:
        return bool(channel.unary_unary("/test.Echo/Unary")(b"x", timeout=2.0) == b"x")
    except grpc.RpcError:
        return False


@pytest.fixture
def channel(entrance: int) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{entrance}", options=[("grpc.enable_retries", 0)]) as opened:
        yield opened


def test_every_kind_of_call(channel: grpc.Channel) -> None:
    messages = [b"%d" % number for number in range(50)]

    assert channel.unary_unary("/test.Echo/Unary")(LARGE, timeout=20) == LARGE
    assert channel.stream_unary("/test.Echo/Collect")(iter(messages), timeout=20) == b"".join(messages)
    assert list(channel.unary_stream("/test.Echo/Repeat")(b"again", timeout=20)) == [b"again"] * 50
    assert list(channel.stream_stream("/test.Echo/Chat")(iter(messages), timeout=20)) == messages


def test_answers_come_while_the_request_is_still_being_sent(channel: grpc.Channel) -> None:
    may_ask = threading.Semaphore(1)

    def questions() -> Iterator[bytes]:
        for number in range(10):
            assert may_ask.acquire(timeout=5.0)
            yield b"%d" % number

    heard = []
    for answer in channel.stream_stream("/test.Echo/Chat")(questions(), timeout=20):
        heard.append(answer)
        may_ask.release()
    assert heard == [b"%d" % number for number in range(10)]


def test_a_status_is_the_server_s_and_is_counted(channel: grpc.Channel, mesh: RunningMesh) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        channel.unary_unary("/test.Echo/Fail")(b"", timeout=20)
    assert (failed.value.code(), failed.value.details()) == (grpc.StatusCode.NOT_FOUND, "no such thing")

    def told() -> bool:
        found = metrics(mesh, "echo-v1", "istio_requests_total")
        ours = [each for each in found if each["grpc_response_status"] == "5"]
        assert all(each["request_protocol"] == "grpc" and each["response_code"] == "200" for each in ours)
        return bool(ours)

    until(told, "the status is in the metrics")
    until(lambda: metrics(mesh, "echo-v1", "istio_request_messages_total"), "messages are counted")
    until(
        lambda: any(each.get("grpc_status") == 5 for each in logged(mesh, "grpc-caller-v1")),
        "the caller's access record tells the status",
    )


def test_a_deadline_and_a_cancelled_call_reach_the_server(channel: grpc.Channel, cancelled: Path) -> None:
    cancelled.unlink(missing_ok=True)
    began = time.monotonic()
    with pytest.raises(grpc.RpcError) as failed:
        channel.unary_unary("/test.Echo/Wait")(b"", timeout=0.5)
    assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - began < 3.0
    until(cancelled.exists, "the server is told of the deadline")

    cancelled.unlink()
    awaited = cancelled.with_name("cancelled.awaited")
    awaited.unlink()
    call = channel.unary_unary("/test.Echo/Wait").future(b"", timeout=20)
    until(awaited.exists, "the call has reached the server")
    call.cancel()
    until(cancelled.exists, "the server is told that the call is cancelled")


def test_curl_speaks_http_2_to_a_service_of_http_1(mesh: RunningMesh, tmp_path: Path) -> None:
    (tmp_path / "page").write_bytes(b"x" * 1_000_000)
    port = a_port()
    command = (sys.executable, "-c", HTTP_SERVER, str(port), str(tmp_path))
    with (
        running(mesh, "files", "--port", str(port), "--service-port", "80", command=command),
        client_of(mesh, "files:80", name="curl-caller") as local,
    ):
        argv = [program("curl"), "-sS", "--http2-prior-knowledge", "-o", str(tmp_path / "got")]
        argv += ["-w", "%{http_version} %{http_code}", f"http://127.0.0.1:{local}/page"]

        def fetched() -> bool:
            return subprocess.run(argv, capture_output=True, timeout=30, check=False).stdout == b"2 200"

        until(fetched, "the page arrives over HTTP/2")
        assert (tmp_path / "got").read_bytes() == b"x" * 1_000_000


def test_websocket_through_two_sidecars(mesh: RunningMesh) -> None:
    port = a_port()
    command = (sys.executable, "-c", WEBSOCKET_SERVER, str(port))
    with (
        running(mesh, "chat", "--port", str(port), "--service-port", "80", command=command),
        client_of(mesh, "chat:80", name="chat-caller") as local,
    ):

        def opened() -> bool:
            try:
                with connect(f"ws://127.0.0.1:{local}/", compression=None, max_size=None):
                    return True
            except OSError:
                return False

        until(opened, "the server answers")
        with connect(f"ws://127.0.0.1:{local}/", compression=None, max_size=None) as socket:
            for message in ("hello", b"\0\xff", "x" * 1_000_000):
                socket.send(message)
                assert socket.recv(timeout=10) == message
        until(
            lambda: [each for each in logged(mesh, "chat-v1") if each["bytes_sent"] > 1_000_000],
            "the tunnel is in the log",
        )
        record = next(each for each in logged(mesh, "chat-v1") if each["bytes_sent"] > 1_000_000)
        assert (record["response_code"], record["response_flags"]) == (101, "-")
        assert record["source_principal"].endswith("/ns/default/sa/chat-caller")
