"""What proxies trust. Their own keys and certificates are never the control plane's to send."""

from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from control.generate.names import ROOT_SECRET, SYSTEM_SECRET
from control.ir.settings import MeshSettings


def trust_anchors(settings: MeshSettings) -> Secret:
    """Every root that leaves may be signed by at present."""
    return _anchors(ROOT_SECRET, settings.root_pem)


def system_anchors(settings: MeshSettings) -> Secret:
    """Authorities that servers outside are checked against."""
    return _anchors(SYSTEM_SECRET, settings.system_roots_pem)


def _anchors(name: str, pem: str) -> Secret:
    secret = Secret(name=name)
    secret.validation_context.trusted_ca.inline_bytes = pem.encode()
    return secret
