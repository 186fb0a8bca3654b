"""Mutual TLS through two workers, and everybody who must not get in."""

import asyncio
import base64
import datetime
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from google.protobuf import json_format, struct_pb2

from mesh.records import Workload
from sidecar.config.cluster import UpstreamTls
from sidecar.config.endpoint import Address, Endpoint
from sidecar.config.listener import Direction, DownstreamTls, FilterChain, Http, Listener, TransportMatch
from sidecar.config.messages import Applied
from sidecar.config.secret import Certificate
from sidecar.config.snapshot import Node
from tests.sidecar.net.authority import HOUR, NOW, Authority, Leaf
from tests.sidecar.worker.peers import Client, Incoming, Message, Origin, answering
from tests.sidecar.worker.proxy import Proxy, cluster, everything, forward_to, plain_listener, running_proxy

WEB = "spiffe://cluster.local/ns/default/sa/web"
REVIEWS = "spiffe://cluster.local/ns/default/sa/reviews"
SNI = "outbound_.9080_.v1_.reviews.default.svc.cluster.local"
METADATA = base64.b64encode(
    json_format.ParseDict({"WORKLOAD_NAME": "web", "NAMESPACE": "default"}, struct_pb2.Struct()).SerializeToString()
).decode()

Eventually = Callable[..., Awaitable[None]]


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
async def second() -> AsyncIterator[Proxy]:
    """The worker on the client's side."""
    async with running_proxy() as running:
        yield running


def inbound(address: Address, *, permissive: bool = False) -> Listener:
    http = Http(routes=everything(forward_to("app")), trust_forwarded=True)
    tls = DownstreamTls("default", "ROOTCA", require_client_certificate=True, trust_domains=("cluster.local",))
    chains = [FilterChain(TransportMatch.TLS, http, tls)]
    if permissive:
        chains.append(FilterChain(TransportMatch.RAW, http))
    return Listener("virtualInbound", address, Direction.INBOUND, tuple(chains), detect_tls=True)


async def serve_inbound(
    proxy: Proxy,
    authority: Authority,
    origin: Origin,
    *,
    permissive: bool = False,
    certificate: Certificate | None = None,
) -> Address:
    address = proxy.bind()
    answer = await proxy.apply(
        node=Node(id="sidecar~reviews", workload=Workload(name="reviews", principal=REVIEWS), peer_metadata="cmV2"),
        clusters=(cluster("app", origin.address),),
        listeners=(inbound(address, permissive=permissive),),
        certificates=(certificate or authority.issue(Leaf(uris=(REVIEWS,))),),
        trust_anchors=(authority.anchors(),),
    )
    assert isinstance(answer, Applied), answer
    return address


async def serve_outbound(
    proxy: Proxy, authority: Authority, upstream: Address, *, sans: tuple[str, ...] = (REVIEWS,), offered: bool = True
) -> Address:
    address = proxy.bind()
    tls = UpstreamTls(SNI, "default", "ROOTCA", sans, only_where_offered=True)
    endpoint = Endpoint(upstream, tls=offered)
    answer = await proxy.apply(
        node=Node(id="sidecar~web", workload=Workload(name="web", principal=WEB), peer_metadata=METADATA),
        clusters=(replace(cluster("reviews", tls=tls), endpoints=(endpoint,)),),
        listeners=(plain_listener("out", address, everything(forward_to("reviews")), direction=Direction.OUTBOUND),),
        certificates=(authority.issue(),),
        trust_anchors=(authority.anchors(),),
    )
    assert isinstance(answer, Applied), answer
    return address


def client_context(authority: Authority, certificate: Certificate | None, folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=authority.pem)
    if certificate is not None:
        path = folder / "client.pem"
        path.write_text(certificate.key_pem + certificate.chain_pem)
        context.load_cert_chain(path)
    return context


