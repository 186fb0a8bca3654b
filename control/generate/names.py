"""Names that proxies, people and dashboards know: clusters as Istio writes them, and the domains of a host."""

from control.ir.services import Service

BLACK_HOLE = "BlackHoleCluster"
"""Has no endpoints: where a route leads whose destination does not exist (503, flag UH)."""

ROOT_SECRET = "ROOTCA"  # noqa: S105  a name, not a secret
IDENTITY_SECRET = "default"  # noqa: S105
SYSTEM_SECRET = "file-root:system"  # noqa: S105
"""Istio's name for the authorities of the operating system."""
SDS_CLUSTER = "sds-grpc"
"""The agent's own SDS server; its resources are answered in the sidecar and never by the control plane."""


def outbound_cluster(host: str, port: int, subset: str = "") -> str:
    """`outbound|PORT|SUBSET|HOST`."""
    return f"outbound|{port}|{subset}|{host}"


def inbound_cluster(port: int) -> str:
    """`inbound|PORT||`."""
    return f"inbound|{port}||"


def sni(host: str, port: int, subset: str = "") -> str:
    """`outbound_.PORT_.SUBSET_.HOST`, as Istio asks for it."""
    return f"outbound_.{port}_.{subset}_.{host}"


def service_names(service: Service, client_namespace: str) -> list[str]:
    """The names under which a client of a namespace knows a service, shortest first."""
    if service.external:
        return [service.host]
    qualified = f"{service.name}.{service.namespace}"
    names = [qualified, f"{qualified}.svc", service.host]
    return [service.name, *names] if service.namespace == client_namespace else names
