"""The control plane: Deployment, Service, and what keeps them there."""

from collections.abc import Mapping
from typing import Any

from remora.install.expressions import Concat, Digest, Node, Ref, When
from remora.install.names import (
    ADS_PORT,
    CONTROL,
    CSR_PORT,
    REST_PORT,
    SYSTEM_NAMESPACE,
    WEBHOOK_PORT,
    labels,
    metadata,
)
from remora.install.parts import console, pods, settings

COMPONENT = "control"
SELECTOR: Mapping[str, Node] = {"app.kubernetes.io/name": CONTROL}
PORTS = {"grpc-xds": ADS_PORT, "grpc-csr": CSR_PORT, "https-rest": REST_PORT, "https-webhooks": WEBHOOK_PORT}


_SETTINGS = Digest(
    *(
        Ref(each)
        for each in ("image", "imagePullPolicy", "cni.enabled", "collector.enabled", "sidecar", "takeIstiosPlace")
    )
)
"""Other settings of the injector are read by pods that start anew."""


def objects() -> list[Node]:
    """For each revision its own."""
    return [_deployment(), _service(), *_keepers()]


def _deployment() -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(COMPONENT, CONTROL),
        "spec": {
            "replicas": pods.replicas("control"),
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": SELECTOR},
            # One more before one less: sidecars that reconnect always find somebody.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {
                "metadata": {
                    "labels": {
                        **labels(COMPONENT, CONTROL),
                        "sidecar.istio.io/inject": "false",
                    },
                    "annotations": {"remora.io/settings": _SETTINGS},
                },
                "spec": _pod(),
            },
        },
    }


def _pod() -> dict[str, Any]:
    return {
        "serviceAccountName": CONTROL,
        "automountServiceAccountToken": True,
        **pods.placed("control"),
        "terminationGracePeriodSeconds": 30,
        "securityContext": pods.security(),
        "topologySpreadConstraints": pods.spread(SELECTOR),
        "containers": [
            pods.container(
                "control",
                _args(),
                resources="control.resources",
                env=[
                    {"name": "POD_NAME", "valueFrom": pods.field("metadata.name")},
                    {"name": "POD_NAMESPACE", "valueFrom": pods.field("metadata.namespace")},
                    {"name": "SERVICE_ACCOUNT", "valueFrom": pods.field("spec.serviceAccountName")},
                ],
                ports=[{"name": name, "containerPort": port} for name, port in PORTS.items()],
                startupProbe=_probe("/livez", period=2, failures=60),
                livenessProbe=_probe("/livez", period=10, failures=3),
                readinessProbe=_probe("/readyz", period=5, failures=2),
                volumeMounts=[
                    {"name": "state", "mountPath": "/var/lib/remora"},
                    {"name": "settings", "mountPath": settings.DIRECTORY, "readOnly": True},
                    {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the container's own
                ],
            )
        ],
        "volumes": [
            {"name": "state", "emptyDir": {"sizeLimit": "512Mi"}},
            {"name": "settings", "configMap": {"name": settings.NAME, "defaultMode": 0o444}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
        ],
    }


def _args() -> list[Node]:
    return [
        "control",
        "--kubernetes",
        f"--namespace={SYSTEM_NAMESPACE}",
        When(Ref("revision"), Concat("--revision=", Ref("revision"))),
        Concat("--cluster-id=", Ref("clusterId")),
        When(Ref("control.otherClusters"), "--other-clusters"),
        When(console.EDITS_RULES, "--console-edits-rules"),
        "--host=0.0.0.0",
        "--state=/var/lib/remora",
        Concat("--trust-domain=", Ref("trustDomain")),
        Concat("--trace-sampling=", Ref("traceSamplingPercent")),
        When(Ref("accessLog"), "--access-log", "--no-access-log"),
        Concat("--outbound-traffic-policy=", Ref("outboundTrafficPolicy")),
        Concat("--certificate-lifetime=", Ref("control.certificateLifetimeSeconds")),
        f"--injector-settings={settings.FILE}",
        Concat("--log-level=", Ref("control.logLevel")),
        "--log-json",
    ]


def _probe(path: str, *, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": REST_PORT, "scheme": "HTTPS"},
        "periodSeconds": period,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
    }


def _service() -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(COMPONENT, CONTROL),
        "spec": {
            "type": "ClusterIP",
            "selector": SELECTOR,
            "ports": [
                {"name": name, "port": port, "targetPort": port, "protocol": "TCP"} for name, port in PORTS.items()
            ],
        },
    }


def _keepers() -> list[Node]:
    return [
        pods.budget(metadata(COMPONENT, CONTROL), SELECTOR),
        pods.autoscaler("control", metadata(COMPONENT, CONTROL), CONTROL),
    ]
