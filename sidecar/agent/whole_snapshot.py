"""What the workers serve: the control plane's configuration and what the agent itself has to add, its own secrets."""

from sidecar.agent.file_secrets import read_secrets
from sidecar.agent.identity import Identity
from sidecar.config.secret import Certificate, TrustAnchors
from sidecar.config.snapshot import Node, Snapshot
from sidecar.xds.configuration import Configuration
from sidecar.xds.decode_tls import LOCAL_ANCHORS, LOCAL_CERTIFICATE


def whole_snapshot(configuration: Configuration, node: Node, identity: Identity) -> Snapshot:
    """Raises UnreadableSecret."""
    certificates = configuration.certificates
    issued = identity.issued
    if issued is not None:
        certificates = (*certificates, Certificate(LOCAL_CERTIFICATE, issued.chain_pem, issued.key_pem))
    anchors = configuration.trust_anchors
    if all(each.name != LOCAL_ANCHORS for each in anchors):
        anchors = (*anchors, TrustAnchors(LOCAL_ANCHORS, identity.roots_pem))
    of_files = read_secrets(configuration.listeners)
    return Snapshot(
        configuration.version,
        node,
        configuration.listeners,
        configuration.routes,
        configuration.clusters,
        (*certificates, *of_files[0]),
        (*anchors, *of_files[1]),
    )
