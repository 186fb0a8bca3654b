"""The roots, as PEM and on disk: `root.key` signs, `root.pem` is trusted, `next.key` is there while rotating.

`root.pem` may hold several certificates; the one whose key is `root.key` is the signer. So one rename of `next.key`
over `root.key` changes the signer, and a crash leaves the old one or the new one, never neither.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from control.ca.errors import BrokenAuthority
from control.ca.sign import Signer, self_sign
from control.ca.template import Lifetimes, root_template
from mesh.files import NotPrivate, read_private, write_atomic

_CURVES = (ec.SECP256R1, ec.SECP384R1)


@dataclass(frozen=True, slots=True)
class Roots:
    """Who signs, who is trusted (the signer included), and who signs next while rotating."""

    signer: Signer
    trusted: tuple[x509.Certificate, ...]
    next: Signer | None = None

    @property
    def pem(self) -> str:
        """The trusted certificates, the signer's first."""
        return "".join(to_pem(certificate) for certificate in self.trusted)


def new_roots(trust_domain: str, *, now: float, lifetimes: Lifetimes) -> Roots:
    """The first ones of a mesh."""
    signer = _make(trust_domain, now, lifetimes)
    return Roots(signer, (signer.certificate,))


def introduced(roots: Roots, trust_domain: str, *, now: float, lifetimes: Lifetimes) -> Roots:
    """`roots` with a next one, trusted beside the present one."""
    made = _make(trust_domain, now, lifetimes)
    return replace(roots, trusted=(*roots.trusted, made.certificate), next=made)


def promoted(roots: Roots) -> Roots:
    """`roots` with the next one as signer; both stay trusted."""
    if roots.next is None:
        raise ValueError("there is no next root")
    others = (each for each in roots.trusted if each != roots.next.certificate)
    return Roots(roots.next, (roots.next.certificate, *others))


def retired(roots: Roots) -> Roots:
    """`roots` with the signer alone trusted."""
    return replace(roots, trusted=(roots.signer.certificate,), next=None)


def read_roots(key_pem: bytes, trusted_pem: bytes, next_key_pem: bytes, where: str) -> Roots:
    """Roots from what is stored of them; `next_key_pem` may be empty. Raises BrokenAuthority, which names `where`."""
    return _assemble(
        parse_key(key_pem, f"{where} root.key"),
        trusted_pem,
        parse_key(next_key_pem, f"{where} next.key") if next_key_pem else None,
        f"{where} root.key",
        f"{where} root.pem",
    )


def _assemble(
    key: ec.EllipticCurvePrivateKey,
    trusted_pem: bytes,
    next_key: ec.EllipticCurvePrivateKey | None,
    key_name: str,
    trusted_name: str,
) -> Roots:
    try:
        trusted = x509.load_pem_x509_certificates(trusted_pem)
    except ValueError as error:
        raise BrokenAuthority(f"{trusted_name} holds no certificates in PEM: {error}") from error
    signer = _matching(trusted, key)
    if signer is None:
        raise BrokenAuthority(f"{key_name} is not the key of any certificate in {trusted_name}")
    _check_authority(signer, trusted_name)
    following = None
    if next_key is not None:
        certificate = _matching(trusted, next_key)
        # Without its certificate the rotation had not begun for anyone else; it begins anew.
        following = Signer(certificate, next_key) if certificate is not None else None
    others = tuple(certificate for certificate in trusted if certificate != signer)
    return Roots(Signer(signer, key), (signer, *others), following)


def _make(trust_domain: str, now: float, lifetimes: Lifetimes) -> Signer:
    key = ec.generate_private_key(ec.SECP256R1())
    made = self_sign(root_template(trust_domain, key.public_key(), now=now, lifetimes=lifetimes), key)
    return Signer(made, key)


@dataclass(frozen=True, slots=True)
class RootFiles:
    """The directory `ca/` of the state directory."""

    directory: Path

    @property
    def _key(self) -> Path:
        return self.directory / "root.key"

    @property
    def _next_key(self) -> Path:
        return self.directory / "next.key"

    @property
    def certificates(self) -> Path:
        """`root.pem`."""
        return self.directory / "root.pem"

    def open(self, trust_domain: str, *, now: float, lifetimes: Lifetimes) -> Roots:
        """The roots as they are, made if there are none. Raises BrokenAuthority, OSError."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._key.exists():
            if self.certificates.exists():
                raise BrokenAuthority(
                    f"{self._key} is missing though {self.certificates} is there: restore the key, or remove "
                    f"{self.directory} to begin anew (every sidecar then needs a new certificate)"
                )
            _write_key(self._key, ec.generate_private_key(ec.SECP256R1()))
        key = _read_key(self._key)
        if not self.certificates.exists():
            # A crash between the two writes, or a lost file. The subject follows from the key, so what the key
            # signed before is continued by the certificate made now.
            made = self_sign(root_template(trust_domain, key.public_key(), now=now, lifetimes=lifetimes), key)
            write_atomic(self.certificates, to_pem(made).encode())
        return self._assemble(key)

    def _assemble(self, key: ec.EllipticCurvePrivateKey) -> Roots:
        next_key = _read_key(self._next_key) if self._next_key.exists() else None
        trusted = self.certificates.read_bytes()
        return _assemble(key, trusted, next_key, str(self._key), str(self.certificates))

    def introduce(self, roots: Roots, trust_domain: str, *, now: float, lifetimes: Lifetimes) -> Roots:
        """Make the next root and have it trusted beside the present one. Raises OSError."""
        changed = introduced(roots, trust_domain, now=now, lifetimes=lifetimes)
        assert changed.next is not None
        _write_key(self._next_key, changed.next.key)
        write_atomic(self.certificates, changed.pem.encode())
        return changed

    def promote(self, roots: Roots) -> Roots:
        """Sign with the next root from now on; both stay trusted. Raises OSError."""
        if roots.next is None:
            raise ValueError("there is no next root")
        self._next_key.replace(self._key)
        return self._assemble(roots.next.key)

    def retire(self, roots: Roots) -> Roots:
        """Trust the signer alone. Raises OSError."""
        changed = retired(roots)
        write_atomic(self.certificates, changed.pem.encode())
        return changed


def to_pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def key_to_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    write_atomic(path, key_to_pem(key), mode=0o600)


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        pem = read_private(path)
    except NotPrivate as error:
        raise BrokenAuthority(str(error)) from error
    return parse_key(pem, str(path))


def parse_key(pem: bytes, where: str) -> ec.EllipticCurvePrivateKey:
    """Raises BrokenAuthority, which names `where`."""
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        # The cause may quote what it could not parse: the message keeps to itself.
        raise BrokenAuthority(f"{where} holds no unencrypted private key in PEM") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, _CURVES):
        raise BrokenAuthority(f"{where} is not an ECDSA key on P-256 or P-384")
    return key


def _matching(certificates: list[x509.Certificate], key: ec.EllipticCurvePrivateKey) -> x509.Certificate | None:
    public = key.public_key()
    return next((each for each in certificates if each.public_key() == public), None)


def _check_authority(certificate: x509.Certificate, where: str) -> None:
    try:
        ca = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        signs = certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
        certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except (x509.ExtensionNotFound, ValueError) as error:
        raise BrokenAuthority(f"{where}: the signer's certificate lacks what an authority's needs: {error}") from error
    if not ca or not signs:
        raise BrokenAuthority(f"{where}: the signer's certificate is not an authority's (CA:TRUE, keyCertSign)")
