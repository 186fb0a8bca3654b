"""Certificates that a configuration names by file: read beside the gateway, never longer than they should be."""

import os
from pathlib import Path

import pytest

from sidecar.agent.file_secrets import MAX_FILE_BYTES, UnreadableSecret, fingerprint, read_secrets
from sidecar.config.endpoint import Address
from sidecar.config.listener import Direction, DownstreamTls, FilterChain, Listener, Tcp, TransportMatch
from sidecar.config.secret import Certificate, TrustAnchors


def listener(certificate: str, validation: str | None = None) -> Listener:
    tls = DownstreamTls(certificate, validation)
    chain = FilterChain(TransportMatch.TLS, tls=tls, tcp=Tcp(()))
    return Listener("edge", Address("127.0.0.1", 1), Direction.GATEWAY, (chain,))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name in ("shop.crt", "shop.key", "ca.crt"):
        (tmp_path / name).write_text(f"text of {name}")
    return tmp_path


def names(files: Path) -> tuple[str, str]:
    return f"file-cert:{files}/shop.crt~{files}/shop.key", f"file-root:{files}/ca.crt"


def test_certificate_key_and_authorities_are_read(files: Path) -> None:
    certificate, root = names(files)
    found = read_secrets([listener(certificate, root), listener(certificate)])
    assert found == (
        (Certificate(certificate, "text of shop.crt", "text of shop.key"),),
        (TrustAnchors(root, "text of ca.crt"),),
    )


def test_secrets_that_come_from_elsewhere_are_left_alone() -> None:
    assert read_secrets([listener("default", "ROOTCA")]) == ((), ())
    assert fingerprint([listener("default", "ROOTCA")]) == ()


@pytest.mark.parametrize("kind", ["missing", "a directory", "too long", "no text", "a pipe"])
def test_what_can_not_be_read_is_said_with_its_path_and_nothing_of_it(files: Path, kind: str) -> None:
    key = files / "shop.key"
    key.unlink()
    if kind == "a directory":
        key.mkdir()
    elif kind == "too long":
        key.write_bytes(b"secret" * (MAX_FILE_BYTES // 6 + 1))
    elif kind == "no text":
        key.write_bytes(b"secret\xff")
    elif kind == "a pipe":
        os.mkfifo(key)
    with pytest.raises(UnreadableSecret, match=r"shop\.key") as raised:
        read_secrets([listener(names(files)[0])])
    assert raised.value.listener == "edge"
    assert "secret" not in raised.value.reason


def test_a_changed_file_is_noticed(files: Path) -> None:
    listeners = [listener(*names(files))]
    before = fingerprint(listeners)
    assert before == fingerprint(listeners)
    (files / "ca.crt").write_text("another text")
    assert fingerprint(listeners) != before
    (files / "ca.crt").unlink()
    assert (str(files / "ca.crt"), 0, 0) in fingerprint(listeners)
