"""Who the collector is: a certificate of the mesh's authority, its key in memory alone, renewed at half its life.

The first certificate is asked for with a token at the CSR port; later ones at the ADS port with the certificate in hand
as proof, as the sidecars do. Without an ADS address the token serves again, with the same key it was first used with.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from collectors.tls import Credentials, PeerRefused, spiffe_id_of
from mesh.clock import Clock
from mesh.csr import FULL_METHOD, CertificateRequest, CertificateResponse, MalformedCertificateMessage
from mesh.files import read_token

_log = logging.getLogger("remora.identity")

CONTROL_NAME = "remora-control.remora-system.svc"
"""The control plane's DNS SAN."""
_MIN_RETRY_S = 1.0
_MAX_RETRY_S = 60.0
_CALL_TIMEOUT_S = 10.0


class IdentityError(Exception):
    """No certificate, or none that can be used."""


@dataclass(frozen=True, slots=True)
class Authority:
    """Where certificates come from."""

    csr: str
    """host:port of the token door."""
    ads: str | None
    """host:port of the certificate door, for renewal."""
    root_file: Path
    token_file: Path


class Identity:
    """Holds the present credentials, renews them, and tells who wants to know."""

    def __init__(
        self, authority: Authority, clock: Clock, rng: random.Random, *, min_retry_s: float = _MIN_RETRY_S
    ) -> None:
        self._authority = authority
        self._clock = clock
        self._rng = rng
        self._min_retry_s = min_retry_s
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._credentials: Credentials | None = None
        self._listeners: list[Callable[[Credentials], None]] = []

    @property
    def credentials(self) -> Credentials:
        """The present ones. Raises IdentityError before the first."""
        if self._credentials is None:
            raise IdentityError("no certificate yet")
        return self._credentials

    def on_change(self, listener: Callable[[Credentials], None]) -> None:
        """Call `listener` with each new certificate."""
        self._listeners.append(listener)

    async def obtain(self, *, deadline_s: float) -> Credentials:
        """Get the first certificate, trying again while the control plane is not there yet.

        Raises IdentityError when it is refused, or not given within `deadline_s` seconds.
        """
        end = self._clock.monotonic() + deadline_s
        pause_s = 0.1
        while True:
            try:
                return await self._request(with_token=True)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE or self._clock.monotonic() + pause_s > end:
                    raise IdentityError(_said(self._authority.csr, error)) from error
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, 1.0)

    async def keep_renewed(self) -> None:
        """Renew at half life, with jitter; on failure again and again, while the old one serves until its end."""
        failures = 0
        while True:
            await asyncio.sleep(self._wait_s(failures))
            try:
                await self._request(with_token=self._authority.ads is None)
            except (grpc.aio.AioRpcError, IdentityError, OSError) as error:
                failures += 1
                left_s = self.credentials.not_after - self._clock.now()
                report = _log.critical if left_s < 600 else _log.error
                report("certificate not renewed, it is good for another %d s: %s", left_s, _message(error))
            else:
                failures = 0

    async def follow_roots(self, *, every_s: float = 10.0) -> None:
        """Trust what the root file says, soon after it changes: while roots rotate, peers may belong to either.

        A file that cannot be read or holds no certificate leaves things as they are, and is reported once.
        """
        reported = False
        while True:
            await asyncio.sleep(every_s)
            try:
                roots = await asyncio.to_thread(self._authority.root_file.read_bytes)
                if roots == self.credentials.roots_pem:
                    continue
                x509.load_pem_x509_certificates(roots)
            except (OSError, ValueError) as error:
                if not reported:
                    _log.error("the roots of before stay: %s: %s", self._authority.root_file, error)
                reported = True
                continue
            reported = False
            self._adopt(replace(self.credentials, roots_pem=roots))
            _log.info("new root certificates")

    def _adopt(self, credentials: Credentials) -> None:
        self._credentials = credentials
        for listener in self._listeners:
            listener(credentials)

    def _wait_s(self, failures: int) -> float:
        if failures:
            return min(self._min_retry_s * 2.0 ** min(failures - 1, 10), _MAX_RETRY_S) * self._rng.uniform(0.5, 1.0)
        credentials = self.credentials
        life_s = credentials.not_after - credentials.not_before
        renew_at = credentials.not_before + life_s * self._rng.uniform(0.45, 0.55)
        return max(self._min_retry_s, renew_at - self._clock.now())

    async def _request(self, *, with_token: bool) -> Credentials:
        roots = await asyncio.to_thread(self._authority.root_file.read_bytes)
        metadata: tuple[tuple[str, str], ...] = ()
        # A token belongs to the key that used it first; a renewal makes a new key.
        key = self._key if with_token else ec.generate_private_key(ec.SECP256R1())
        if with_token:
            token = (await asyncio.to_thread(read_token, self._authority.token_file)).decode("ascii").strip()
            metadata = (("authorization", f"Bearer {token}"),)
            channel_credentials = grpc.ssl_channel_credentials(roots)
            address = self._authority.csr
        else:
            held = self.credentials
            channel_credentials = grpc.ssl_channel_credentials(roots, held.key_pem, held.chain_pem)
            address = self._authority.ads or self._authority.csr
        options = [("grpc.ssl_target_name_override", CONTROL_NAME), ("grpc.enable_retries", 0)]
        async with grpc.aio.secure_channel(address, channel_credentials, options=options) as channel:
            call: Any = channel.unary_unary(
                FULL_METHOD,
                request_serializer=CertificateRequest.to_bytes,
                response_deserializer=CertificateResponse.from_bytes,
            )
            try:
                response = await call(CertificateRequest(_render_csr(key)), metadata=metadata, timeout=_CALL_TIMEOUT_S)
            except MalformedCertificateMessage as error:
                raise IdentityError(str(error)) from error
        credentials = _credentials(response, key, roots)
        self._key = key
        _log.info("certificate for %s until %d", credentials.identity, credentials.not_after)
        self._adopt(credentials)
        return credentials


def _render_csr(key: ec.EllipticCurvePrivateKey) -> str:
    # The names in it are the authority's to decide: it takes them from the proof.
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode("ascii")


def _credentials(response: CertificateResponse, key: ec.EllipticCurvePrivateKey, roots: bytes) -> Credentials:
    try:
        chain = [x509.load_pem_x509_certificate(one.encode("ascii")) for one in response.cert_chain]
    except ValueError as error:
        raise IdentityError(f"the authority sent no certificates: {error}") from error
    if not chain or chain[0].public_key() != key.public_key():
        raise IdentityError("the authority sent a certificate for another key")
    leaf = chain[0]
    try:
        identity = spiffe_id_of(leaf)
    except PeerRefused as error:
        raise IdentityError(f"the authority sent a certificate that {error}") from error
    pem = [one.public_bytes(serialization.Encoding.PEM) for one in chain if one.issuer != one.subject]
    return Credentials(
        identity,
        b"".join(pem),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        roots,
        leaf.not_valid_before_utc.timestamp(),
        leaf.not_valid_after_utc.timestamp(),
    )


def _said(address: str, error: grpc.aio.AioRpcError) -> str:
    return f"no certificate from {address}: {error.code().name}: {(error.details() or '')[:200]}"


def _message(error: Exception) -> str:
    return f"{error.code().name}: {error.details()}" if isinstance(error, grpc.aio.AioRpcError) else str(error)