async def test_two_hops(proxy: Proxy, second: Proxy, authority: Authority, origin: Origin, client: Client) -> None:
    origin.handler = answering(200, b"reviews")
    upstream = await serve_inbound(proxy, authority, origin)
    connection = await client.connect(await serve_outbound(second, authority, upstream))

    answer = await connection.get(
        "/reviews/1",
        "X-Forwarded-Client-Cert: URI=spiffe://cluster.local/ns/default/sa/admin",
        "X-Envoy-Peer-Metadata: x",
        f"Traceparent: 00-{'a' * 32}-{'b' * 16}-01",
    )

    assert (answer.status, answer.body) == (200, b"reviews")
    (request,) = origin.requests
    identities = request.values(b"x-forwarded-client-cert")
    assert len(identities) == 1
    parts = dict(part.split(b"=", 1) for part in identities[0].split(b";"))
    assert parts[b"URI"] == WEB.encode()
    assert parts[b"By"] == REVIEWS.encode()
    assert len(parts[b"Hash"]) == 64
    assert request.get(b"x-envoy-peer-metadata") is None
    assert request.get(b"x-envoy-peer-metadata-id") is None
    (outer,), (inner,) = second.records, proxy.records
    assert inner.source_principal == WEB
    assert inner.source_workload == "web", "the peer's metadata did not arrive, or the application's did"
    assert inner.trace_id == outer.trace_id == "a" * 32
    (calling,), (called,) = second.spans, proxy.spans
    assert (calling.parent_id, called.parent_id) == ("b" * 16, calling.span_id)
    assert outer.request_id == inner.request_id
    for _ in range(3):
        assert (await connection.get()).status == 200
    assert second.worker.cluster("reviews").counts.cx_total == 1


async def test_large_bodies_over_two_hops(
    proxy: Proxy, second: Proxy, authority: Authority, origin: Origin, client: Client
) -> None:
    async def echo(incoming: Incoming) -> None:
        await incoming.answer(200, await incoming.body())

    origin.handler = echo
    upstream = await serve_inbound(proxy, authority, origin)
    connection = await client.connect(await serve_outbound(second, authority, upstream))
    body = os.urandom(3_000_000)

    async def send() -> None:
        await connection.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    _, answer = await asyncio.gather(send(), connection.answer())
    assert answer.body == body


async def test_an_endpoint_that_offers_no_tls_is_spoken_to_plainly(
    second: Proxy, authority: Authority, origin: Origin, client: Client
) -> None:
    connection = await client.connect(await serve_outbound(second, authority, origin.address, offered=False))

    assert (await connection.get()).status == 200
    assert origin.requests[0].get(b"x-envoy-peer-metadata") is None


@pytest.mark.parametrize(
    "sans",
    [("spiffe://cluster.local/ns/default/sa/ratings",), ("spiffe://cluster.local/ns/default/sa/review",)],
    ids=["another workload", "a prefix of its name"],
)
async def test_a_server_with_another_identity_is_refused(
    proxy: Proxy, second: Proxy, authority: Authority, origin: Origin, client: Client, sans: tuple[str, ...]
) -> None:
    upstream = await serve_inbound(proxy, authority, origin)
    connection = await client.connect(await serve_outbound(second, authority, upstream, sans=sans))

    answer = await connection.get()

    assert answer.status == 503
    assert b"spiffe" not in answer.body
    (record,) = second.records
    assert record.flags == "UF"
    assert record.failure is not None
    assert record.failure.startswith("TLS_error")
    assert origin.requests == []


BAD_LEAVES = {
    "expired": Leaf(uris=(REVIEWS,), not_after=NOW - datetime.timedelta(minutes=10)),
    "not yet valid": Leaf(uris=(REVIEWS,), not_before=NOW + 12 * HOUR),
    "another trust domain": Leaf(uris=("spiffe://evil.example/ns/default/sa/reviews",)),
    "no name": Leaf(uris=()),
    "a DNS name alone": Leaf(uris=(), dns=("reviews.default.svc",)),
    "an e-mail address alone": Leaf(uris=(), email="a@b.example"),
    "two URIs": Leaf(uris=(REVIEWS, "spiffe://cluster.local/ns/default/sa/other")),
    "no SPIFFE URI": Leaf(uris=("https://cluster.local/ns/default/sa/reviews",)),
    "a NUL in the URI": Leaf(raw_uri=REVIEWS.encode() + b"\x00.evil"),
    "an authority's": Leaf(uris=(REVIEWS,), is_authority=True),
    "an unknown critical extension": Leaf(uris=(REVIEWS,), unknown_critical=True),
}


@pytest.mark.parametrize(
    "leaf",
    [*BAD_LEAVES.values(), Leaf(uris=(REVIEWS,), usages=(ExtendedKeyUsageOID.CLIENT_AUTH,))],
    ids=[*BAD_LEAVES, "for clients only"],
)
async def test_servers_with_such_a_certificate_are_refused(
    proxy: Proxy, second: Proxy, authority: Authority, origin: Origin, client: Client, leaf: Leaf
) -> None:
    upstream = await serve_inbound(proxy, authority, origin, certificate=authority.issue(leaf))
    connection = await client.connect(await serve_outbound(second, authority, upstream))

    answer = await connection.get()

    assert answer.status == 503
    assert second.records[0].flags == "UF"
    assert origin.requests == []
    await second.apply(certificates=(authority.issue(),))
    await proxy.apply(certificates=(authority.issue(Leaf(uris=(REVIEWS,))),))
    assert (await connection.get()).status == 200, "it does not work afterwards"


