"""The workload's certificate, from the first one to the last renewal. Keys are never written nor sent anywhere."""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio

from mesh.clock import Clock
from mesh.csr import FULL_METHOD, CertificateRequest, CertificateResponse
from mesh.files import read_token
from mesh.spiffe import SpiffeId
from sidecar.agent.backoff import Backoff
from sidecar.agent.certificates import Issued, SigningRequest, UnusableCertificate
from sidecar.agent.channels import CONTROL_NAME, Credentials, describe, open_channel
from sidecar.agent.renewal import is_expired, is_expiring, renew_at
from sidecar.config.endpoint import Address

CALL_TIMEOUT_S = 10.0
MAX_RETRY_S = 30.0
MAX_SLEEP_S = 30.0
MAX_TOKEN_BYTES = 64 * 1024

_log = logging.getLogger("remora.identity")


class NoToken(Exception):
    """The token's file is not there, not private or empty."""


@dataclass(frozen=True, slots=True)
class Authority:
    """Where and as whom to ask."""

    identity: SpiffeId
    csr: Address
    """Server certificate only; the token proves us."""
    ads: Address
    """Mutual TLS; our certificate proves us."""
    token_file: Path
    cluster_id: str
    pod: str = ""
    """Name of the pod that we say we are in; the token must be that pod's. Empty: in none."""


class Identity:
    """Gets the certificate, renews it at half life, and tells `on_issued` about each new one."""

    def __init__(
        self,
        authority: Authority,
        roots_pem: str,
        on_issued: Callable[[Issued], None],
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._authority = authority
        self._roots_pem = roots_pem
        self._on_issued = on_issued
        self._clock = clock
        self._rng = rng
        self._backoff = Backoff(rng, base_s=0.2, max_s=MAX_RETRY_S)
        self.issued: Issued | None = None
        self.issuances = 0
        self.failures = 0
        """Attempts that brought no certificate."""
        self.last_error: str | None = None
        """Why the latest attempt failed; None when it did not."""

    @property
    def roots_pem(self) -> str:
        """What we trust: the bootstrap's file until the control plane sends newer anchors."""
        return self._roots_pem

    def trust(self, roots_pem: str) -> None:
        """New trust anchors, of which the old are usually a part."""
        self._roots_pem = roots_pem

    @property
    def expiring(self) -> bool:
        """The alarm: most of the lifetime is over and there is no successor."""
        return self.issued is not None and is_expiring(self.issued, self._clock.now())

    def credentials(self) -> Credentials:
        """For channels opened from now on."""
        if self.issued is None:
            return Credentials(self._roots_pem)
        return Credentials(self._roots_pem, self.issued.chain_pem, self.issued.key_pem)

    async def run(self) -> None:
        """Until cancelled. The present certificate is used until it expires, however often renewal fails."""
        while True:
            # One key for all attempts: a token is bound to the first key that it was used with, so that an answer
            # that got lost can be asked for again.
            request = SigningRequest(self._authority.identity)
            issued = await self._obtain(request)
            self._backoff.reset()
            self.issued = issued
            self.issuances += 1
            now = self._clock.now()
            due = renew_at(issued, now, self._rng)
            _log.info(
                "certificate %s for %s, valid for %.0f s, renewed in %.0f s",
                issued.serial, self._authority.identity, issued.not_after - now, due - now,
            )  # fmt: skip
            self._on_issued(issued)
            await self._sleep_until(due)

    async def _sleep_until(self, due: float) -> None:
        # In steps: a machine that slept has an older monotonic clock than its certificates.
        while (left_s := due - self._clock.now()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(min(left_s, MAX_SLEEP_S))

    async def _obtain(self, request: SigningRequest) -> Issued:
        while True:
            try:
                issued = await self._ask(request)
            except grpc.aio.AioRpcError as error:
                self.last_error = describe(error)
            except (UnusableCertificate, NoToken) as error:
                self.last_error = str(error)
            else:
                self.last_error = None
                return issued
            self.failures += 1
            delay_s = self._backoff.next_s()
            level = logging.ERROR if self.issued is None or self.expiring else logging.WARNING
            _log.log(level, "no certificate: %s; next attempt in %.1f s", self.last_error, delay_s)
            await asyncio.sleep(delay_s)

    async def _ask(self, request: SigningRequest) -> Issued:
        """With the certificate as proof where there is one; with the token for the first, and where the certificate
        is expired or was refused."""
        if self.issued is not None and not is_expired(self.issued, self._clock.now()):
            try:
                return await self._call(self._authority.ads, request, None)
            except grpc.aio.AioRpcError as error:
                if error.code() not in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
                    raise
                _log.warning("renewal with the certificate was refused (%s); trying the token", describe(error))
        return await self._call(self._authority.csr, request, self._read_token())

    async def _call(self, address: Address, request: SigningRequest, token: str | None) -> Issued:
        credentials = Credentials(self._roots_pem) if token is not None else self.credentials()
        metadata = (("authorization", f"Bearer {token}"),) if token is not None else ()
        async with open_channel(address, CONTROL_NAME, credentials) as channel:
            create = channel.unary_unary(
                FULL_METHOD,
                request_serializer=CertificateRequest.to_bytes,
                response_deserializer=CertificateResponse.from_bytes,
            )
            said = {"ClusterID": self._authority.cluster_id}
            if self._authority.pod:
                said["POD_NAME"] = self._authority.pod
            message = CertificateRequest(request.pem, metadata=said)
            response = await create(message, metadata=metadata, timeout=CALL_TIMEOUT_S)
        if response is None:  # grpc's way to say that the deserializer raised
            raise UnusableCertificate("the answer is no IstioCertificateResponse")
        return request.accept(response.cert_chain, self._roots_pem, self._clock.now())

    def _read_token(self) -> str:
        path = self._authority.token_file
        try:
            token = read_token(path)[:MAX_TOKEN_BYTES].decode("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise NoToken(f"token file {path}: {error}") from error
        if not token or not token.isprintable():
            raise NoToken(f"token file {path} holds no token")
        return token
