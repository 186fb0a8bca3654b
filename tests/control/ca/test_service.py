"""The certificate service over real gRPC: two doors, one opaque answer to everyone who has not proven himself."""

import asyncio
import json
from pathlib import Path

import grpc
import pytest
from cryptography import x509

from control.ca.service import FAILURE_RATE, MAX_MESSAGE_BYTES
from control.ca.tokens import LIFETIME_S
from mesh.csr import FULL_METHOD, CertificateRequest
from mesh.spiffe import SpiffeId
from tests.control.app.control_process import create_certificate
from tests.control.ca.requests import REVIEWS, X400_NAME, csr, ec_key, uri
from tests.control.served import Served


async def refused(channel: grpc.aio.Channel, data: bytes, *metadata: tuple[str, str]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(FULL_METHOD)(data, metadata=metadata, timeout=10)
    return caught.value


def bearer(token: str) -> tuple[str, str]:
    return "authorization", f"Bearer {token}"


NAN = CertificateRequest(csr()).to_bytes() + bytes.fromhex("22100a0e0a0161120911000000000000f87f")
"""With metadata of {a: NaN}."""


def good_request() -> bytes:
    return CertificateRequest(csr()).to_bytes()


def leaf(chain: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificates(chain)[0]


async def test_a_token_gets_its_own_identity_whatever_the_request_says(plane_served: Served) -> None:
    _, token = plane_served.register("reviews-v1")
    async with plane_served.channel("csr") as channel:
        got = await create_certificate(channel, ec_key(), token)
        names = leaf(got.chain).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert list(names) == [uri(REVIEWS)]
        other = CertificateRequest(csr(names=[uri("spiffe://cluster.local/ns/default/sa/admin")])).to_bytes()
        error = await refused(channel, other, bearer(token))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_every_failed_proof_gets_the_same_answer(plane_served: Served) -> None:
    _, used = plane_served.register("reviews-v1", 1)
    _, expired = plane_served.register("ratings-v1", 2)
    _, revoked = plane_served.register("details-v1", 3)
    plane_served.plane.stored.tokens.revoke("default/details-v1")
    answers = []
    async with plane_served.channel("csr") as channel:
        await create_certificate(channel, ec_key(), used)
        attempts: list[tuple[tuple[str, str], ...]] = [
            (),
            (bearer("x" * 43),),
            (bearer(""),),
            (("authorization", f"Basic {used}"),),
            (bearer(used), bearer(used)),
            (bearer(used),),  # another key than the first
            (bearer(revoked),),
        ]
        answers += [await refused(channel, good_request(), *metadata) for metadata in attempts]
        plane_served.clock.ahead_s = LIFETIME_S + 1
        answers.append(await refused(channel, good_request(), bearer(expired)))
    assert {(error.code(), error.details()) for error in answers} == {
        (grpc.StatusCode.UNAUTHENTICATED, "unauthenticated")
    }


async def test_a_lost_answer_can_be_asked_for_again_with_the_same_key(plane_served: Served) -> None:
    _, token = plane_served.register("reviews-v1")
    key = ec_key()
    async with plane_served.channel("csr") as channel:
        await create_certificate(channel, key, token)
        assert await create_certificate(channel, key, token)


async def test_a_bad_request_does_not_use_the_token_up(plane_served: Served) -> None:
    _, token = plane_served.register("reviews-v1")
    async with plane_served.channel("csr") as channel:
        await refused(channel, CertificateRequest("rubbish").to_bytes(), bearer(token))
        await refused(channel, CertificateRequest(csr(names=[x509.DNSName("a")])).to_bytes(), bearer(token))
        assert await create_certificate(channel, ec_key(), token)


async def test_two_keys_at_once_and_one_token_one_wins(plane_served: Served) -> None:
    _, token = plane_served.register("reviews-v1")
    async with plane_served.channel("csr") as channel:
        outcomes = await asyncio.gather(
            *(create_certificate(channel, ec_key(), token) for _ in range(8)), return_exceptions=True
        )
    assert sum(not isinstance(outcome, BaseException) for outcome in outcomes) == 1


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(b"\xff", grpc.StatusCode.INVALID_ARGUMENT, id="no message"),
        pytest.param(b"", grpc.StatusCode.INVALID_ARGUMENT, id="an empty message"),
        pytest.param(b"x" * (MAX_MESSAGE_BYTES + 1), grpc.StatusCode.RESOURCE_EXHAUSTED, id="a giant message"),
        pytest.param(CertificateRequest(csr(), 86_401).to_bytes(), grpc.StatusCode.INVALID_ARGUMENT, id="a long life"),
        pytest.param(NAN, grpc.StatusCode.INVALID_ARGUMENT, id="metadata that is no number"),
        pytest.param(
            CertificateRequest(csr(extensions=[X400_NAME])).to_bytes(), grpc.StatusCode.INVALID_ARGUMENT,
            id="a kind of name that nobody has",
        ),
        pytest.param(CertificateRequest(csr(), -1).to_bytes(), grpc.StatusCode.INVALID_ARGUMENT, id="a negative life"),
    ],
)  # fmt: skip
async def test_malformed_requests_are_refused_and_the_next_is_served(
    plane_served: Served, data: bytes, code: grpc.StatusCode, caplog: pytest.LogCaptureFixture
) -> None:
    _, token = plane_served.register("reviews-v1")
    async with plane_served.channel("csr") as channel:
        assert (await refused(channel, data, bearer(token))).code() is code
        assert await create_certificate(channel, ec_key(), token)
    assert [record for record in caplog.records if record.exc_info] == []


