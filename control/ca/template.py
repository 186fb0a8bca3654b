"""What stands in a certificate, before anyone signs it: names, times, usages. Follows RFC 5280 and X509-SVID.

Everything about the holder comes from its proven identity; of its request only the key is taken.
"""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from control.ca.errors import LifetimeTooLong, RefusedRequest, SignerExpired
from control.ca.request import PublicKey
from mesh.spiffe import SpiffeId

SYSTEM_NAMESPACE = "remora-system"
"""Home of the mesh's own components. Only an administrator gives out tokens for it."""

CONTROL_ACCOUNT = "remora-control"


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long certificates are good for."""

    leaf_s: float = 24 * 3600
    """Given when none is asked for, and the most that is given."""
    root_s: float = 10 * 365 * 24 * 3600
    backdate_s: float = 60
    """A certificate is valid from this long ago, for clocks that are behind."""


DEFAULT_LIFETIMES = Lifetimes()


@dataclass(frozen=True, slots=True)
class Template:
    """A certificate but for serial number, issuer and signature."""

    public_key: PublicKey
    subject: x509.Name
    not_before: datetime
    not_after: datetime
    extensions: tuple[tuple[x509.ExtensionType, bool], ...]
    """With whether each is critical. Key identifiers are the signer's to add."""


def names_of(identity: SpiffeId, hosts: tuple[str, ...] = ()) -> tuple[x509.GeneralName, ...]:
    """Subject alternative names: the SPIFFE URI, for the mesh's components also what their clients dial. `hosts` are
    further DNS names, of this process itself."""
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(str(identity))]
    if identity.namespace == SYSTEM_NAMESPACE:
        host = f"{identity.service_account}.{identity.namespace}.svc"
        if all(0 < len(label) <= 63 for label in host.split(".")) and len(host) <= 253:
            names.append(x509.DNSName(host))
        if identity.service_account == CONTROL_ACCOUNT:
            names += [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    names += [each for each in map(x509.DNSName, hosts) if each not in names]
    return tuple(names)


def leaf_template(
    identity: SpiffeId,
    public_key: PublicKey,
    *,
    wish_s: float,
    now: float,
    lifetimes: Lifetimes,
    signer: x509.Certificate,
    hosts: tuple[str, ...] = (),
) -> Template:
    """A workload's certificate. `wish_s` 0 leaves the lifetime to us; either way the signer's end caps it.

    Raises LifetimeTooLong, RefusedRequest (negative lifetime), SignerExpired.
    """
    if wish_s < 0:
        raise RefusedRequest(f"a lifetime of {wish_s} s was asked for")
    if wish_s > lifetimes.leaf_s:
        raise LifetimeTooLong(f"a lifetime of {wish_s} s was asked for; the most is {lifetimes.leaf_s:.0f} s")
    start = instant(now)
    if not signer.not_valid_before_utc <= start < signer.not_valid_after_utc:
        raise SignerExpired(
            f"the root is valid from {signer.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ} "
            f"to {signer.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}, now is {start:%Y-%m-%dT%H:%M:%SZ}"
        )
    backdated = start - timedelta(seconds=lifetimes.backdate_s)
    return Template(
        public_key=public_key,
        subject=x509.Name([]),
        not_before=max(backdated, signer.not_valid_before_utc),
        not_after=min(start + timedelta(seconds=wish_s or lifetimes.leaf_s), signer.not_valid_after_utc),
        extensions=(
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (_usage(digital_signature=True), True),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False),
            # Critical, since the subject is empty (RFC 5280 4.1.2.6).
            (x509.SubjectAlternativeName(names_of(identity, hosts)), True),
        ),
    )


def root_template(trust_domain: str, key: ec.EllipticCurvePublicKey, *, now: float, lifetimes: Lifetimes) -> Template:
    """A self-signed authority for `trust_domain`.

    The same key always gives the same subject, so that a certificate made anew for it continues the chain of what it
    signed; another key gives another, so that two roots are told apart."""
    start = instant(now)
    fingerprint = x509.SubjectKeyIdentifier.from_public_key(key).digest.hex()
    return Template(
        public_key=key,
        subject=x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Remora"),
                x509.NameAttribute(NameOID.COMMON_NAME, f"Remora root {fingerprint[:16]}"),
            ]
        ),
        not_before=start - timedelta(seconds=lifetimes.backdate_s),
        not_after=start + timedelta(seconds=lifetimes.root_s),
        extensions=(
            (x509.BasicConstraints(ca=True, path_length=0), True),
            (_usage(key_cert_sign=True, crl_sign=True), True),
            # X509-SVID section 4.1: a signing certificate may carry its trust domain's id.
            (x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{trust_domain}")]), False),
        ),
    )


def instant(now: float) -> datetime:
    """Certificates know whole seconds."""
    return datetime.fromtimestamp(int(now), UTC)


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )
