"""What holds for the whole mesh and comes from the control plane's own flags rather than from rules."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class MeshSettings:
    """Given once at start; only the trust anchors change, when a root is rotated."""

    trust_domain: str = "cluster.local"
    root_pem: str = field(default="", repr=False)
    """Certificates that every proxy trusts, PEM, one or more."""
    system_roots_pem: str = field(default="", repr=False)
    """Authorities that servers outside the mesh are checked against (DestinationRule tls SIMPLE), PEM."""
    sampling_percent: float = 1.0
    """Of requests that come without a decision; 0 to 100."""
    access_log: bool = True
    root_namespaces: tuple[str, ...] = ("remora-system", "istio-system")
    """Namespaces whose policies without a selector hold mesh-wide, the first that has one winning."""
    cluster_id: str = "laptop"
    allow_any: bool = True
    """Captured connections for nobody of the mesh go where they were going; otherwise nowhere (Istio's
    `outboundTrafficPolicy`, ALLOW_ANY and REGISTRY_ONLY)."""
