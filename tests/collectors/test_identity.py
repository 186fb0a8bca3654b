import asyncio
import os
import random
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import grpc
import pytest
from cryptography import x509

from collectors.identity import Authority, Identity, IdentityError
from collectors.tls import Credentials
from mesh.clock import SystemClock
from mesh.files import NotPrivate
from tests.collectors.authority import COLLECTOR, Doors, Mint

Eventually = Callable[..., Awaitable[None]]


class Later(SystemClock):
    """Goes on as ever, `ahead_s` from now."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def now(self) -> float:
        return super().now() + self.ahead_s

    def back(self, _credentials: Credentials) -> None:
        self.ahead_s = 0.0


@pytest.fixture
async def doors(tmp_path: Path) -> AsyncIterator[Doors]:
    async with Doors(Mint(), tmp_path) as doors:
        yield doors


async def test_the_first_certificate_comes_for_a_token(doors: Doors, tmp_path: Path) -> None:
    identity = doors.identity()
    with pytest.raises(IdentityError):
        identity.credentials  # noqa: B018
    credentials = await identity.obtain(deadline_s=5)
    assert credentials.identity == COLLECTOR
    assert identity.credentials is credentials
    assert (doors.asked_by_token, doors.asked_by_certificate) == (1, 0)
    leaf = x509.load_pem_x509_certificate(credentials.chain_pem)
    assert leaf == doors.answers[0]


async def test_the_key_is_on_no_disk_and_in_no_text(
    doors: Doors, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    credentials = await doors.identity().obtain(deadline_s=5)
    assert b"PRIVATE KEY" in credentials.key_pem
    assert "PRIVATE" not in repr(credentials)
    assert doors.token not in caplog.text
    assert "PRIVATE" not in caplog.text
    written = [file for file in tmp_path.rglob("*") if file.is_file() and b"PRIVATE KEY" in file.read_bytes()]
    assert written == []


async def test_renewal_is_by_certificate_with_a_new_key(doors: Doors, eventually: Eventually) -> None:
    clock = Later()
    identity = doors.identity(clock, min_retry_s=0.01)
    first = await identity.obtain(deadline_s=5)
    seen: list[Credentials] = []
    identity.on_change(seen.append)
    identity.on_change(clock.back)
    clock.ahead_s = 0.6 * (first.not_after - first.not_before)
    renewing = asyncio.ensure_future(identity.keep_renewed())
    await eventually(lambda: seen, "renewed")
    renewing.cancel()
    await asyncio.gather(renewing, return_exceptions=True)
    assert (doors.asked_by_token, doors.asked_by_certificate) == (1, 1)
    assert seen[0].key_pem != first.key_pem
    assert identity.credentials is seen[0]


@pytest.mark.parametrize(("failures", "low", "high"), [(1, 0.5, 1), (3, 2, 4), (50, 30, 60)])
async def test_failed_renewals_back_off_with_jitter(doors: Doors, failures: int, low: float, high: float) -> None:
    waits = [doors.identity()._wait_s(failures) for _ in range(20)]
    assert all(low <= wait <= high for wait in waits)


async def test_renewal_is_due_between_45_and_55_percent_of_the_life(doors: Doors) -> None:
    identity = doors.identity()
    credentials = await identity.obtain(deadline_s=5)
    life_s = credentials.not_after - credentials.not_before
    waits = [identity._wait_s(0) + 60 for _ in range(20)]
    assert all(0.44 * life_s < wait < 0.56 * life_s for wait in waits)
    assert len(set(waits)) > 10


async def test_a_failed_renewal_keeps_the_old_certificate_and_says_so(
    doors: Doors, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Later()
    identity = doors.identity(clock, min_retry_s=0.01)
    first = await identity.obtain(deadline_s=5)
    doors.refuse = grpc.StatusCode.UNAVAILABLE
    clock.ahead_s = 0.6 * (first.not_after - first.not_before)
    renewing = asyncio.ensure_future(identity.keep_renewed())
    await eventually(lambda: doors.asked_by_certificate > 2, "tried again and again")
    assert identity.credentials is first
    assert "certificate not renewed" in caplog.text
    doors.refuse = None
    await eventually(lambda: identity.credentials is not first, "renewed at last")
    renewing.cancel()
    await asyncio.gather(renewing, return_exceptions=True)


async def test_a_wrong_token_is_said_at_once(doors: Doors, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("another")
    with pytest.raises(IdentityError, match="UNAUTHENTICATED"):
        await doors.identity().obtain(deadline_s=5)


async def test_a_control_plane_that_is_not_there_yet_is_waited_for_and_then_named(tmp_path: Path) -> None:
    (tmp_path / "root.pem").write_bytes(Mint().credentials().roots_pem)
    (tmp_path / "token").touch(mode=0o600)
    authority = Authority("127.0.0.1:1", None, tmp_path / "root.pem", tmp_path / "token")
    with pytest.raises(IdentityError, match=r"127\.0\.0\.1:1.*UNAVAILABLE"):
        await Identity(authority, SystemClock(), random.Random(1)).obtain(deadline_s=0.3)


async def test_a_control_plane_of_another_mesh_is_not_trusted(doors: Doors, tmp_path: Path) -> None:
    (tmp_path / "root.pem").write_bytes(Mint("another").credentials().roots_pem)
    with pytest.raises(IdentityError):
        await doors.identity().obtain(deadline_s=0.3)
    assert doors.asked_by_token == 0


async def test_a_token_that_others_can_read_is_not_used(doors: Doors, tmp_path: Path) -> None:
    os.chmod(tmp_path / "token", stat.S_IRUSR | stat.S_IROTH)
    with pytest.raises(NotPrivate):
        await doors.identity().obtain(deadline_s=5)


async def test_new_roots_are_trusted_soon_after_the_file_changes(
    doors: Doors, tmp_path: Path, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    identity = doors.identity()
    first = await identity.obtain(deadline_s=5)
    seen: list[Credentials] = []
    identity.on_change(seen.append)
    following = asyncio.ensure_future(identity.follow_roots(every_s=0.01))
    (tmp_path / "root.pem").write_text("nonsense")
    await eventually(lambda: "roots of before stay" in caplog.text, "a broken file is reported")
    assert seen == []
    both = first.roots_pem + Mint("successor").credentials().roots_pem
    (tmp_path / "root.pem").write_bytes(both)
    await eventually(lambda: seen, "the new ones are there")
    assert (seen[0].roots_pem, seen[0].key_pem) == (both, first.key_pem)
    assert caplog.text.count("roots of before stay") == 1
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
