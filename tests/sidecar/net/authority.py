"""A certificate authority for tests: makes good certificates, and bad ones in every way that one can be."""

import datetime
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from sidecar.config.secret import Certificate, TrustAnchors

NOW = datetime.datetime.now(datetime.UTC)
HOUR = datetime.timedelta(hours=1)


@dataclass
class Leaf:
    """How a leaf differs from a good one."""

    uris: tuple[str, ...] = ("spiffe://cluster.local/ns/default/sa/web",)
    dns: tuple[str, ...] = ()
    not_before: datetime.datetime = NOW - HOUR
    not_after: datetime.datetime = NOW + 24 * HOUR
    is_authority: bool = False
    usages: tuple[ObjectIdentifier, ...] = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
    unknown_critical: bool = False
    raw_uri: bytes | None = None
    """Octets of a URI name that the library would not write."""
    email: str | None = None


@dataclass
class Authority:
    """A self-signed root."""

    name: str = "Test root"
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def __post_init__(self) -> None:
        name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, self.name)])
        public = self.key.public_key()
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - HOUR)
            .not_valid_after(NOW + 24 * HOUR)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_key_usage(sign_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
            .sign(self.key, hashes.SHA256())
        )

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def anchors(self, name: str = "ROOTCA") -> TrustAnchors:
        return TrustAnchors(name, self.pem)

    def build(self, leaf: Leaf) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        key = ec.generate_private_key(ec.SECP256R1())
        public = key.public_key()
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in leaf.uris]
        names += [x509.DNSName(name) for name in leaf.dns]
        if leaf.email is not None:
            names.append(x509.RFC822Name(leaf.email))
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Leaf")]))
            .issuer_name(self.certificate.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(leaf.not_before)
            .not_valid_after(leaf.not_after)
            .add_extension(x509.BasicConstraints(ca=leaf.is_authority, path_length=None), critical=True)
            .add_extension(_key_usage(sign_certificates=leaf.is_authority), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if leaf.usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(leaf.usages), critical=False)
        if leaf.raw_uri is not None:
            name = b"\x86" + bytes([len(leaf.raw_uri)]) + leaf.raw_uri
            names_der = b"\x30" + bytes([len(name)]) + name
            unrecognized = x509.UnrecognizedExtension(ObjectIdentifier("2.5.29.17"), names_der)
            builder = builder.add_extension(unrecognized, critical=False)
        elif names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        if leaf.unknown_critical:
            unknown = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
            builder = builder.add_extension(unknown, critical=True)
        return builder.sign(self.key, hashes.SHA256()), key

    def issue(self, leaf: Leaf | None = None, name: str = "default") -> Certificate:
        certificate, key = self.build(leaf or Leaf())
        return Certificate(
            name,
            certificate.public_bytes(serialization.Encoding.PEM).decode(),
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ).decode(),
        )


def _key_usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )
