"""PEM files that settings name: whether they hold what they should, and keys fit their certificates. What is in a key
is never told."""

import ssl
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from collectors.receivers.file_tls import TlsFiles
from collectors.settings.document import Steps
from collectors.settings.types import Secret
from collectors.settings.walk import Found

MAX_PEM_BYTES = 4 << 20
_AUTHORITIES = ("ca_file", "client_ca_file")
_CERTIFICATES = ("certificate_file", "cert_file")


class Judgement(NamedTuple):
    """Of one field."""

    steps: Steps
    message: str
    is_warning: bool = False


def judge_certificates(found: Iterable[Found], now: datetime) -> Iterator[Judgement]:
    """Of the PEM files that `found` names."""
    for one in found:
        if one.name in _AUTHORITIES and isinstance(one.value, Path):
            yield from _authorities(one)
        elif one.name in _CERTIFICATES and isinstance(one.value, Path):
            yield from _pair(one, now)


def _authorities(one: Found) -> Iterator[Judgement]:
    found = _certificates(one.value)
    if isinstance(found, str):
        yield Judgement(one.steps, found)


def _pair(one: Found, now: datetime) -> Iterator[Judgement]:
    certificates = _certificates(one.value)
    if isinstance(certificates, str):
        yield Judgement(one.steps, certificates)
    secret = getattr(one.owner, "key_file", None)
    if not isinstance(secret, Secret):
        return
    key_steps = (*one.steps[:-1], "key_file")
    key = _public_half(secret)
    if isinstance(key, str):
        yield Judgement(key_steps, key)
        return
    if isinstance(certificates, str):
        return
    leaf = certificates[0]
    if _encoded(leaf.public_key()) != _encoded(key):
        yield Judgement(
            key_steps,
            f"is not the key of the certificate in {one.value}; write the one that the certificate was made for, and "
            "in the certificate's file the leaf first",
        )
        return
    try:
        TlsFiles(one.value, secret.path).context()
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", None) or error
        yield Judgement(one.steps, f"is refused by {ssl.OPENSSL_VERSION.rpartition(' ')[0]}: {why}: {one.value}")
        return
    if leaf.not_valid_after_utc <= now:
        yield Judgement(
            one.steps, f"ended at {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC; put a new one there", is_warning=True
        )
    elif leaf.not_valid_before_utc > now:
        yield Judgement(
            one.steps, f"is not valid before {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC; check the machine's clock",
            is_warning=True,
        )  # fmt: skip


def _read(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(MAX_PEM_BYTES + 1)


def _certificates(path: Path) -> list[x509.Certificate] | str:
    """At least one, or what is wrong."""
    try:
        data = _read(path)
        if len(data) > MAX_PEM_BYTES:
            return f"has more than {MAX_PEM_BYTES:,} bytes: {path}"
        if b"-----BEGIN CERTIFICATE-----" not in data:
            has = "a private key" if b"PRIVATE KEY-----" in data else "no certificate"
            return f"has {has} in it: {path}; write a PEM file that begins with -----BEGIN CERTIFICATE-----"
        return x509.load_pem_x509_certificates(data)
    except OSError as error:
        return f"cannot be read: {error.strerror}: {path}"
    except ValueError:
        return f"has a damaged certificate in it: {path}; write it anew, as it came from its authority"


def _public_half(secret: Secret) -> object | str:
    path = secret.path
    try:
        data = secret.read().encode()
    except (OSError, ValueError) as error:
        return f"cannot be read: {error}"
    if b"PRIVATE KEY-----" not in data:
        has = "a certificate" if b"-----BEGIN CERTIFICATE-----" in data else "no private key"
        return f"has {has} in it: {path}; write a PEM file that begins with -----BEGIN PRIVATE KEY-----"
    try:
        return serialization.load_pem_private_key(data, None).public_key()
    except TypeError:
        return f"has a key with a passphrase: {path}; write one without (openssl pkey -in OLD -out NEW), mode 0600"
    except (ValueError, UnsupportedAlgorithm):
        return f"has a damaged private key in it: {path}; write it anew"


def _encoded(key: object) -> bytes:
    return bytes(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))  # type: ignore[attr-defined]
