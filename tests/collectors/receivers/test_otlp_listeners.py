"""OTLP's listeners of the settings: plaintext, TLS with a certificate of their own, the mesh's mutual TLS."""

import asyncio
import random
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import SpanExportResult
from pydantic import ValidationError

from collectors.receivers.claims import Claims
from collectors.receivers.members import Members
from collectors.receivers.otlp_settings import ListenerSettings, OtlpListeners, Settings, build
from collectors.settings.context import Context
from collectors.telemetry import Telemetry
from collectors.tls import Credentials, client_context
from mesh.spiffe import SpiffeId
from tests.collectors.authority import COLLECTOR, DOMAIN, PRODUCTPAGE, Mint
from tests.collectors.build import FakeClock
from tests.collectors.fakes import Sink
from tests.collectors.receivers.test_otlp import NAME, PROTOBUF, TRACES, make_spans

REVIEWS = SpiffeId(DOMAIN, "default", "bookinfo-reviews")


class Rig:
    """The receiver as its settings make it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.sink = Sink()
        self.telemetry = Telemetry()
        self.mint = Mint()
        self.credentials: Credentials | None = None
        self.members = Members()
        self._stack = AsyncExitStack()

    def file(self, name: str, content: bytes) -> str:
        path = self.directory / name
        path.write_bytes(content)
        path.chmod(0o600)
        return str(path)

    def tls(self, **changes: Any) -> dict[str, Any]:
        held = self.mint.credentials(COLLECTOR, uris=(), dns=(NAME, "localhost"))
        files = {
            "certificate_file": self.file("tls.pem", held.chain_pem),
            "key_file": self.file("tls.key", held.key_pem),
        }
        return files | changes

    async def start(self, *listeners: dict[str, Any], **settings: Any) -> dict[str, str]:
        described = [{"address": "127.0.0.1:0", **listener} for listener in listeners]
        model = Settings.model_validate({"listeners": described, **settings})
        clock = FakeClock()
        claims = Claims(lambda: self.members, self.telemetry, clock)
        present = None if self.credentials is None else self._present
        context = Context(clock, random.Random(1), self.telemetry, self.directory, claims, present, self._stack)
        receiver: OtlpListeners = build(model, context, self.sink)
        self._stack.push_async_callback(receiver.close)
        return await receiver.start()

    def _present(self) -> Credentials:
        assert self.credentials is not None
        return self.credentials

    async def close(self) -> None:
        await self._stack.aclose()


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    await rig.close()


def claiming() -> bytes:
    """A request whose spans say that they were vouched for."""
    request = encode_spans(make_spans())
    for span in request.resource_spans[0].scope_spans[0].spans:
        span.attributes.add(key="remora.peer_principal").value.string_value = str(PRODUCTPAGE)
    return request.SerializeToString()


async def call(address: str, body: bytes, credentials: grpc.ChannelCredentials | None = None) -> bytes:
    options = [("grpc.ssl_target_name_override", NAME), ("grpc.enable_retries", 0)]
    if credentials is None:
        channel = grpc.aio.insecure_channel(address)
    else:
        channel = grpc.aio.secure_channel(address, credentials, options=options)
    async with channel:
        export: Any = channel.unary_unary(TRACES)
        return bytes(await export(body, timeout=10))


async def test_plaintext_takes_anyone_s_spans_and_nobody_s_word_for_who_sent_them(rig: Rig) -> None:
    ready = await rig.start({"protocol": "grpc"}, {"protocol": "http"})
    assert list(ready) == ["otlp_grpc.0", "otlp_http.1"]
    await call(ready["otlp_grpc.0"], claiming())
    async with httpx.AsyncClient() as client:
        url = f"http://{ready['otlp_http.1']}/v1/traces"
        assert (await client.post(url, content=claiming(), headers=PROTOBUF)).status_code == 200
    assert len(rig.sink.batches) == 2
    for batch in rig.sink.batches:
        assert len(batch.spans) == 2
        assert all("remora.peer_principal" not in span.attributes for span in batch.spans)


async def test_the_sdk_s_exporter_sends_to_a_plaintext_listener(rig: Rig) -> None:
    ready = await rig.start({"protocol": "grpc"})
    exporter = OTLPSpanExporter(endpoint=ready["otlp_grpc.0"], insecure=True, compression=grpc.Compression.Gzip)
    assert await asyncio.to_thread(exporter.export, make_spans(10)) is SpanExportResult.SUCCESS
    exporter.shutdown()
    assert len(rig.sink.batches[0].spans) == 10


@pytest.mark.parametrize("protocol", ["grpc", "http"])
async def test_a_certificate_of_its_own_serves_whoever_trusts_it(rig: Rig, protocol: str) -> None:
    ready = await rig.start({"protocol": protocol, "tls": rig.tls()})
    roots = rig.mint.credentials().roots_pem
    body = encode_spans(make_spans()).SerializeToString()
    address = ready[f"otlp_{protocol}.0"]
    if protocol == "grpc":
        await call(address, body, grpc.ssl_channel_credentials(roots))
    else:
        context = ssl.create_default_context(cadata=roots.decode())
        async with httpx.AsyncClient(verify=context) as client:
            port = address.rpartition(":")[2]
            answer = await client.post(f"https://localhost:{port}/v1/traces", content=body, headers=PROTOBUF)
            assert answer.status_code == 200
    assert len(rig.sink.batches) == 1


@pytest.mark.parametrize("protocol", ["grpc", "http"])
async def test_of_senders_with_certificates_only_those_with_a_name_of_the_list_are_served(
    rig: Rig, protocol: str
) -> None:
    ca = rig.file("ca.pem", rig.mint.credentials().roots_pem)
    tls = rig.tls(client_ca_file=ca, client_names=["sender.test"])
    ready = await rig.start({"protocol": protocol, "tls": tls})
    address = ready[f"otlp_{protocol}.0"]
    body = encode_spans(make_spans()).SerializeToString()

    async def send(dns: str) -> None:
        held = rig.mint.credentials(uris=(), dns=(dns,))
        if protocol == "grpc":
            await call(address, body, grpc.ssl_channel_credentials(held.roots_pem, held.key_pem, held.chain_pem))
        else:
            async with httpx.AsyncClient(verify=client_context(held)) as client:
                (await client.post(f"https://{address}/v1/traces", content=body, headers=PROTOBUF)).raise_for_status()

    await send("sender.test")
    with pytest.raises((grpc.aio.AioRpcError, httpx.TransportError)):
        await send("other.test")
    assert len(rig.sink.batches) == 1


@pytest.mark.parametrize("protocol", ["grpc", "http"])
async def test_with_the_mesh_s_certificates_a_sender_says_only_what_is_its_own(rig: Rig, protocol: str) -> None:
    rig.credentials = rig.mint.credentials(COLLECTOR, dns=(NAME,))
    rig.members = Members(
        {("default", "productpage-v1"): str(PRODUCTPAGE)},
        {"productpage-v1": frozenset((str(PRODUCTPAGE),))},
        {"productpage": frozenset((str(PRODUCTPAGE),))},
        frozenset(("default",)),
    )
    ready = await rig.start({"protocol": protocol, "tls": "mesh"})
    address = ready[f"otlp_{protocol}.0"]
    body = encode_spans(make_spans()).SerializeToString()
    for held in (rig.mint.credentials(REVIEWS), rig.mint.credentials(PRODUCTPAGE)):
        if protocol == "grpc":
            await call(address, body, grpc.ssl_channel_credentials(held.roots_pem, held.key_pem, held.chain_pem))
        else:
            async with httpx.AsyncClient(verify=client_context(held)) as client:
                await client.post(f"https://{address}/v1/traces", content=body, headers=PROTOBUF)
    stored = [span for batch in rig.sink.batches for span in batch.spans]
    assert [span.attributes["remora.peer_principal"] for span in stored] == [str(PRODUCTPAGE)] * 2


async def test_the_size_limit_of_the_settings_holds_on_both_wires(rig: Rig) -> None:
    ready = await rig.start({"protocol": "grpc"}, {"protocol": "http"}, max_request_bytes="2KiB")
    body = encode_spans(make_spans(40)).SerializeToString()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(ready["otlp_grpc.0"], body)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    async with httpx.AsyncClient() as client:
        url = f"http://{ready['otlp_http.1']}/v1/traces"
        assert (await client.post(url, content=body, headers=PROTOBUF)).status_code == 413
    assert rig.sink.batches == []


@pytest.mark.parametrize(
    ("listener", "problem"),
    [
        pytest.param({"address": "0.0.0.0:4317"}, "without TLS", id="plaintext for everyone"),
        pytest.param({"address": "4317"}, "HOST:PORT", id="no host"),
        pytest.param({"protocol": "udp"}, "protocol", id="an unknown protocol"),
        pytest.param({"certificate": "x"}, "certificate", id="an unknown field"),
    ],
)
async def test_settings_that_are_wrong_say_so(rig: Rig, listener: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        await rig.start({"protocol": "grpc", **listener})


async def test_settings_that_grpc_cannot_keep_are_refused(rig: Rig) -> None:
    with pytest.raises(ValidationError, match="grpcio cannot demand"):
        await rig.start({"protocol": "grpc", "tls": rig.tls(min_version="1.3")})
    with pytest.raises(ValueError, match="of no mesh"):
        await rig.start({"protocol": "grpc", "tls": "mesh"})


@pytest.mark.parametrize(
    ("listener", "problem"),
    [
        ({"address": "0.0.0.0:0", "allow_plaintext": True}, "for everybody who gets here"),
        ({"address": "127.0.0.1:0", "tls": "mesh"}, "senders are workloads"),
        ({"address": "127.0.0.1:0"}, None),
    ],
)
def test_a_mesh_s_metrics_are_taken_where_it_is_known_who_sends(listener: dict[str, Any], problem: str | None) -> None:
    said = {"protocol": "http", "mesh_metrics": True, **listener}
    if problem is None:
        ListenerSettings.model_validate(said)
        return
    with pytest.raises(ValidationError, match=problem):
        ListenerSettings.model_validate(said)
