"""The door of service account tokens: who is let in, as whom, and what every other token is answered."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import pytest

from control.ca.errors import ProofUnavailable, RateExceeded, Unauthenticated
from control.ca.service import CertificateService
from control.ca.token_review import AUDIENCE, MAX_UNDER_WAY, Account, TokenReviews, by_token_review, read_status
from control.kubernetes.client import Cluster, KubeClient
from mesh.clock import SystemClock
from mesh.csr import FULL_METHOD, CertificateRequest, CertificateResponse
from mesh.lifecycle import TaskScope
from tests.control.ca.conftest import TurnedClock
from tests.control.ca.requests import csr, uri
from tests.kubernetes.api_server import FakeApiServer

Eventually = Callable[..., Awaitable[None]]


@pytest.fixture
async def reviews(kube: KubeClient) -> AsyncIterator[TokenReviews]:
    async with TaskScope() as scope:
        yield TokenReviews(kube, scope)


def status(**changes: object) -> dict[str, object]:
    user = {
        "username": "system:serviceaccount:default:reviews",
        "extra": {"authentication.kubernetes.io/pod-name": ["reviews-1"]},
    }
    return {"authenticated": True, "audiences": [AUDIENCE], "user": user} | changes


def test_an_accepted_token_is_an_account_and_its_pod() -> None:
    assert read_status(status()) == Account("default", "reviews", "reviews-1")
    unbound = status(user={"username": "system:serviceaccount:default:reviews"})
    assert read_status(unbound) == Account("default", "reviews", "")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (None, "no reason given"),
        ({}, "no reason given"),
        (status(authenticated=False, error="expired"), "expired"),
        (status(authenticated="true"), "does not accept"),
        (status(audiences=[]), "not for audience remora-ca"),
        (status(audiences=["https://kubernetes.default.svc"]), "not for audience remora-ca"),
        (status(audiences=f"not-{AUDIENCE}"), "not for audience remora-ca"),
        (status(audiences=7), "not for audience remora-ca"),
        (status(user={"username": "admin"}), "no service account"),
        (status(user={"username": "system:node:a"}), "no service account"),
        (status(user={"username": "system:serviceaccount:a:b:c"}), "no service account"),
        (status(user=None), "no service account"),
    ],
    ids=["no status", "empty", "refused", "a word for true", "no audience", "another audience", "text around it",
         "a number", "a person", "a node", "too many parts", "nobody"],
)  # fmt: skip
def test_anything_else_proves_nothing(said: object, why: str) -> None:
    with pytest.raises(Unauthenticated, match=why):
        read_status(said)


async def test_a_token_made_for_us_is_checked_by_the_api_server(
    reviews: TokenReviews, api_server: FakeApiServer
) -> None:
    token = api_server.access.issue("default", "reviews", [AUDIENCE], pod="reviews-1")
    assert await reviews.account(token) == Account("default", "reviews", "reviews-1")


async def test_a_token_for_another_audience_a_revoked_and_an_absurd_one_are_refused(
    reviews: TokenReviews, api_server: FakeApiServer
) -> None:
    tokens = [api_server.access.issue("default", "reviews"), api_server.access.issue("default", "reviews", [AUDIENCE])]
    assert (await reviews.account(tokens[1])).name == "reviews"
    api_server.access.revoke(tokens[1])
    asked = len(api_server.asked)
    for token in (*tokens, "", "x" * 20_000, "a\nb", "é"):
        with pytest.raises(Unauthenticated):
            await reviews.account(token)
    assert len(api_server.asked) == asked + 2, "an absurd token is no question for the API server"


async def test_the_same_token_shown_twice_at_once_is_one_question(
    reviews: TokenReviews, api_server: FakeApiServer, eventually: Eventually
) -> None:
    token = api_server.access.issue("default", "reviews", [AUDIENCE])
    hold = api_server.faults.hold()
    callers = [asyncio.ensure_future(reviews.account(token)) for _ in range(5)]
    await eventually(lambda: hold.waiting == 1, "the question is asked")
    callers[0].cancel()
    hold.release()
    assert {(await each).name for each in callers[1:]} == {"reviews"}
    assert len(api_server.asked) == 1
    await reviews.account(token)
    assert len(api_server.asked) == 2, "nothing is remembered"


async def test_questions_under_way_are_bounded(
    reviews: TokenReviews, api_server: FakeApiServer, eventually: Eventually
) -> None:
    hold = api_server.faults.hold()
    callers = [asyncio.ensure_future(reviews.account(f"token-{number}")) for number in range(MAX_UNDER_WAY)]
    await eventually(lambda: hold.waiting == MAX_UNDER_WAY, "as many as may are asked")
    with pytest.raises(RateExceeded):
        await reviews.account("one more")
    hold.release()
    assert all(isinstance(each, Unauthenticated) for each in await asyncio.gather(*callers, return_exceptions=True))


async def test_an_api_server_that_is_away_or_forbids_is_no_proof_of_anything(
    reviews: TokenReviews, api_server: FakeApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    token = api_server.access.issue("default", "reviews", [AUDIENCE])
    api_server.access.forbidden.add(("create", "authentication.k8s.io", "tokenreviews"))
    with pytest.raises(ProofUnavailable, match='grant verb "create" on resource "tokenreviews"'):
        await reviews.account(token)
    assert "tokens cannot be checked" in caplog.text
    assert token not in caplog.text
    await api_server.stop()
    with pytest.raises(ProofUnavailable, match="Unreachable"):
        await reviews.account(token)


class Door:
    """The service behind a port without TLS, which is another test's."""

    def __init__(self, channel: grpc.aio.Channel, outcomes: list[str]) -> None:
        self._call = channel.unary_unary(FULL_METHOD)
        self.outcomes = outcomes

    async def ask(self, token: str | None, **metadata: str) -> CertificateResponse:
        sent = (("authorization", f"Bearer {token}"),) if token is not None else ()
        request = CertificateRequest(csr(), metadata=dict(metadata)).to_bytes()
        return CertificateResponse.from_bytes(await self._call(request, metadata=sent, timeout=10))

    async def refused(self, token: str | None, **metadata: str) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.ask(token, **metadata)
        return caught.value.code(), caught.value.details() or ""


