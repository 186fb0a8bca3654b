"""Turn a template into a certificate. Knows nothing of who may have one."""

from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from control.ca.template import Template


@dataclass(frozen=True, slots=True)
class Signer:
    """A root and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)


def sign(template: Template, signer: Signer) -> x509.Certificate:
    """A certificate under `signer`, with a random serial number of 159 bits (RFC 5280 4.1.2.2)."""
    issuer_key_id = signer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return (
        _builder(template)
        .issuer_name(signer.certificate.subject)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_key_id),
            critical=False,
        )
        .sign(signer.key, _hash_for(signer.key))
    )


def self_sign(template: Template, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """A root."""
    return _builder(template).issuer_name(template.subject).sign(key, _hash_for(key))


def _builder(template: Template) -> x509.CertificateBuilder:
    builder = (
        x509.CertificateBuilder()
        .subject_name(template.subject)
        .public_key(template.public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(template.not_before)
        .not_valid_after(template.not_after)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(template.public_key), critical=False)
    )
    for extension, critical in template.extensions:
        builder = builder.add_extension(extension, critical)
    return builder


def _hash_for(key: ec.EllipticCurvePrivateKey) -> hashes.SHA256 | hashes.SHA384:
    return hashes.SHA256() if key.curve.key_size <= 256 else hashes.SHA384()
