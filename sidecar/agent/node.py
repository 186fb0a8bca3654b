"""Who this sidecar is, in the three forms that others read: ADS node, snapshot's node, peer metadata."""

import base64

from envoy.config.core.v3.base_pb2 import Node as XdsNode
from google.protobuf.struct_pb2 import Struct

from mesh.records import Workload
from sidecar.bootstrap import Bootstrap
from sidecar.config.snapshot import Node

USER_AGENT = "remora"
VERSION = "0.1.0"


def _labels(bootstrap: Bootstrap) -> dict[str, str]:
    labels = dict(bootstrap.labels)
    labels.setdefault("app", bootstrap.service or bootstrap.workload)
    if bootstrap.version is not None:
        labels.setdefault("version", bootstrap.version)
    return labels


def workload(bootstrap: Bootstrap) -> Workload:
    """Labels of metrics. Canonical service and revision as Istio finds them: own labels, then app and version."""
    labels = _labels(bootstrap)
    return Workload(
        name=bootstrap.workload,
        namespace=bootstrap.namespace,
        app=labels["app"],
        version=labels.get("version", "unknown"),
        canonical_service=labels.get("service.istio.io/canonical-name", bootstrap.service or labels["app"]),
        canonical_revision=labels.get("service.istio.io/canonical-revision", labels.get("version", "latest")),
        cluster=bootstrap.cluster_id,
        principal=str(bootstrap.identity),
    )


def _metadata(bootstrap: Bootstrap) -> Struct:
    metadata = Struct()
    pod = bootstrap.pod
    metadata.update(
        {
            "NAME": bootstrap.workload if pod is None else pod.name,
            "NAMESPACE": bootstrap.namespace,
            "WORKLOAD_NAME": bootstrap.workload,
            "LABELS": _labels(bootstrap),
            "CLUSTER_ID": bootstrap.cluster_id,
            "SERVICE_ACCOUNT": bootstrap.identity.service_account,
            "KIND": bootstrap.kind,
        }
    )
    if pod is not None:
        metadata["INSTANCE_IPS"] = pod.address
        metadata.update({key: value for key, value in (("REVISION", pod.revision), ("HOST_IP", pod.host)) if value})
    return metadata


def xds_node(bootstrap: Bootstrap) -> XdsNode:
    """For the first request of each ADS stream."""
    return XdsNode(
        id=bootstrap.node_id,
        cluster=f"{bootstrap.service or bootstrap.workload}.{bootstrap.namespace}",
        metadata=_metadata(bootstrap),
        user_agent_name=USER_AGENT,
        user_agent_version=VERSION,
    )


def snapshot_node(bootstrap: Bootstrap) -> Node:
    """For the workers."""
    return Node(bootstrap.node_id, workload(bootstrap), peer_metadata(bootstrap))


def span_resource(bootstrap: Bootstrap) -> dict[str, str]:
    """Attributes of the OpenTelemetry resource that the spans come from."""
    who = workload(bootstrap)
    return {
        "service.name": who.canonical_service,
        "service.namespace": who.namespace,
        "service.version": who.version,
        "service.instance.id": bootstrap.node_id,
        "remora.workload": who.name,
    }


def peer_metadata(bootstrap: Bootstrap) -> str:
    """`x-envoy-peer-metadata`: base64 of a Struct with the names that Istio's peer metadata has."""
    who = workload(bootstrap)
    metadata = Struct()
    metadata.update(
        {
            "NAME": who.name,
            "NAMESPACE": who.namespace,
            "WORKLOAD_NAME": who.name,
            "CLUSTER_ID": who.cluster,
            "LABELS": {
                "app": who.app,
                "version": who.version,
                "service.istio.io/canonical-name": who.canonical_service,
                "service.istio.io/canonical-revision": who.canonical_revision,
            },
        }
    )
    return base64.b64encode(metadata.SerializeToString(deterministic=True)).decode()
