"""What proxies trust. Their own keys and certificates are never the control plane's to send."""

from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from control.generate.names import ROOT_SECRET
from control.ir.settings import MeshSettings


def trust_anchors(settings: MeshSettings) -> Secret:
    """Every root that leaves may be signed by at present."""
    secret = Secret(name=ROOT_SECRET)
    secret.validation_context.trusted_ca.inline_bytes = settings.root_pem.encode()
    return secret
