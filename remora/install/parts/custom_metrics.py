"""The custom.metrics.k8s.io API: `remora custom-metrics` behind the API server's aggregation layer. Off unless asked
for.

With a Prometheus to ask it is a Deployment of its own; else it stands beside the collector, in its pod, and reads its
store.
"""

from collections.abc import Mapping
from typing import Any

from remora.install.expressions import All, Concat, Node, Not, Ref, When
from remora.install.names import (
    COLLECTOR,
    CUSTOM_METRICS_PORT,
    FIRST,
    PROCESS_UID,
    SYSTEM_NAMESPACE,
    labels,
    metadata,
)
from remora.install.parts import pods

COMPONENT, NAME = "custom-metrics", "remora-custom-metrics"
_CLIENTS = "extension-apiserver-authentication-reader"
"""Kubernetes' own Role: whom the aggregation layer sends."""
_AUTOSCALER = "remora-custom-metrics-reader"
VERSIONS = ("v1beta1", "v1beta2")
SELECTOR: Mapping[str, Node] = {"app.kubernetes.io/name": NAME}
WANTED = All(FIRST, Ref("customMetrics.enabled"))
APART = Ref("customMetrics.prometheus")
"""Whether it has pods of its own."""
BESIDE_THE_COLLECTOR = All(WANTED, Not(APART))
_ACCOUNT = When(APART, NAME, COLLECTOR)
_RBAC = "rbac.authorization.k8s.io"


def objects() -> list[Node]:
    """What it may do is its own: nothing of the control plane's."""
    meta = metadata(COMPONENT, NAME)
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta, "automountServiceAccountToken": False}
    apart: list[Node] = [account, _deployment(), pods.budget(meta, SELECTOR)]
    always: list[Node] = [
        _role(NAME, own_rules()),
        _binding("ClusterRoleBinding", "ClusterRole", NAME, _ACCOUNT, SYSTEM_NAMESPACE),
        _binding(
            "RoleBinding",
            "Role",
            "extension-apiserver-authentication-reader",
            _ACCOUNT,
            SYSTEM_NAMESPACE,
            "kube-system",
        ),
        _role(_AUTOSCALER, [{"apiGroups": ["custom.metrics.k8s.io"], "resources": ["*"], "verbs": ["get", "list"]}]),
        _binding("ClusterRoleBinding", "ClusterRole", _AUTOSCALER, "horizontal-pod-autoscaler", "kube-system"),
        _service(),
        *map(_api, VERSIONS),
    ]
    return [*(When(All(WANTED, APART), each) for each in apart), *(When(WANTED, each) for each in always)]


def own_rules() -> list[Node]:
    """Whose metrics are asked for by a selector, and the caBundle by which the API server knows it."""
    names = [f"{version}.custom.metrics.k8s.io" for version in VERSIONS]
    return [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
        {
            "apiGroups": ["apiregistration.k8s.io"],
            "resources": ["apiservices"],
            "resourceNames": names,
            "verbs": ["get", "patch"],
        },
    ]


def container() -> dict[str, Any]:
    """Of either pod. Its certificate is made at its start, in memory."""
    # It talks to the API server's client alone, by certificate: only the port can be asked by others.
    probe = {"tcpSocket": {"port": CUSTOM_METRICS_PORT}, "periodSeconds": 10, "timeoutSeconds": 3}
    return pods.container(
        "custom-metrics",
        [
            "custom-metrics",
            f"--listen=0.0.0.0:{CUSTOM_METRICS_PORT}",
            When(APART, Concat("--prometheus=", APART), f"--state={pods.STATE}"),
        ],
        resources="customMetrics.resources",
        ports=[{"name": "https-metrics", "containerPort": CUSTOM_METRICS_PORT}],
        livenessProbe=probe,
        readinessProbe=probe,
        volumeMounts=[
            # Read-only does: SQLite's WAL index is there while the collector writes, and without it nothing is new.
            When(Not(APART), {"name": "state", "mountPath": pods.STATE, "readOnly": True}),
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the container's own
        ],
    )


def _role(name: str, rules: list[Node]) -> dict[str, Any]:
    meta = metadata(COMPONENT, name, namespaced=False)
    return {"apiVersion": f"{_RBAC}/v1", "kind": "ClusterRole", "metadata": meta, "rules": rules}


def _binding(kind: str, role_kind: str, role: str, account: Node, namespace: str, where: str = "") -> dict[str, Any]:
    name = NAME if role_kind == "Role" else role
    meta = metadata(COMPONENT, name, namespaced=False)
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": where, "labels": meta["labels"]} if where else meta,
        "roleRef": {"apiGroup": _RBAC, "kind": role_kind, "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    }


def _service() -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(COMPONENT, NAME),
        "spec": {
            "type": "ClusterIP",
            "selector": {"app.kubernetes.io/name": When(APART, NAME, COLLECTOR)},
            "ports": [
                {
                    "name": "https",
                    "port": CUSTOM_METRICS_PORT,
                    "targetPort": CUSTOM_METRICS_PORT,
                    "protocol": "TCP",
                }
            ],
        },
    }


def _api(version: str) -> dict[str, Any]:
    """It names no caBundle: the server adds its own, which applying again leaves alone."""
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": metadata(COMPONENT, f"{version}.custom.metrics.k8s.io", namespaced=False),
        "spec": {
            "group": "custom.metrics.k8s.io",
            "version": version,
            "groupPriorityMinimum": 100,
            "versionPriority": 100 + VERSIONS.index(version),
            "service": {"name": NAME, "namespace": SYSTEM_NAMESPACE, "port": CUSTOM_METRICS_PORT},
        },
    }


def _deployment() -> dict[str, Any]:
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
                    "securityContext": pods.security(PROCESS_UID),
                    "topologySpreadConstraints": pods.spread(SELECTOR),
                    "containers": [container()],
                    "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}],
                },
            },
        },
    }
