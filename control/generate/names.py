"""Names that proxies, people and dashboards know: clusters as Istio writes them, and the domains of a host."""

from collections.abc import Container

from control.ir.services import Service

BLACK_HOLE = "BlackHoleCluster"
"""Has no endpoints: where a route leads whose destination does not exist (503, flag UH)."""

PASSTHROUGH = "PassthroughCluster"
"""Where captured connections go that are for nobody of the mesh: to where they were going."""

INBOUND_PASSTHROUGH = "InboundPassthroughCluster"
"""The same for connections to ports of the workload that nobody has declared."""

ROOT_SECRET = "ROOTCA"  # noqa: S105  a name, not a secret
IDENTITY_SECRET = "default"  # noqa: S105
SYSTEM_SECRET = "file-root:system"  # noqa: S105
"""Istio's name for the authorities of the operating system."""
SDS_CLUSTER = "sds-grpc"
"""The agent's own SDS server; its resources are answered in the sidecar and never by the control plane."""


def outbound_cluster(host: str, port: int, subset: str = "") -> str:
    """`outbound|PORT|SUBSET|HOST`."""
    return f"outbound|{port}|{subset}|{host}"


def relayed_cluster(host: str, port: int, subset: str = "") -> str:
    """The same for connections to a port whose protocol nobody has said: their ALPN is another than requests'."""
    return f"outbound_tcp|{port}|{subset}|{host}"


def assignment_name(cluster: str) -> str:
    """Of the EDS resource that has a cluster's endpoints: relayed connections go where requests go."""
    return cluster.replace("outbound_tcp|", "outbound|", 1) if cluster.startswith("outbound_tcp|") else cluster


def instance_cluster(host: str, port: int, address: str) -> str:
    """One instance of a headless service, `outbound|PORT|@ADDRESS|HOST`; no subset has such a name."""
    return outbound_cluster(host, port, f"@{address}")


def instance_relayed_cluster(host: str, port: int, address: str) -> str:
    """The same for connections to a port whose protocol nobody has said."""
    return relayed_cluster(host, port, f"@{address}")


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


def full_host(host: str, namespace: str, services: Container[str]) -> str:
    """The service that a workload of a namespace means by `host`: its own namespace's comes first."""
    for name in (f"{host}.{namespace}.svc.cluster.local", host, f"{host}.svc.cluster.local", f"{host}.cluster.local"):
        if name in services:
            return name
    return host


def within(host: str, pattern: str) -> bool:
    """Whether `host`, itself perhaps a wildcard, lies within `pattern`."""
    if pattern in ("*", host):
        return True
    return pattern.startswith("*.") and host.removeprefix("*").endswith(pattern[1:])


def credential_secret(name: str) -> str:
    """A Secret of the gateway's own namespace, as Istio names it."""
    return f"kubernetes://{name}"


def credential_authorities(name: str) -> str:
    """Whom clients' certificates must be of, from the same Secret."""
    return f"kubernetes://{name}-cacert"
