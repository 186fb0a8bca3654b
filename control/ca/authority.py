"""The authority as the rest of the control plane sees it: identity and request in, a chain out, or a reason.

Where its roots are kept, and who makes and changes them, is `on_disk` and `in_cluster`.
"""

import hashlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from control.ca.check import check_issued
from control.ca.errors import RateExceeded
from control.ca.limits import Buckets, Rate
from control.ca.request import PublicKey, check_request, parse_request
from control.ca.root import Roots, to_pem
from control.ca.sign import sign
from control.ca.template import DEFAULT_LIFETIMES, Lifetimes, leaf_template, names_of
from mesh.clock import Clock
from mesh.spiffe import SpiffeId

_log = logging.getLogger("control.ca")

SIGNING_RATE = Rate(burst=30, per_s=1.0)
"""Certificates for one peer. A sidecar asks for one in half a day; the burst is for replicas behind one address, and
for one that restarts in a loop."""


@dataclass(frozen=True, slots=True)
class Applicant:
    """Who asks, as far as it has been proven."""

    identity: SpiffeId
    proof: str
    """`token` or `certificate`, for the record."""
    peer: str
    """Its network address, for the record."""
    workload: str | None = None
    bind: Callable[[str], Awaitable[None]] | None = None
    """Ties the proof to the key (its SHA-256, hex) once the request has been found good: a bad one must not use a token
    up. Raises Unauthenticated."""


class Audit(Protocol):
    """Where the record of every certificate goes."""

    async def append(self, record: dict[str, Any]) -> None:
        """Return once `record` is safe. Raises AuditUnavailable."""


class Authority:
    """Signs with the roots that it was told of, and has every certificate recorded."""

    def __init__(self, trust_domain: str, clock: Clock, audit: Audit, lifetimes: Lifetimes = DEFAULT_LIFETIMES) -> None:
        self._trust_domain = trust_domain
        self._clock = clock
        self._lifetimes = lifetimes
        self._audit = audit
        self._buckets = Buckets(SIGNING_RATE)
        self._roots: Roots | None = None
        self.on_roots_changed: list[Callable[[], None]] = []
        """Called after a step of a rotation: what is trusted, or who signs, is different now."""

    def adopt(self, roots: Roots) -> None:
        """These are the roots now."""
        before, self._roots = self._roots, roots
        if before is not None and before.pem != roots.pem:  # the signer stands first: another signer is another text
            for changed in self.on_roots_changed:
                changed()

    @property
    def roots(self) -> Roots:
        assert self._roots is not None, "open() comes first"
        return self._roots

    @property
    def trust_domain(self) -> str:
        return self._trust_domain

    @property
    def lifetimes(self) -> Lifetimes:
        return self._lifetimes

    async def issue(self, applicant: Applicant, csr_pem: str, wish_s: float) -> tuple[str, ...]:
        """Leaf and root as PEM, leaf first. `wish_s` 0 leaves the lifetime to us. Raises CertificateError."""
        # Replicas share an identity, on one machine workloads share an address.
        address = applicant.peer.rpartition(":")[0]
        if not self._buckets.take(f"{applicant.identity} {applicant.workload} {address}", self._clock.monotonic()):
            raise RateExceeded(f"{applicant.identity} asks for more than {SIGNING_RATE.per_s:g} certificates a second")
        request = parse_request(csr_pem)
        key = check_request(request, names_of(applicant.identity))
        certificate, chain = self.certify(applicant.identity, key, wish_s)
        if applicant.bind is not None:
            await applicant.bind(key_fingerprint(key))
        await self._audit.append(self._record(applicant, certificate))
        _log.info(
            "certificate %x for %s until %s",
            certificate.serial_number,
            applicant.identity,
            certificate.not_valid_after_utc,
        )
        return chain

    def certify(
        self, identity: SpiffeId, key: PublicKey, wish_s: float = 0, hosts: tuple[str, ...] = ()
    ) -> tuple[x509.Certificate, tuple[str, ...]]:
        """A certificate without a record, for this process itself, which `hosts` are further DNS names of.

        Raises CertificateError.
        """
        signer = self.roots.signer
        template = leaf_template(
            identity,
            key,
            wish_s=wish_s,
            now=self._clock.now(),
            lifetimes=self._lifetimes,
            signer=signer.certificate,
            hosts=hosts,
        )
        certificate = sign(template, signer)
        check_issued(certificate, identity, signer.certificate, self._lifetimes, hosts)
        return certificate, (to_pem(certificate), to_pem(signer.certificate))

    def _record(self, applicant: Applicant, certificate: x509.Certificate) -> dict[str, object]:
        return {
            "time": self._clock.now(),
            "serial": f"{certificate.serial_number:x}",
            "identity": str(applicant.identity),
            "workload": applicant.workload,
            "proof": applicant.proof,
            "peer": applicant.peer,
            "not_before": certificate.not_valid_before_utc.timestamp(),
            "not_after": certificate.not_valid_after_utc.timestamp(),
            "key_sha256": key_fingerprint(certificate.public_key()),  # type: ignore[arg-type]
            "root": f"{self.roots.signer.certificate.serial_number:x}",
        }


def key_fingerprint(key: PublicKey) -> str:
    """SHA-256 of the SubjectPublicKeyInfo, hex."""
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()
