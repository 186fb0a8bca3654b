"""Certificates for the systems that have no authority of their own: ECDSA P-256, as ours."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NAMES = ("client", "server")
TRUST_DOMAIN = "cluster.local"


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files: NAME.pem (leaf), NAME.key, NAME.both (for HAProxy), root.pem."""

    directory: Path

    @property
    def root(self) -> str:
        return str(self.directory / "root.pem")

    def chain(self, name: str) -> str:
        return str(self.directory / f"{name}.pem")

    def key(self, name: str) -> str:
        return str(self.directory / f"{name}.key")

    def both(self, name: str) -> str:
        return str(self.directory / f"{name}.both")


def spiffe_id(name: str) -> str:
    return f"spiffe://{TRUST_DOMAIN}/ns/bench/sa/{name}"


def dns_name(name: str) -> str:
    return f"{name}.bench.svc.cluster.local"


def make_certificates(directory: Path) -> Certificates:
    """A root and a leaf for each of NAMES, good for a day."""
    now = datetime.now(UTC)
    root_key = ec.generate_private_key(ec.SECP256R1())
    root_name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "bench")])
    root = (
        _builder(root_name, root_name, root_key, now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    (directory / "root.pem").write_bytes(root.public_bytes(serialization.Encoding.PEM))
    for name in NAMES:
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.UniformResourceIdentifier(spiffe_id(name)), x509.DNSName(dns_name(name))]
        leaf = (
            _builder(x509.Name([]), root_name, key, now)
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .sign(root_key, hashes.SHA256())
        )
        chain = leaf.public_bytes(serialization.Encoding.PEM)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (directory / f"{name}.pem").write_bytes(chain)
        for file, content in ((f"{name}.key", private), (f"{name}.both", chain + private)):
            path = directory / file
            path.touch(0o600)
            path.write_bytes(content)
    return Certificates(directory)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
    )
