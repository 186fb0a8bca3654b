"""Getting and renewing the workload's certificate from a control plane over real TLS."""

import asyncio
import logging
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import grpc
import pytest

from mesh.clock import SystemClock
from mesh.csr import CertificateRequest, CertificateResponse
from mesh.lifecycle import TaskScope
from mesh.spiffe import SpiffeId
from sidecar.agent.certificates import Issued
from sidecar.agent.identity import Authority, Identity
from tests.sidecar.agent.control_plane import FakeControlPlane, Refusal
from tests.sidecar.xds.authority import TestAuthority

Eventually = Callable[..., Awaitable[None]]
WHO = SpiffeId("cluster.local", "default", "reviews")


@pytest.fixture
async def control_plane() -> AsyncIterator[FakeControlPlane]:
    async with FakeControlPlane(TestAuthority()) as running:
        yield running


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("the-token\n")
    path.chmod(0o600)
    return path


class Subject:
    """An identity at work."""

    def __init__(
        self, control_plane: FakeControlPlane, token: Path, roots_pem: str | None = None, pod: str = ""
    ) -> None:
        authority = Authority(WHO, control_plane.csr, control_plane.ads, token, "laptop", pod)
        roots_pem = roots_pem or control_plane.authority.pem
        self.issued: list[Issued] = []
        self.identity = Identity(authority, roots_pem, self.issued.append, SystemClock(), random.Random(3))


async def test_in_a_pod_the_request_says_which(
    control_plane: FakeControlPlane, token: Path, scope: TaskScope, eventually: Eventually
) -> None:
    subject = Subject(control_plane, token, pod="reviews-v1-7d4f")
    scope.spawn(subject.identity.run(), name="identity")
    await eventually(lambda: subject.issued, "a certificate comes")
    assert control_plane.signed[0][0].metadata == {"ClusterID": "laptop", "POD_NAME": "reviews-v1-7d4f"}


@pytest.fixture
async def scope() -> AsyncIterator[TaskScope]:
    async with TaskScope() as scope:
        yield scope


async def test_the_first_certificate_is_asked_for_with_the_token(
    control_plane: FakeControlPlane, token: Path, scope: TaskScope, eventually: Eventually
) -> None:
    subject = Subject(control_plane, token)
    assert subject.identity.credentials().chain_pem is None
    scope.spawn(subject.identity.run(), name="identity")
    await eventually(lambda: subject.issued, "a certificate comes")
    ((request, metadata, proven),) = control_plane.signed
    assert metadata["authorization"] == "Bearer the-token"
    assert not proven
    assert request.metadata == {"ClusterID": "laptop"}
    assert subject.identity.credentials().chain_pem == subject.issued[0].chain_pem
    assert (subject.identity.failures, subject.identity.expiring) == (0, False)


async def test_renewal_is_proven_by_the_certificate_and_brings_a_new_key(
    control_plane: FakeControlPlane, token: Path, scope: TaskScope, eventually: Eventually
) -> None:
    control_plane.lifetime_s = 2.0
    subject = Subject(control_plane, token)
    scope.spawn(subject.identity.run(), name="identity")
    await eventually(lambda: len(subject.issued) >= 2, "it is renewed at half life")
    _, metadata, proven = control_plane.signed[1]
    assert proven
    assert "authorization" not in metadata
    assert subject.issued[0].key_pem != subject.issued[1].key_pem
    assert subject.identity.issuances == len(subject.issued)


async def test_a_lost_answer_is_asked_for_again_with_the_same_key(
    control_plane: FakeControlPlane, token: Path, scope: TaskScope, eventually: Eventually
) -> None:
    def fail_once(request: CertificateRequest, metadata: dict[str, str], proven: bool) -> CertificateResponse:
        if len(control_plane.signed) == 1:
            raise Refusal(grpc.StatusCode.UNAVAILABLE)
        return control_plane.sign_anything(request, metadata, proven)

    control_plane.sign = fail_once
    subject = Subject(control_plane, token)
    scope.spawn(subject.identity.run(), name="identity")
    await eventually(lambda: subject.issued, "the second attempt succeeds")
    assert control_plane.signed[0][0].csr == control_plane.signed[1][0].csr
    assert subject.identity.failures == 1
    assert subject.identity.last_error is None


async def test_the_token_is_used_where_the_certificate_is_refused(
    control_plane: FakeControlPlane, token: Path, scope: TaskScope, eventually: Eventually
) -> None:
    def tokens_only(request: CertificateRequest, metadata: dict[str, str], proven: bool) -> CertificateResponse:
        if proven:
            raise Refusal(grpc.StatusCode.UNAUTHENTICATED)
        return control_plane.sign_anything(request, metadata, proven)

    control_plane.sign = tokens_only
    control_plane.lifetime_s = 2.0
    subject = Subject(control_plane, token)
    scope.spawn(subject.identity.run(), name="identity")
    await eventually(lambda: len(subject.issued) >= 2, "the token renews it")
    assert [proven for _, _, proven in control_plane.signed[:3]] == [False, True, False]


async def test_with_the_authority_down_the_old_certificate_stays_and_the_alarm_comes_on(
    control_plane: FakeControlPlane,
    token: Path,
    scope: TaskScope,
    eventually: Eventually,
    caplog: pytest.LogCaptureFixture,
) -> None:
    control_plane.lifetime_s = 2.0
    subject = Subject(control_plane, token)
    scope.spawn(subject.identity.run(), name="identity")
    await eventually(lambda: subject.issued, "a certificate comes")
    await control_plane.stop()
    await eventually(lambda: subject.identity.failures >= 1 and subject.identity.expiring, "the alarm comes on")
    assert subject.identity.credentials().chain_pem == subject.issued[0].chain_pem
    await eventually(lambda: any(record.levelno == logging.ERROR for record in caplog.records), "it is said loudly")
    control_plane.lifetime_s = 3600.0
    await control_plane.start()
    await eventually(lambda: len(subject.issued) == 2, "it is renewed when the authority is back", within=15)
    assert not subject.identity.expiring


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(lambda path: path.unlink(), "No such file", id="missing"),
        pytest.param(lambda path: path.chmod(0o644), "chmod 0600", id="readable by others"),
        pytest.param(lambda path: path.write_text(""), "holds no token", id="empty"),
        pytest.param(lambda path: path.write_bytes(b"\xff"), "token file", id="no text"),
        pytest.param(lambda path: path.write_text("a\r\nb"), "holds no token", id="two lines"),
    ],
)
async def test_a_token_file_that_cannot_be_used_is_said_and_read_again(
    spoil: Callable[[Path], object],
    message: str,
    control_plane: FakeControlPlane,
    token: Path,
    scope: TaskScope,
    eventually: Eventually,
) -> None:
    spoil(token)
    subject = Subject(control_plane, token)
    scope.spawn(subject.identity.run(), name="identity")
    await eventually(lambda: subject.identity.last_error, "the failure is noticed")
    assert subject.identity.last_error is not None
    assert message in subject.identity.last_error
    token.unlink(missing_ok=True)
    token.write_text("the-token")
    token.chmod(0o600)
    await eventually(lambda: subject.issued, "the next attempt succeeds")


async def test_a_control_plane_of_another_mesh_never_sees_the_token(
    control_plane: FakeControlPlane, token: Path, scope: TaskScope, eventually: Eventually
) -> None:
    subject = Subject(control_plane, token, roots_pem=TestAuthority("other").pem)
    scope.spawn(subject.identity.run(), name="identity")
    await eventually(lambda: subject.identity.failures, "the attempt fails")
    assert control_plane.signed == []


async def test_a_workload_that_answers_in_the_control_planes_place_never_sees_the_token(
    token: Path, scope: TaskScope, eventually: Eventually
) -> None:
    async with FakeControlPlane(TestAuthority(), names=("reviews.default.svc",)) as impostor:
        subject = Subject(impostor, token)
        scope.spawn(subject.identity.run(), name="identity")
        await eventually(lambda: subject.identity.failures, "the attempt fails")
        assert impostor.signed == []


async def test_an_answer_for_someone_else_is_not_used(
    control_plane: FakeControlPlane, token: Path, scope: TaskScope, eventually: Eventually
) -> None:
    chain, _ = control_plane.authority.pair(str(WHO))
    control_plane.sign = lambda *_: CertificateResponse((chain, control_plane.authority.pem))
    subject = Subject(control_plane, token)
    scope.spawn(subject.identity.run(), name="identity")
    await eventually(lambda: subject.identity.failures, "the attempt fails")
    assert subject.identity.last_error == "the certificate is for another key"
    assert subject.issued == []


async def test_no_key_is_ever_written(
    control_plane: FakeControlPlane,
    token: Path,
    scope: TaskScope,
    eventually: Eventually,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    caplog.set_level(logging.DEBUG)
    subject = Subject(control_plane, token)
    scope.spawn(subject.identity.run(), name="identity")
    await eventually(lambda: subject.issued, "a certificate comes")
    assert os.listdir(tmp_path) == ["token"]
    assert "PRIVATE KEY" not in caplog.text
    assert "the-token" not in caplog.text
    assert "PRIVATE" not in repr(subject.identity.credentials())
    await asyncio.sleep(0)
