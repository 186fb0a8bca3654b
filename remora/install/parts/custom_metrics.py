"""The custom.metrics.k8s.io API: `remora custom-metrics` behind the API server's aggregation layer. Off unless asked
for."""

from collections.abc import Mapping
from typing import Any

from remora.install.expressions import All, Node, Ref, When
from remora.install.names import FIRST, SYSTEM_NAMESPACE, labels, metadata
from remora.install.parts import pods

COMPONENT, NAME, PORT = "custom-metrics", "remora-custom-metrics", 6443
SELECTOR: Mapping[str, Node] = {"app.kubernetes.io/name": NAME}
_READER = "remora-custom-metrics-reader"


def objects() -> list[Node]:
    """Its own account: it needs the API server's word on who asks, and nothing of the control plane's."""
    meta = metadata(COMPONENT, NAME)
    parts: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta, "automountServiceAccountToken": False},
        _binding("ClusterRoleBinding", "system:auth-delegator", NAME, None),
        _binding("RoleBinding", "extension-apiserver-authentication-reader", NAME, "kube-system"),
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": metadata(COMPONENT, _READER, namespaced=False),
            "rules": [{"apiGroups": ["custom.metrics.k8s.io"], "resources": ["*"], "verbs": ["get", "list"]}],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": metadata(COMPONENT, _READER, namespaced=False),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": _READER},
            "subjects": [{"kind": "ServiceAccount", "name": "horizontal-pod-autoscaler", "namespace": "kube-system"}],
        },
        _deployment(),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta,
            "spec": {
                "type": "ClusterIP",
                "selector": SELECTOR,
                "ports": [{"name": "https", "port": PORT, "targetPort": PORT, "protocol": "TCP"}],
            },
        },
        pods.budget(meta, SELECTOR),
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {**metadata(COMPONENT, "v1beta1.custom.metrics.k8s.io", namespaced=False)},
            "spec": {
                "group": "custom.metrics.k8s.io",
                "version": "v1beta1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "service": {"name": NAME, "namespace": SYSTEM_NAMESPACE, "port": PORT},
            },
        },
    ]
    return [When(All(FIRST, Ref("customMetrics.enabled")), each) for each in parts]


def _binding(kind: str, role: str, name: str, namespace: str | None) -> dict[str, Any]:
    meta = metadata(COMPONENT, name, namespaced=False)
    if namespace is not None:
        meta = {"name": name, "namespace": namespace, "labels": meta["labels"]}
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": meta,
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "Role" if kind == "RoleBinding" else "ClusterRole",
            "name": role,
        },
        "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": SYSTEM_NAMESPACE}],
    }


def _deployment() -> dict[str, Any]:
    probe = {"tcpSocket": {"port": PORT}, "periodSeconds": 10, "timeoutSeconds": 3}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(COMPONENT, NAME),
        "spec": {
            "replicas": Ref("customMetrics.replicas"),
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": SELECTOR},
            "template": {
                "metadata": {"labels": {**labels(COMPONENT, NAME), "sidecar.istio.io/inject": "false"}},
                "spec": {
                    "serviceAccountName": NAME,
                    "automountServiceAccountToken": True,
                    **pods.placed("customMetrics"),
                    "securityContext": pods.security(),
                    "topologySpreadConstraints": pods.spread(SELECTOR),
                    "containers": [
                        pods.container(
                            "custom-metrics",
                            ["custom-metrics", f"--listen=0.0.0.0:{PORT}"],
                            resources="customMetrics.resources",
                            ports=[{"name": "https", "containerPort": PORT}],
                            livenessProbe=probe,
                            readinessProbe=probe,
                            volumeMounts=[{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - the container's own
                        )
                    ],
                    "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}],
                },
            },
        },
    }
