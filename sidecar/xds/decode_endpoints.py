"""EDS `ClusterLoadAssignment` -> endpoints."""

from mesh.records import Workload
from sidecar.config.cluster import Cluster
from sidecar.config.endpoint import Endpoint
from sidecar.xds.decode_addresses import decode_address
from sidecar.xds.fields import Fields
from sidecar.xds.metadata import namespace_texts
from sidecar.xds.needs import Decoding, LoadAssignment

_HEALTHY = {"UNKNOWN": True, "HEALTHY": True, "DEGRADED": True}
_UNHEALTHY = {"UNHEALTHY": False, "DRAINING": False, "TIMEOUT": False}


MAX_PRIORITY = 128
"""Envoy's."""


def decode_load_assignment(fields: Fields, decoding: Decoding) -> LoadAssignment:
    name = fields.text("cluster_name")
    return decode_endpoints(fields, name)


def decode_endpoints(fields: Fields, name: str, *, host_names: bool = False) -> LoadAssignment:
    """A ClusterLoadAssignment, whatever its localities: those of one priority are one set."""
    endpoints: list[Endpoint] = []
    for locality in fields.children("endpoints"):
        # The locality's weight counts in Envoy only where the cluster asks for locality-weighted balancing, which the
        # cluster's decoder rejects.
        locality.informational("locality", "load_balancing_weight")
        priority: int = locality.value("priority")
        if priority > MAX_PRIORITY:
            raise locality.reject("priority", f"must be at most {MAX_PRIORITY}")
        endpoints += [_decode_endpoint(each, host_names, priority) for each in locality.children("lb_endpoints")]
    return LoadAssignment(name, tuple(endpoints), _decode_overprovisioning(fields))


def _decode_overprovisioning(fields: Fields) -> int:
    default = Cluster("").overprovisioning_percent
    policy = fields.child("policy")
    if policy is None:
        return default
    if policy.value("weighted_priority_health"):
        raise policy.reject("weighted_priority_health", "is not supported: endpoints count one each")
    factor: int = policy.wrapped("overprovisioning_factor", default)
    if factor < 1:
        raise policy.reject("overprovisioning_factor", "must be at least 1")
    return factor


def _decode_endpoint(fields: Fields, host_names: bool, priority: int) -> Endpoint:
    endpoint = fields.must("endpoint")
    address = decode_address(endpoint.must("address"), host_name=host_names)
    if address.port == 0:
        raise endpoint.reject("address.socket_address.port_value", "must not be 0")
    endpoint.informational("hostname")  # used by active health checks and auto_host_rewrite, both rejected
    weight = fields.wrapped("load_balancing_weight", 1)
    if weight < 1:
        raise fields.reject("load_balancing_weight", "must be at least 1")
    status = fields.only("health_status", (*_HEALTHY, *_UNHEALTHY))
    tls_mode = namespace_texts(fields, "envoy.transport_socket_match").get("tlsMode")
    principal = namespace_texts(fields, "remora").get("principal", "unknown")
    workload = _decode_workload(fields, namespace_texts(fields, "istio").get("workload", ""), principal)
    return Endpoint(address, weight, status in _HEALTHY, tls_mode == "istio", workload, priority)


def _decode_workload(fields: Fields, text: str, principal: str) -> Workload:
    """Istio's `WORKLOAD;NAMESPACE;CANONICAL-SERVICE;CANONICAL-REVISION;CLUSTER`; the label `app` is the third where
    the control plane gives it, as ours does."""
    if not text:
        return Workload(principal=principal)
    parts = text.split(";")
    if len(parts) != 5:
        raise fields.reject("metadata.filter_metadata[istio].workload", f"{text[:100]!r} has not five parts")
    name, namespace, app, version, cluster = (part or "unknown" for part in parts)
    return Workload(
        name=name,
        namespace=namespace,
        app=app,
        version=version,
        canonical_service=app,
        canonical_revision=version if version != "unknown" else "latest",
        cluster=cluster,
        principal=principal,
    )
