"""NetworkPolicies: who may connect to the mesh's own pods. Nothing is said of where these connect to: the API server's
address, back ends' and applications' are not known here."""

from collections.abc import Mapping, Sequence
from typing import Any

from remora.install.expressions import All, Condition, Each, Item, Node, Ref, When
from remora.install.names import (
    ADS_PORT,
    COLLECTOR,
    COLLECTOR_HEALTH_PORT,
    CONTROL,
    CSR_PORT,
    CUSTOM_METRICS_PORT,
    FIRST,
    FORWARD_PORT,
    GATEWAY,
    METRICS_PORT,
    OTLP_GRPC_PORT,
    OTLP_HTTP_PORT,
    READINESS_PORT,
    REST_PORT,
    SYSTEM_NAMESPACE,
    WEBHOOK_PORT,
    metadata,
)
from remora.install.parts import custom_metrics

_NAME = "kubernetes.io/metadata.name"
_ANYONE_IN_THE_CLUSTER: Sequence[Any] = ({"namespaceSelector": {}},)
WATCHERS: Sequence[Any] = (
    {"namespaceSelector": {"matchLabels": {_NAME: SYSTEM_NAMESPACE}}},
    Each(Ref("networkPolicies.monitoringNamespaces"), {"namespaceSelector": {"matchLabels": {_NAME: Item()}}}),
)
"""Who may read metrics."""


def objects() -> list[Node]:
    """First nobody, then what each part serves."""
    return [
        _policy("remora-nobody", {}, [], FIRST),
        _policy(
            CONTROL,
            {"app.kubernetes.io/name": CONTROL},
            [
                # Sidecars are wherever pods are, and the API server is no pod.
                {"from": _ANYONE_IN_THE_CLUSTER, "ports": _ports(ADS_PORT, CSR_PORT)},
                {"ports": _ports(WEBHOOK_PORT)},
                {"from": WATCHERS, "ports": _ports(REST_PORT)},
            ],
        ),
        _policy(
            COLLECTOR,
            {"app.kubernetes.io/name": COLLECTOR},
            [
                {"from": _ANYONE_IN_THE_CLUSTER, "ports": _ports(FORWARD_PORT, OTLP_GRPC_PORT, OTLP_HTTP_PORT)},
                {"from": WATCHERS, "ports": _ports(COLLECTOR_HEALTH_PORT)},
                When(custom_metrics.BESIDE_THE_COLLECTOR, {"ports": _ports(CUSTOM_METRICS_PORT)}),
            ],
            All(FIRST, Ref("collector.enabled")),
        ),
        _policy(
            custom_metrics.NAME,
            custom_metrics.SELECTOR,
            [{"ports": _ports(CUSTOM_METRICS_PORT)}],
            All(custom_metrics.WANTED, custom_metrics.APART),
        ),
        _policy(
            GATEWAY,
            {"app.kubernetes.io/name": GATEWAY},
            [
                {
                    "ports": [
                        Each(Ref("gateway.service.ports"), {"protocol": "TCP", "port": Item("port")}),
                        *_ports(READINESS_PORT),
                    ]
                },
                {"from": WATCHERS, "ports": _ports(METRICS_PORT)},
            ],
            All(FIRST, Ref("gateway.enabled")),
        ),
    ]


def _policy(
    name: Node, selector: Mapping[str, Node], ingress: Sequence[Node], condition: Condition | None = None
) -> When:
    wanted = Ref("networkPolicies.enabled")
    return When(
        wanted if condition is None else All(wanted, condition),
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": metadata("network", name),
            "spec": {
                "podSelector": {"matchLabels": selector} if selector else {},
                "policyTypes": ["Ingress"],
                "ingress": ingress,
            },
        },
    )


def _ports(*numbers: int) -> list[dict[str, Any]]:
    return [{"protocol": "TCP", "port": number} for number in numbers]