async def plain_failure(connection_of: Awaitable[object]) -> str:
    try:
        connection = await connection_of
    except (OSError, ssl.SSLError) as error:
        return type(error).__name__
    try:
        await connection.get()  # type: ignore[attr-defined]
    except (OSError, ssl.SSLError, asyncio.IncompleteReadError) as error:
        return type(error).__name__
    return ""


@pytest.mark.parametrize(
    "leaf",
    [*BAD_LEAVES.values(), Leaf(usages=(ExtendedKeyUsageOID.SERVER_AUTH,)), None],
    ids=[*BAD_LEAVES, "for servers only", "no certificate at all"],
)
async def test_clients_with_such_a_certificate_are_refused(
    proxy: Proxy,
    authority: Authority,
    origin: Origin,
    client: Client,
    leaf: Leaf | None,
    tmp_path: Path,
    eventually: Eventually,
) -> None:
    address = await serve_inbound(proxy, authority, origin)
    certificate = authority.issue(leaf) if leaf is not None else None

    assert await plain_failure(client.connect(address, client_context(authority, certificate, tmp_path), SNI))

    await eventually(lambda: proxy.worker.listeners[0].counts.cx_refused == 1, "the refusal is counted")
    assert origin.requests == []
    assert proxy.records == []
    good = await client.connect(address, client_context(authority, authority.issue(), tmp_path), SNI)
    assert (await good.get()).status == 200


@pytest.mark.parametrize(
    ("leaf", "let_in"),
    [
        pytest.param(Leaf(uris=(), dns=("client.example",)), True, id="of no workload of any mesh"),
        pytest.param(Leaf(uris=("https://client.example/me",)), True, id="with a name that is no SPIFFE ID"),
        pytest.param(Leaf(uris=("spiffe://another/ns/default/sa/web",)), True, id="of another mesh's workload"),
        pytest.param(Leaf(uris=("spiffe://another/a", "spiffe://another/b")), False, id="of two workloads at once"),
    ],
)
async def test_at_an_edge_whoever_the_authority_vouches_for_is_let_in(
    proxy: Proxy, authority: Authority, origin: Origin, client: Client, leaf: Leaf, let_in: bool, tmp_path: Path
) -> None:
    address = proxy.bind()
    tls = DownstreamTls("default", "ROOTCA", require_client_certificate=True)
    chain = FilterChain(TransportMatch.TLS, Http(routes=everything(forward_to("app"))), tls)
    answer = await proxy.apply(
        clusters=(cluster("app", origin.address),),
        listeners=(Listener("edge", address, Direction.OUTBOUND, (chain,), detect_tls=True),),
        certificates=(authority.issue(Leaf(uris=(REVIEWS,))),),
        trust_anchors=(authority.anchors(),),
    )
    assert isinstance(answer, Applied), answer
    context = client_context(authority, authority.issue(leaf), tmp_path)
    assert bool(await plain_failure(client.connect(address, context, SNI))) is not let_in
    assert len(origin.requests) == int(let_in)


async def test_a_certificate_of_another_root_is_refused(
    proxy: Proxy, authority: Authority, origin: Origin, client: Client, tmp_path: Path
) -> None:
    address = await serve_inbound(proxy, authority, origin)
    foreign = Authority("Other root").issue()

    assert await plain_failure(client.connect(address, client_context(authority, foreign, tmp_path), SNI))
    assert origin.requests == []


async def test_plaintext_under_strict_is_closed(
    proxy: Proxy, authority: Authority, origin: Origin, client: Client
) -> None:
    connection = await client.connect(await serve_inbound(proxy, authority, origin))
    await connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")

    assert await connection.closed() == b""
    assert origin.requests == []
    assert proxy.worker.listeners[0].counts.cx_no_chain == 1


async def test_permissive_takes_both_and_believes_only_one(
    proxy: Proxy, authority: Authority, origin: Origin, client: Client, tmp_path: Path
) -> None:
    address = await serve_inbound(proxy, authority, origin, permissive=True)
    claim = f"X-Forwarded-Client-Cert: URI={WEB}"
    plain = await client.connect(address)
    assert (await plain.get("/", claim)).status == 200
    secure = await client.connect(address, client_context(authority, authority.issue(), tmp_path), SNI)
    assert (await secure.get("/", claim)).status == 200

    first, last = origin.requests
    assert first.get(b"x-forwarded-client-cert") is None
    assert WEB.encode() in (last.get(b"x-forwarded-client-cert") or b"")
    assert [record.source_principal for record in proxy.records] == [None, WEB]


