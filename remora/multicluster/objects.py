"""What a cluster that joins has to have: an account that may read its members, and a token of it. What the mesh's own
cluster has to have: a Secret that tells of it. Pure.

The account reads what services are made of, and nothing else: no rule, no Secret, nothing that it could write.
"""

import base64
from collections.abc import Mapping
from typing import Any

import orjson

from control.kubernetes.resources import ApiResource
from control.stores.kubernetes.others import CONTROL_PLANE, KEY, LABEL, SHARED
from remora.install.names import SYSTEM_NAMESPACE, labels

READER = "remora-multicluster"
TOKEN_SECRET = "remora-multicluster-token"  # noqa: S105 - its name
COMPONENT = "multicluster"
_RBAC = "rbac.authorization.k8s.io"
_READ = ["list", "watch"]

Json = dict[str, Any]

NAMESPACES = ApiResource("", "v1", "namespaces", namespaced=False)
SECRETS = ApiResource("", "v1", "secrets")
RESOURCES: Mapping[str, ApiResource] = {
    "ServiceAccount": ApiResource("", "v1", "serviceaccounts"),
    "ClusterRole": ApiResource(_RBAC, "v1", "clusterroles", namespaced=False),
    "ClusterRoleBinding": ApiResource(_RBAC, "v1", "clusterrolebindings", namespaced=False),
    "Secret": SECRETS,
}


def reader_objects(*, shared: bool) -> list[Json]:
    """In the cluster that joins, in the order in which they are made. `shared`: it has no control plane of its own, and
    is asked about its pods' tokens."""
    rules: list[Json] = [
        {"apiGroups": [""], "resources": ["nodes", "pods", "services"], "verbs": _READ},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": _READ},
    ]
    if shared:
        rules.append({"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]})
    account = {"kind": "ServiceAccount", "name": READER, "namespace": SYSTEM_NAMESPACE}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _metadata(READER, namespaced=True)},
        {"apiVersion": f"{_RBAC}/v1", "kind": "ClusterRole", "metadata": _metadata(READER), "rules": rules},
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": _metadata(READER),
            "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": READER},
            "subjects": [account],
        },
        {
            # Kubernetes fills it in. One that does not expire: who renews one that does would have to be let in there.
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/service-account-token",
            "metadata": _metadata(TOKEN_SECRET, namespaced=True)
            | {"annotations": {"kubernetes.io/service-account.name": READER}},
        },
    ]


def system_namespace() -> Json:
    """Where there is none yet."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM_NAMESPACE}}


def kubeconfig(cluster: str, server: str, authority: bytes, token: str, server_name: str | None) -> bytes:
    """One context, one token. `authority` is PEM."""
    reached: Json = {"server": server, "certificate-authority-data": base64.b64encode(authority).decode()}
    if server_name:
        reached["tls-server-name"] = server_name
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster, "cluster": reached}],
        "users": [{"name": READER, "user": {"token": token}}],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": READER}}],
        "current-context": cluster,
    }
    return orjson.dumps(config)


def telling_secret(cluster: str, config: bytes, *, shared: bool) -> Json:
    """For the mesh's own cluster."""
    metadata: Json = {
        "name": f"remora-cluster-{cluster}",
        "namespace": SYSTEM_NAMESPACE,
        "labels": {**_labels(), LABEL: cluster},
    }
    if shared:
        metadata["annotations"] = {CONTROL_PLANE: SHARED}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": "Opaque",
        "data": {KEY: base64.b64encode(config).decode()},
    }


def _labels() -> dict[str, Any]:
    return labels(COMPONENT, READER)


def _metadata(name: str, *, namespaced: bool = False) -> Json:
    where = {"namespace": SYSTEM_NAMESPACE} if namespaced else {}
    return {"name": name, **where, "labels": _labels()}