@pytest.fixture
async def door(authority: object, clock: TurnedClock, reviews: TokenReviews) -> AsyncIterator[Door]:
    outcomes: list[str] = []
    server = grpc.aio.server()
    service = CertificateService(authority, clock, by_token_review(reviews, "cluster.local"), outcomes.append)  # type: ignore[arg-type]
    server.add_generic_rpc_handlers((service.handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Door(channel, outcomes)
    await server.stop(0)


async def test_the_certificate_names_the_account_and_nothing_of_the_request(
    door: Door, api_server: FakeApiServer
) -> None:
    from cryptography import x509

    token = api_server.access.issue("shop", "reviews", [AUDIENCE], pod="reviews-1")
    chain = (await door.ask(token, ClusterID="Kubernetes")).cert_chain
    names = x509.load_pem_x509_certificate(chain[0].encode()).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert list(names.value) == [uri("spiffe://cluster.local/ns/shop/sa/reviews")]
    assert door.outcomes == ["issued"]


async def test_a_pod_that_shows_another_pods_token_is_refused(door: Door, api_server: FakeApiServer) -> None:
    token = api_server.access.issue("shop", "reviews", [AUDIENCE], pod="reviews-1")
    assert (await door.ask(token, POD_NAME="reviews-1")).cert_chain
    assert await door.refused(token, POD_NAME="reviews-2") == (grpc.StatusCode.UNAUTHENTICATED, "unauthenticated")
    unbound = api_server.access.issue("shop", "reviews", [AUDIENCE])
    assert (await door.refused(unbound, POD_NAME="reviews-1"))[0] is grpc.StatusCode.UNAUTHENTICATED


async def test_codes_tell_a_bad_token_from_a_server_that_cannot_be_asked(
    door: Door, api_server: FakeApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    opaque = grpc.StatusCode.UNAUTHENTICATED, "unauthenticated"
    assert await door.refused(None) == opaque
    assert await door.refused("unknown") == opaque
    assert await door.refused(api_server.access.issue("shop", "reviews")) == opaque
    assert "is invalid for ['remora-ca']" in caplog.text, "why is for our log"
    await api_server.stop()
    assert await door.refused("unknown") == (grpc.StatusCode.UNAVAILABLE, "tokens cannot be checked now")
    assert door.outcomes == ["unauthenticated"] * 3 + ["unavailable"]


async def test_a_token_of_another_cluster_is_shown_to_that_cluster_alone(
    authority: object, clock: TurnedClock, reviews: TokenReviews, api_server: FakeApiServer
) -> None:
    outcomes: list[str] = []
    async with FakeApiServer() as east, TaskScope() as scope:
        client = KubeClient(Cluster(east.url, None, authorized), SystemClock())
        elsewhere = {"east": TokenReviews(client, scope)}
        prove = by_token_review(reviews, "cluster.local", elsewhere.get)
        service = CertificateService(authority, clock, prove, outcomes.append)  # type: ignore[arg-type]
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((service.handler(),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            door = Door(channel, outcomes)
            there = east.access.issue("shop", "reviews", [AUDIENCE], pod="reviews-1")
            assert (await door.ask(there, ClusterID="east")).cert_chain
            assert not api_server.asked, "ours was not shown it"
            assert (await door.refused(there))[0] is grpc.StatusCode.UNAUTHENTICATED
            asked = len(east.asked)
            here = api_server.access.issue("shop", "reviews", [AUDIENCE], pod="reviews-1")
            assert (await door.ask(here, ClusterID="Kubernetes")).cert_chain
            assert len(east.asked) == asked
            await client.close()
            unavailable = (grpc.StatusCode.UNAVAILABLE, "tokens cannot be checked now")
            assert await door.refused(there, ClusterID="east") == unavailable
        await server.stop(0)


async def authorized() -> str:
    return "Bearer admin"
