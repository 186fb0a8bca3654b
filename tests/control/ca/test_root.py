"""The root on disk: made once, private, refused when it does not fit, rotated without a gap."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from control.ca.authority import Applicant
from control.ca.check import NotTrusted, check_peer
from control.ca.errors import BrokenAuthority
from control.ca.on_disk import DiskAuthority
from control.ca.root import RootFiles
from control.ca.rotate import Step
from control.ca.template import DEFAULT_LIFETIMES, Lifetimes
from tests.control.ca.conftest import TurnedClock
from tests.control.ca.requests import csr


def reopened(tmp_path: Path, clock: TurnedClock) -> DiskAuthority:
    authority = DiskAuthority(tmp_path / "ca", "cluster.local", clock)
    authority.open()
    return authority


def test_the_root_key_is_its_owners_alone_and_on_p256(authority: DiskAuthority, tmp_path: Path) -> None:
    assert os.stat(tmp_path / "ca" / "root.key").st_mode & 0o777 == 0o600
    assert isinstance(authority.roots.signer.key.curve, ec.SECP256R1)
    assert authority.roots.signer.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value == (
        x509.BasicConstraints(ca=True, path_length=0)
    )


def test_the_root_stays_the_same_over_a_restart(authority: DiskAuthority, tmp_path: Path, clock: TurnedClock) -> None:
    assert reopened(tmp_path, clock).roots.pem == authority.roots.pem


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_key_that_others_can_read_stops_the_start(
    authority: DiskAuthority, tmp_path: Path, clock: TurnedClock, mode: int
) -> None:
    (tmp_path / "ca" / "root.key").chmod(mode)
    with pytest.raises(BrokenAuthority, match=r"root\.key has mode .*chmod 0600"):
        reopened(tmp_path, clock)


def test_a_key_of_another_root_stops_the_start(authority: DiskAuthority, tmp_path: Path, clock: TurnedClock) -> None:
    other = RootFiles(tmp_path / "other")
    other.open("cluster.local", now=clock.wall, lifetimes=DEFAULT_LIFETIMES)
    (tmp_path / "other" / "root.key").replace(tmp_path / "ca" / "root.key")
    with pytest.raises(BrokenAuthority, match="is not the key of any certificate"):
        reopened(tmp_path, clock)


def test_a_missing_key_stops_the_start_and_says_what_to_do(
    authority: DiskAuthority, tmp_path: Path, clock: TurnedClock
) -> None:
    (tmp_path / "ca" / "root.key").unlink()
    with pytest.raises(BrokenAuthority, match="restore the key"):
        reopened(tmp_path, clock)


@pytest.mark.parametrize("name", ["root.key", "root.pem"])
def test_rubbish_stops_the_start_and_is_not_quoted(
    authority: DiskAuthority, tmp_path: Path, clock: TurnedClock, name: str
) -> None:
    (tmp_path / "ca" / name).write_bytes(b"SECRET\xff")
    with pytest.raises(BrokenAuthority) as caught:
        reopened(tmp_path, clock)
    assert "SECRET" not in str(caught.value)


async def test_a_crash_between_key_and_certificate_is_mended_and_what_was_signed_stays_valid(
    authority: DiskAuthority, applicant: Applicant, tmp_path: Path, clock: TurnedClock
) -> None:
    leaf = x509.load_pem_x509_certificate((await authority.issue(applicant, csr(), 0))[0].encode())
    (tmp_path / "ca" / "root.pem").unlink()
    again = reopened(tmp_path, clock)
    leaf.verify_directly_issued_by(again.roots.signer.certificate)


async def test_a_rotation_never_leaves_anyone_untrusted(
    authority: DiskAuthority, applicant: Applicant, tmp_path: Path, clock: TurnedClock
) -> None:
    """Through a whole rotation, restarting after every step: old and new leaves against old and new anchors."""
    clock.pass_s(DEFAULT_LIFETIMES.root_s * 0.7)
    first = authority.roots.signer.certificate
    seen = []
    leaf = x509.load_pem_x509_certificate((await authority.issue(applicant, csr(), 0))[0].encode())
    trusted_before = authority.roots.trusted
    for _ in range(20):
        step = authority.rotate()
        if step is not Step.NOTHING:
            seen.append(step)
            again = reopened(tmp_path, clock).roots
            assert again.trusted == authority.roots.trusted
            assert again.signer.certificate == authority.roots.signer.certificate
        fresh = x509.load_pem_x509_certificate((await authority.issue(applicant, csr(), 0))[0].encode())
        # A sidecar may have missed the newest set of roots, and hold a leaf that is half a day old.
        for anchors in (trusted_before, authority.roots.trusted):
            for certificate in (leaf, fresh):
                check_peer(certificate, "cluster.local", anchors, clock.wall)
        leaf, trusted_before = fresh, authority.roots.trusted
        clock.pass_s(12 * 3600)
    assert seen == [Step.INTRODUCE, Step.PROMOTE, Step.RETIRE]
    assert len(authority.roots.trusted) == 1
    assert authority.roots.signer.certificate != first


def test_a_crash_before_the_next_root_is_published_begins_the_rotation_anew(
    authority: DiskAuthority, tmp_path: Path, clock: TurnedClock
) -> None:
    clock.pass_s(DEFAULT_LIFETIMES.root_s * 0.7)
    before = (tmp_path / "ca" / "root.pem").read_bytes()
    authority.rotate()
    (tmp_path / "ca" / "root.pem").write_bytes(before)  # next.key is there, its certificate is not
    again = reopened(tmp_path, clock)
    assert again.roots.next is None
    assert again.rotate() is Step.INTRODUCE


async def test_peers_that_are_not_of_this_mesh_are_refused(
    authority: DiskAuthority, applicant: Applicant, tmp_path: Path, clock: TurnedClock
) -> None:
    leaf = x509.load_pem_x509_certificate((await authority.issue(applicant, csr(), 0))[0].encode())
    anchors = authority.roots.trusted
    assert check_peer(leaf, "cluster.local", anchors, clock.wall) == applicant.identity
    foreign = DiskAuthority(tmp_path / "foreign", "cluster.local", clock)
    foreign.open()
    with pytest.raises(NotTrusted, match="no root"):
        check_peer(leaf, "cluster.local", foreign.roots.trusted, clock.wall)
    with pytest.raises(NotTrusted, match="not of trust domain"):
        check_peer(leaf, "other.local", anchors, clock.wall)
    with pytest.raises(NotTrusted, match="it is valid from"):
        check_peer(leaf, "cluster.local", anchors, clock.wall + 25 * 3600)
    with pytest.raises(NotTrusted, match="it is valid from"):
        check_peer(leaf, "cluster.local", anchors, clock.wall - 3600)
    check_peer(leaf, "cluster.local", anchors, clock.wall - 20)
    with pytest.raises(NotTrusted, match="authority"):
        check_peer(anchors[0], "cluster.local", anchors, clock.wall)


def test_lifetimes_can_be_made_short_for_trying_rotation_out() -> None:
    assert replace(DEFAULT_LIFETIMES, leaf_s=10) == Lifetimes(leaf_s=10)