async def test_only_tls_1_3(proxy: Proxy, authority: Authority, origin: Origin, client: Client, tmp_path: Path) -> None:
    address = await serve_inbound(proxy, authority, origin)
    context = client_context(authority, authority.issue(), tmp_path)
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    assert await plain_failure(client.connect(address, context, SNI))

    context = client_context(authority, authority.issue(), tmp_path)
    connection = await client.connect(address, context, SNI)
    assert connection.writer.get_extra_info("ssl_object").version() == "TLSv1.3"


async def test_sessions_are_never_resumed(
    proxy: Proxy, authority: Authority, origin: Origin, client: Client, tmp_path: Path
) -> None:
    address = await serve_inbound(proxy, authority, origin)
    connection = await client.connect(address, client_context(authority, authority.issue(), tmp_path), SNI)
    await connection.get()
    tls = connection.writer.get_extra_info("ssl_object")

    assert tls.session is None or not tls.session.has_ticket


async def test_the_served_certificate_is_the_workloads_and_rotates_without_a_cut(
    proxy: Proxy, authority: Authority, origin: Origin, client: Client, tmp_path: Path
) -> None:
    address = await serve_inbound(proxy, authority, origin)
    context = client_context(authority, authority.issue(), tmp_path)
    before = await client.connect(address, context, SNI)
    served = before.writer.get_extra_info("peercert")
    assert ("URI", REVIEWS) in served["subjectAltName"]

    await proxy.apply(certificates=(authority.issue(Leaf(uris=(REVIEWS,))),))

    after = await client.connect(address, context, SNI)
    assert after.writer.get_extra_info("peercert")["serialNumber"] != served["serialNumber"]
    assert (await before.get()).status == 200, "rotation cut a connection"
    assert (await after.get()).status == 200


async def test_root_rotation_under_load(
    proxy: Proxy, second: Proxy, authority: Authority, origin: Origin, client: Client
) -> None:
    new = Authority("New root")
    both = replace(authority.anchors(), pem=authority.pem + new.pem)
    upstream = await serve_inbound(proxy, authority, origin)
    address = await serve_outbound(second, authority, upstream)
    rotating = True
    answers: list[Message] = []

    async def load() -> None:
        connection = await client.connect(address)
        while rotating:
            answers.append(await connection.get())

    loads = [asyncio.get_running_loop().create_task(load()) for _ in range(4)]
    for anchors, issuer in ((both, authority), (both, new), (new.anchors(), new)):
        for each, identity in ((proxy, REVIEWS), (second, WEB)):
            await each.apply(trust_anchors=(anchors,))
            await each.apply(certificates=(issuer.issue(Leaf(uris=(identity,))),))
            await asyncio.sleep(0.02)
    rotating = False
    await asyncio.gather(*loads)

    assert {answer.status for answer in answers} == {200}


async def test_no_key_is_left_in_files_or_descriptors(proxy: Proxy, authority: Authority, origin: Origin) -> None:
    certificate = authority.issue(Leaf(uris=(REVIEWS,)))
    await serve_inbound(proxy, authority, origin, certificate=certificate)

    assert "PRIVATE KEY" not in repr(certificate)
    links = [os.readlink(entry) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink() and _exists(entry)]
    assert not [link for link in links if "memfd" in link]


def _exists(entry: Path) -> bool:
    try:
        os.readlink(entry)
    except OSError:
        return False
    return True


async def test_a_silent_connection_does_not_hold_up_others(
    proxy: Proxy, authority: Authority, origin: Origin, client: Client, tmp_path: Path
) -> None:
    address = await serve_inbound(proxy, authority, origin, permissive=True)
    silent = await client.connect(address)

    assert (await (await client.connect(address)).get()).status == 200
    await silent.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await silent.answer()).status == 200


async def test_failed_handshakes_do_not_fill_the_log(
    proxy: Proxy, origin: Origin, authority: Authority, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "sidecar.listeners.listener")
    address = await serve_inbound(proxy, authority, origin)
    for _ in range(20):
        connection = await client.connect(address)
        await connection.send(b"\x16\x03\x01\x00\x05hello")
        await connection.closed()
    told = [line for line in caplog.messages if "handshake failed" in line]
    assert 1 <= len(told) <= 3
