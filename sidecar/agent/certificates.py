"""The workload's key, its signing request, and what makes an answer acceptable. No I/O; keys exist in memory only."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from mesh.spiffe import SpiffeId

CLOCK_TOLERANCE_S = 60.0
"""Of a fresh certificate's start: machines' clocks differ by seconds. More is a clock set wrong."""


class UnusableCertificate(Exception):
    """The authority's answer must not be used."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A key with its certificate. Times are seconds since the Unix epoch."""

    chain_pem: str
    """Leaf first, intermediates after, without roots."""
    key_pem: str = field(repr=False)
    not_before: float
    not_after: float
    serial: str
    """Hexadecimal, for people."""


class SigningRequest:
    """A fresh P-256 key and the request for its certificate."""

    def __init__(self, identity: SpiffeId) -> None:
        self._identity = identity
        self._key = ec.generate_private_key(ec.SECP256R1())
        san = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(identity))])
        request = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(x509.Name([]))
            # Critical since the subject is empty (RFC 5280 4.2.1.6).
            .add_extension(san, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.pem = request.public_bytes(Encoding.PEM).decode()

    def accept(self, chain: tuple[str, ...], roots_pem: str, now: float) -> Issued:
        """The authority's answer, leaf first. Raises UnusableCertificate unless it certifies this key for this
        identity, now, on the word of one of the trusted roots."""
        try:
            certificates = [one for pem in chain for one in x509.load_pem_x509_certificates(pem.encode())]
            roots = x509.load_pem_x509_certificates(roots_pem.encode())
        except ValueError as error:
            raise UnusableCertificate(f"the answer holds no certificates: {error}") from error
        if not certificates:
            raise UnusableCertificate("the answer is empty")
        leaf = certificates[0]
        self._check_leaf(leaf, now)
        path = [one for one in certificates if one not in roots]
        for one, issuer in pairwise(path):
            if not _issued_by(one, issuer):
                raise UnusableCertificate("the chain's certificates do not sign one another")
        if not path or not any(_issued_by(path[-1], root) for root in roots):
            raise UnusableCertificate("no trusted root signed the chain")
        return Issued(
            chain_pem="".join(one.public_bytes(Encoding.PEM).decode() for one in path),
            key_pem=self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
            not_before=leaf.not_valid_before_utc.timestamp(),
            not_after=leaf.not_valid_after_utc.timestamp(),
            serial=f"{leaf.serial_number:x}",
        )

    def _check_leaf(self, leaf: x509.Certificate, now: float) -> None:
        form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if leaf.public_key().public_bytes(*form) != self._key.public_key().public_bytes(*form):
            raise UnusableCertificate("the certificate is for another key")
        try:
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (
            x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError
        ) as error:  # fmt: skip
            raise UnusableCertificate("the certificate names nobody") from error
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        if uris != [str(self._identity)]:
            raise UnusableCertificate(f"the certificate is for {uris}, not for {self._identity}")
        start, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
        here = datetime.fromtimestamp(now, UTC)
        if start.timestamp() > now + CLOCK_TOLERANCE_S or end.timestamp() <= now:
            raise UnusableCertificate(
                f"the certificate is valid from {start:%Y-%m-%dT%H:%M:%SZ} to {end:%Y-%m-%dT%H:%M:%SZ}, but here it is "
                f"{here:%Y-%m-%dT%H:%M:%SZ}: is this machine's clock right?"
            )


def _issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def check_roots(pem: str) -> str:
    """The text, if it holds at least one certificate. Raises UnusableCertificate."""
    try:
        x509.load_pem_x509_certificates(pem.encode())
    except ValueError as error:
        raise UnusableCertificate(f"no PEM certificates: {error}") from error
    return pem
