"""Check a certificate: the one that we are about to give out, and the one that a peer shows us.

The first is a second pair of eyes on template and sign. The second is for peers whose TLS handshake has succeeded
already: that proves the chain; what it means is decided here (X509-SVID section 5).
"""

from collections.abc import Iterable

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID

from control.ca.template import Lifetimes, instant, names_of
from mesh.spiffe import InvalidSpiffeId, SpiffeId


class NotTrusted(Exception):
    """The certificate is not what it has to be; the message says why, for the log."""


def check_issued(
    certificate: x509.Certificate,
    identity: SpiffeId,
    signer: x509.Certificate,
    lifetimes: Lifetimes,
    hosts: tuple[str, ...] = (),
) -> None:
    """Raises NotTrusted unless `certificate` is exactly what `identity` may have."""
    if _names(certificate) != set(names_of(identity, hosts)):
        raise NotTrusted(f"its names are not those of {identity}")
    _check_leaf_usage(certificate)
    if certificate.not_valid_after_utc > signer.not_valid_after_utc:
        raise NotTrusted("it outlives its signer")
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    if life.total_seconds() > lifetimes.leaf_s + lifetimes.backdate_s:
        raise NotTrusted(f"it lives for {life}")
    if not _issued_by(certificate, [signer]):
        raise NotTrusted("its signer did not sign it")


def check_peer(
    certificate: x509.Certificate, trust_domain: str, anchors: Iterable[x509.Certificate], now: float
) -> SpiffeId:
    """Who the peer is. Raises NotTrusted.

    Signature and time are checked again although TLS did: a session may have been resumed, and a stream may
    outlive its handshake.
    """
    if not certificate.not_valid_before_utc <= instant(now) < certificate.not_valid_after_utc:
        raise NotTrusted(
            f"it is valid from {certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ} to "
            f"{certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}, now is {instant(now):%Y-%m-%dT%H:%M:%SZ}"
        )
    if not _issued_by(certificate, anchors):
        raise NotTrusted("no root of this mesh signed it")
    _check_leaf_usage(certificate)
    uris = [name.value for name in _names(certificate) if isinstance(name, x509.UniformResourceIdentifier)]
    if len(uris) != 1:
        raise NotTrusted(f"it has {len(uris)} URI names; a SPIFFE certificate has exactly one")
    try:
        identity = SpiffeId.parse(uris[0])
    except InvalidSpiffeId as error:
        raise NotTrusted(str(error)) from error
    if identity.trust_domain != trust_domain:
        raise NotTrusted(f"{identity} is not of trust domain {trust_domain}")
    return identity


def _issued_by(certificate: x509.Certificate, anchors: Iterable[x509.Certificate]) -> bool:
    for anchor in anchors:
        try:
            certificate.verify_directly_issued_by(anchor)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            continue
        return True
    return False


def _names(certificate: x509.Certificate) -> set[x509.GeneralName]:
    try:
        return set(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except (x509.ExtensionNotFound, x509.UnsupportedGeneralNameType, ValueError) as error:
        raise NotTrusted("it has no readable subject alternative name") from error


def _check_leaf_usage(certificate: x509.Certificate) -> None:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        if constraints.ca or usage.key_cert_sign or usage.crl_sign:
            raise NotTrusted("it is a certificate authority's")
        extended = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError) as error:
        raise NotTrusted("basicConstraints, keyUsage and extendedKeyUsage are not all there") from error
    if not usage.digital_signature:
        raise NotTrusted("its key is not for signatures")
    if not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH} <= set(extended):
        raise NotTrusted("it is not for both ends of a connection")
