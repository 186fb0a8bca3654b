"""The ingress gateway: a proxy without an application, whose ports are opened by Gateway resources."""

from collections.abc import Mapping
from typing import Any

from remora.install.expressions import All, Concat, Each, Is, Item, Node, Not, Ref, When
from remora.install.names import (
    ADS_PORT,
    COLLECTOR_HOST,
    CONTROL_HOST,
    CSR_PORT,
    FIRST,
    FORWARD_PORT,
    GATEWAY,
    METRICS_PORT,
    OTLP_GRPC_PORT,
    PROXY_UID,
    READINESS_PORT,
    labels,
    metadata,
)
from remora.install.parts import pods

COMPONENT = "gateway"
SELECTOR: Mapping[str, Node] = {"app.kubernetes.io/name": GATEWAY}
ISTIO = {"istio": "ingressgateway", "app": "istio-ingressgateway"}
"""The labels that Istio's own gateway has, by which Gateways in people's YAML choose it."""

_COLLECTOR = Ref("collector.enabled")

POD_FACTS = "/etc/remora/pod"


def objects() -> list[Node]:
    """None of it for a revision: a gateway is upgraded where it stands."""
    meta = metadata(COMPONENT, GATEWAY, labelled=ISTIO)
    parts = (_deployment(), _service(), pods.budget(meta, SELECTOR), pods.autoscaler("gateway", meta, GATEWAY))
    return [When(All(FIRST, Ref("gateway.enabled")), each) for each in parts]


def _deployment() -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(COMPONENT, GATEWAY, labelled=ISTIO),
        "spec": {
            "replicas": pods.replicas("gateway"),
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": SELECTOR},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {
                "metadata": {
                    "labels": {
                        **labels(COMPONENT, GATEWAY),
                        **ISTIO,
                        "sidecar.istio.io/inject": "false",
                        "service.istio.io/canonical-name": GATEWAY,
                        "service.istio.io/canonical-revision": "latest",
                    },
                    "annotations": {
                        "prometheus.io/scrape": "true",
                        "prometheus.io/port": str(METRICS_PORT),
                        "prometheus.io/path": "/metrics",
                    },
                },
                "spec": _pod(),
            },
        },
    }


def _pod() -> dict[str, Any]:
    return {
        "serviceAccountName": GATEWAY,
        "automountServiceAccountToken": False,
        **pods.placed("gateway"),
        "terminationGracePeriodSeconds": 60,
        # Ports below 1024 for a process without privileges: one of the sysctls that Kubernetes takes for safe.
        "securityContext": pods.security(
            PROXY_UID, sysctls=[{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]
        ),
        "topologySpreadConstraints": pods.spread(SELECTOR),
        "containers": [
            pods.container(
                "remora-proxy",
                [
                    "proxy",
                    "--pod",
                    "--kind=gateway",
                    Concat("--ads=", *CONTROL_HOST.parts, f":{ADS_PORT}"),
                    Concat("--csr=", *CONTROL_HOST.parts, f":{CSR_PORT}"),
                    Concat("--cluster-id=", Ref("clusterId")),
                    When(_COLLECTOR, f"--collector-forward={COLLECTOR_HOST}:{FORWARD_PORT}"),
                    When(_COLLECTOR, f"--collector-otlp={COLLECTOR_HOST}:{OTLP_GRPC_PORT}"),
                    Concat("--concurrency=", Ref("gateway.concurrency")),
                    Concat("--log-level=", Ref("gateway.logLevel")),
                    "--log-json",
                ],
                resources="gateway.resources",
                env=_environment(),
                ports=[
                    Each(Ref("gateway.service.ports"), {"name": Item("name"), "containerPort": Item("port")}),
                    {"name": "http-metrics", "containerPort": METRICS_PORT},
                    {"name": "http-ready", "containerPort": READINESS_PORT},
                ],
                startupProbe=_probe(period=1, failures=60),
                livenessProbe={"tcpSocket": {"port": READINESS_PORT}, "periodSeconds": 10, "timeoutSeconds": 3},
                readinessProbe=_probe(period=5, failures=3),
                volumeMounts=[
                    *pods.IDENTITY_MOUNTS,
                    {"name": "pod", "mountPath": POD_FACTS, "readOnly": True},
                    {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the container's own
                ],
            )
        ],
        "volumes": [
            *pods.IDENTITY_VOLUMES,
            {
                "name": "pod",
                "downwardAPI": {
                    "defaultMode": 0o444,
                    "items": [
                        {"path": each, "fieldRef": {"fieldPath": f"metadata.{each}"}}
                        for each in ("labels", "annotations")
                    ],
                },
            },
            {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
        ],
    }


def _environment() -> list[Node]:
    facts = {
        "POD_NAME": "metadata.name",
        "POD_NAMESPACE": "metadata.namespace",
        "INSTANCE_IP": "status.podIP",
        "SERVICE_ACCOUNT": "spec.serviceAccountName",
        "HOST_IP": "status.hostIP",
    }
    return [
        *({"name": name, "valueFrom": pods.field(path)} for name, path in facts.items()),
        {"name": "REMORA_META_WORKLOAD", "value": GATEWAY},
        {"name": "REMORA_REVISION", "value": "default"},
        {"name": "REMORA_TRUST_DOMAIN", "value": Ref("trustDomain")},
    ]


def _probe(*, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": "/healthz/ready", "port": READINESS_PORT},
        "periodSeconds": period,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
    }


def _service() -> dict[str, Any]:
    kind, ranges = Ref("gateway.service.type"), Ref("gateway.service.loadBalancerSourceRanges")
    annotations = Ref("gateway.service.annotations")
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            **metadata(COMPONENT, GATEWAY, labelled=ISTIO),
            "annotations": When(annotations, annotations),
        },
        "spec": {
            "type": kind,
            "externalTrafficPolicy": When(Not(Is(kind, "ClusterIP")), Ref("gateway.service.externalTrafficPolicy")),
            "loadBalancerSourceRanges": When(All(Is(kind, "LoadBalancer"), ranges), ranges),
            "selector": SELECTOR,
            "ports": [
                Each(
                    Ref("gateway.service.ports"),
                    {
                        "name": Item("name"),
                        "port": Item("port"),
                        "targetPort": Item("port"),
                        "nodePort": When(Item("nodePort"), Item("nodePort")),
                        "protocol": "TCP",
                    },
                )
            ],
        },
    }
