"""Read a certificate signing request and decide whether its key may be certified. Nothing else of it is ever used.

What a request asks for beyond its key is compared, not copied:

| in the request | answer |
| --- | --- |
| signature that does not verify, or over SHA-1 or MD5 | refused |
| key other than ECDSA P-256 or P-384, or RSA of 2048 to 4096 bits | refused |
| basicConstraints CA:TRUE, keyUsage keyCertSign or cRLSign | refused |
| a subject alternative name that the sender's certificate would not have anyway | refused |
| subject, other extensions, attributes | ignored |

RSA is there because Istio's agent uses it unless told otherwise.
"""

from collections.abc import Collection

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from control.ca.errors import RefusedRequest

MAX_REQUEST_BYTES = 16 * 1024
"""A request with a 4096-bit RSA key takes less than 3 KiB."""

_CURVES = (ec.SECP256R1, ec.SECP384R1)
_MIN_RSA_BITS = 2048
_MAX_RSA_BITS = 4096
"""Verifying a larger key costs the whole mesh."""

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


def parse_request(pem: str) -> x509.CertificateSigningRequest:
    """Raises RefusedRequest."""
    if len(pem) > MAX_REQUEST_BYTES:
        raise RefusedRequest(f"the request has {len(pem)} bytes, more than {MAX_REQUEST_BYTES}")
    try:
        return x509.load_pem_x509_csr(pem.encode())
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise RefusedRequest("the request is not a PKCS #10 request in PEM") from error


def check_request(request: x509.CertificateSigningRequest, allowed_names: Collection[x509.GeneralName]) -> PublicKey:
    """The key to certify. `allowed_names` are the subject alternative names that the certificate will have.

    Raises RefusedRequest.
    """
    key = _check_key(request)
    _check_signature(request)
    try:
        extensions = request.extensions
        for extension in extensions:
            _check_extension(extension.value, allowed_names)
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise RefusedRequest("the request's extensions are malformed") from error
    return key


def _check_key(request: x509.CertificateSigningRequest) -> PublicKey:
    try:
        key = request.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise RefusedRequest("the request's key is of an unknown type or malformed") from error
    if isinstance(key, ec.EllipticCurvePublicKey):
        if not isinstance(key.curve, _CURVES):
            raise RefusedRequest(f"the key is on curve {key.curve.name}; use P-256 or P-384")
        return key
    if isinstance(key, rsa.RSAPublicKey):
        if not _MIN_RSA_BITS <= key.key_size <= _MAX_RSA_BITS:
            raise RefusedRequest(f"the RSA key has {key.key_size} bits; use {_MIN_RSA_BITS} to {_MAX_RSA_BITS}")
        if key.public_numbers().e < 65537:
            raise RefusedRequest("the RSA key's exponent is below 65537")
        return key
    raise RefusedRequest("the key is neither ECDSA nor RSA")


def _check_signature(request: x509.CertificateSigningRequest) -> None:
    try:
        weak = isinstance(request.signature_hash_algorithm, hashes.SHA1 | hashes.MD5)
        valid = not weak and request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm, InvalidSignature):
        valid = False
    if not valid:
        raise RefusedRequest("the request's signature is not valid, or is made over SHA-1 or MD5")


def _check_extension(value: x509.ExtensionType, allowed_names: Collection[x509.GeneralName]) -> None:
    match value:
        case x509.BasicConstraints(ca=True):
            raise RefusedRequest("the request asks for a certificate authority (basicConstraints CA:TRUE)")
        case x509.KeyUsage() if value.key_cert_sign or value.crl_sign:
            raise RefusedRequest("the request asks to sign certificates (keyUsage keyCertSign or cRLSign)")
        case x509.SubjectAlternativeName():
            for name in value:
                if name not in allowed_names:
                    raise RefusedRequest(
                        f"the request names {str(name.value)[:200]!r}, which its sender has not proven to be"
                    )
