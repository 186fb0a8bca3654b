"""The certificate that the API server finds here, and the bundle by which it knows it.

Each replica is its own authority, made at its start and never written anywhere: nobody has to keep a key, and there is
nothing to renew. It adds its root to the APIService's `caBundle`, where those of other replicas stay.
"""

import asyncio
import base64
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from control.kubernetes.client import MERGE_PATCH, KubeClient
from control.kubernetes.errors import ApiError
from control.kubernetes.resources import ApiResource
from remora.custom_metrics.api import GROUP, VERSIONS

_log = logging.getLogger("remora.custom_metrics")

API_SERVICES: Final = ApiResource("apiregistration.k8s.io", "v1", "apiservices", namespaced=False)
NAME: Final = "remora-custom-metrics"
LIFETIME: Final = timedelta(days=3650)
"""As long as no process lives: roots of replicas that are gone leave the bundle because it keeps MAX_ROOTS."""
MAX_ROOTS: Final = 8
LOOK_EVERY_S: Final = 15.0
"""An APIService that was applied anew, without a bundle, works again this soon."""
_EARLIER: Final = timedelta(minutes=10)
"""Clocks differ."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A root and what it signed; PEM."""

    root: str
    chain: str
    key: str


def make(names: Sequence[str], now: float) -> Certificate:
    """For a server of these DNS names."""
    begins = datetime.fromtimestamp(now, UTC) - _EARLIER
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    root = (
        _builder(issuer, issuer, root_key.public_key(), begins)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    leaf = (
        _builder(subject, issuer, key.public_key(), begins)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem = serialization.Encoding.PEM
    return Certificate(root.public_bytes(pem).decode(), leaf.public_bytes(pem).decode(), private.decode())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, begins: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs, key_cert_sign=signs, crl_sign=signs, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def joined(bundle: str, root: str) -> str:
    """The bundle with `root` in it: as it was if it is there, else behind the newest of the others. `bundle` is base64,
    perhaps empty; what cannot be read of it is dropped."""
    try:
        roots = x509.load_pem_x509_certificates(base64.b64decode(bundle, validate=True)) if bundle else []
    except ValueError:
        roots = []
    pem = [one.public_bytes(serialization.Encoding.PEM).decode() for one in roots]
    if root in pem:
        return bundle
    return base64.b64encode("".join([*pem[-(MAX_ROOTS - 1) :], root]).encode()).decode()


class Bundles:
    """Keeps our root in the APIServices. `run` in a task."""

    def __init__(self, client: KubeClient, root: str) -> None:
        self._client = client
        self._root = root
        self._said: dict[str, str] = {}
        self.known = asyncio.Event()
        """Set once the API server has our root."""

    async def run(self) -> None:
        """For ever."""
        while True:
            for version in VERSIONS:
                await self._keep(f"{version}.{GROUP}")
            await asyncio.sleep(LOOK_EVERY_S)

    async def _keep(self, name: str) -> None:
        try:
            found = await self._client.find(API_SERVICES, name)
            if found is None:
                return  # not every installation registers every version
            bundle = str(found["spec"].get("caBundle") or "")
            wanted = joined(bundle, self._root)
            if wanted != bundle:
                # With the version that was read: another replica may add its own at the same moment.
                version = found["metadata"]["resourceVersion"]
                patch = {"metadata": {"resourceVersion": version}, "spec": {"caBundle": wanted}}
                await self._client.patch(API_SERVICES, name, patch, content_type=MERGE_PATCH)
                _log.info("APIService %s knows this process's certificate", name)
        except ApiError as error:
            if not error.conflict and self._said.get(name) != str(error):
                self._said[name] = str(error)
                _log.error("the API server cannot be told of our certificate: %s", error)
            return
        self._said.pop(name, None)
        self.known.set()
