"""What proxies trust, and what gateways show to clients outside. Identities of the mesh are never sent: their keys stay
where they were made."""

from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from control.generate.names import ROOT_SECRET, SYSTEM_SECRET, credential_authorities, credential_secret
from control.ir.mesh import Credential
from control.ir.settings import MeshSettings


def trust_anchors(settings: MeshSettings) -> Secret:
    """Every root that leaves may be signed by at present."""
    return _anchors(ROOT_SECRET, settings.root_pem)


def system_anchors(settings: MeshSettings) -> Secret:
    """Authorities that servers outside are checked against."""
    return _anchors(SYSTEM_SECRET, settings.system_roots_pem)


def credential(name: str, found: Credential) -> tuple[Secret, ...]:
    """A certificate with its key, and whom clients' certificates must be of where that is said."""
    secret = Secret(name=credential_secret(name))
    secret.tls_certificate.certificate_chain.inline_bytes = found.chain_pem.encode()
    secret.tls_certificate.private_key.inline_bytes = found.key_pem.encode()
    if not found.authorities_pem:
        return (secret,)
    return secret, _anchors(credential_authorities(name), found.authorities_pem)


def _anchors(name: str, pem: str) -> Secret:
    secret = Secret(name=name)
    secret.validation_context.trusted_ca.inline_bytes = pem.encode()
    return secret
