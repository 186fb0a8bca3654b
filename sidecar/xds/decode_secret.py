"""SDS `Secret` -> Certificate or TrustAnchors. PEM is parsed here, so that the worker never meets a broken one."""

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from sidecar.config.secret import Certificate, TrustAnchors
from sidecar.xds.fields import Fields
from sidecar.xds.needs import Decoding


def decode_secret(fields: Fields, decoding: Decoding) -> Certificate | TrustAnchors:
    name = fields.text("name")
    kind = fields.which("type")
    if kind == "validation_context":
        return _decode_anchors(name, fields.must("validation_context"))
    if kind == "tls_certificate":
        return _decode_certificate(name, fields.must("tls_certificate"))
    raise fields.reject(kind or "", "only `validation_context` and `tls_certificate` are supported")


def _decode_anchors(name: str, fields: Fields) -> TrustAnchors:
    pem = _inline(fields.must("trusted_ca"))
    try:
        x509.load_pem_x509_certificates(pem.encode())
    except ValueError as error:
        raise fields.reject("trusted_ca", f"holds no PEM certificates: {error}") from error
    return TrustAnchors(name, pem)


def _decode_certificate(name: str, fields: Fields) -> Certificate:
    chain = _inline(fields.must("certificate_chain"))
    key = _inline(fields.must("private_key"))
    try:
        leaf = x509.load_pem_x509_certificates(chain.encode())[0]
    except ValueError as error:
        raise fields.reject("certificate_chain", f"holds no PEM certificates: {error}") from error
    try:
        private = load_pem_private_key(key.encode(), password=None)
    except (ValueError, TypeError) as error:
        # The library's message is left out: it must never quote a key.
        raise fields.reject("private_key", "is not an unencrypted private key in PEM") from error
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*form) != leaf.public_key().public_bytes(*form):
        raise fields.reject("private_key", "does not belong to the certificate")
    return Certificate(name, chain, key)


def _inline(fields: Fields) -> str:
    """A `DataSource` with its content in place; files and environment variables are not read."""
    kind = fields.which("specifier")
    if kind == "inline_string":
        return fields.text("inline_string")
    if kind == "inline_bytes":
        data: bytes = fields.value("inline_bytes")
        try:
            return data.decode("ascii")
        except UnicodeDecodeError:
            raise fields.reject("inline_bytes", "is not PEM text") from None
    raise fields.reject("", "only inline_string and inline_bytes are supported")