async def test_guessing_is_slowed_down(plane_served: Served) -> None:
    async with plane_served.channel("csr") as channel:
        codes = [
            (await refused(channel, good_request(), bearer("x" * 43))).code()
            for _ in range(int(FAILURE_RATE.burst) + 10)
        ]
    assert codes[0] is grpc.StatusCode.UNAUTHENTICATED
    assert codes[-1] is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_the_token_door_takes_no_certificate_and_the_other_no_token(plane_served: Served) -> None:
    record, token = plane_served.register("reviews-v1")
    async with plane_served.channel("csr", plane_served.credentials_of(record)) as channel:
        assert (await refused(channel, good_request())).code() is grpc.StatusCode.UNAUTHENTICATED
    async with plane_served.channel("ads") as channel:
        assert (await refused(channel, good_request(), bearer(token))).code() is grpc.StatusCode.UNAVAILABLE


async def test_renewal_is_for_the_certificates_own_identity(plane_served: Served, tmp_path: Path) -> None:
    record, _ = plane_served.register("reviews-v1")
    _, other_token = plane_served.register("ratings-v1", 2)
    async with plane_served.channel("ads", plane_served.credentials_of(record)) as channel:
        got = await create_certificate(channel, ec_key(), other_token)  # the token is not looked at
    names = leaf(got.chain).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [uri(REVIEWS)]
    record_line = json.loads((tmp_path / "state" / "ca" / "audit.jsonl").read_text().splitlines()[-1])
    assert record_line["proof"] == "certificate"


async def test_an_identity_that_nobody_has_any_more_is_not_renewed(plane_served: Served) -> None:
    ghost = plane_served.certify(SpiffeId("cluster.local", "default", "ghost"))
    async with plane_served.channel("ads", ghost) as channel:
        assert (await refused(channel, good_request())).code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_component_renews_as_long_as_it_is_known(plane_served: Served) -> None:
    collector = SpiffeId("cluster.local", "remora-system", "remora-collector")
    credentials = plane_served.certify(collector)
    async with plane_served.channel("ads", credentials) as channel:
        assert (await refused(channel, good_request())).code() is grpc.StatusCode.UNAUTHENTICATED
        plane_served.plane.stored.tokens.issue(collector, None, plane_served.clock.now())
        assert await create_certificate(channel, ec_key(), None)


async def test_a_full_disk_gives_no_certificate_and_no_reason(plane_served: Served, tmp_path: Path) -> None:
    record, _ = plane_served.register("reviews-v1")
    audit = tmp_path / "state" / "ca" / "audit.jsonl"
    audit.symlink_to("/dev/full")
    async with plane_served.channel("ads", plane_served.credentials_of(record)) as channel:
        error = await refused(channel, good_request())
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert str(tmp_path) not in (error.details() or "")
        audit.unlink()
        assert await create_certificate(channel, ec_key(), None)


async def test_counters_tell_what_became_of_requests(plane_served: Served) -> None:
    _, token = plane_served.register("reviews-v1")
    async with plane_served.channel("csr") as channel:
        await create_certificate(channel, ec_key(), token)
        await refused(channel, good_request())
    text = plane_served.plane.metrics_text().decode()
    assert "citadel_server_csr_count 2.0" in text
    assert "citadel_server_success_cert_issuance_count 1.0" in text
    assert 'remora_control_certificate_requests_total{outcome="unauthenticated"} 1.0' in text
