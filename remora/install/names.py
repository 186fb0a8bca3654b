"""Names that the cluster's objects have in common, and that other parts of the mesh rely on."""

from collections.abc import Mapping
from typing import Any

from control.injector import names as injected
from control.rest.console import AUDIENCE
from remora.install.expressions import Concat, Node, Not, Ref, When

SYSTEM_NAMESPACE = "remora-system"
NODE_NAMESPACE = "remora-node"
"""Of the node agent, which no Pod Security but `privileged` takes."""
NEVER_INJECTED = ("kube-system", "kube-public", "kube-node-lease", SYSTEM_NAMESPACE, NODE_NAMESPACE)
"""Namespaces that no webhook looks at: a cluster must be able to come up without us, and so must we."""

REVISION_LABEL = "remora.io/rev"
INJECTION_LABEL = "remora.io/injection"
ISTIO_INJECTION_LABEL = "istio-injection"

PROXY_UID = injected.UID
PROCESS_UID = 65532
"""Of the control plane and the collector."""

ADS_PORT, CSR_PORT, REST_PORT, WEBHOOK_PORT = 15012, 15011, 15014, 15017
FORWARD_PORT, OTLP_GRPC_PORT, OTLP_HTTP_PORT, COLLECTOR_HEALTH_PORT = 24224, 4317, 4318, 15020
METRICS_PORT, READINESS_PORT = injected.METRICS_PORT, injected.READINESS_PORT
CUSTOM_METRICS_PORT = 6443
CONSOLE_PORT = 20001

ROOT_CONFIG_MAP, ROOT_KEY, ROOT_DIRECTORY = injected.ROOT_CONFIG_MAP, injected.ROOT_FILE, injected.ROOT_DIRECTORY
TOKEN_DIRECTORY, TOKEN_FILE = injected.TOKEN_DIRECTORY, injected.TOKEN_FILE
TOKEN_AUDIENCE, TOKEN_SECONDS = injected.TOKEN_AUDIENCE, injected.TOKEN_LIFETIME_S
CONSOLE_AUDIENCE, CONSOLE_TOKEN_SECONDS = AUDIENCE, 3600

FIRST = Not(Ref("revision"))
"""As a condition, that this is no revision beside others: what belongs to the mesh as a whole is the first one's."""


def revised(name: str) -> Concat:
    """`name`, and for a revision `name-REVISION`: each has a control plane of its own."""
    return Concat(name, When(Ref("revision"), Concat("-", Ref("revision"))))


CONTROL = revised("remora-control")
CONTROL_HOST = Concat(*CONTROL.parts, f".{SYSTEM_NAMESPACE}.svc")
COLLECTOR, GATEWAY = "remora-collector", "remora-ingressgateway"
COLLECTOR_HOST = f"{COLLECTOR}.{SYSTEM_NAMESPACE}.svc"


def labels(component: str, name: Node, *, more: Mapping[str, Node] | None = None) -> dict[str, Node]:
    """Kubernetes' recommended labels, and the revision that an object belongs to."""
    return {
        "app.kubernetes.io/name": name,
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/part-of": "remora",
        "app.kubernetes.io/managed-by": "remora-install",
        **(more or {}),
    }


def metadata(
    component: str, name: Node, *, namespaced: bool = True, labelled: Mapping[str, Node] | None = None
) -> dict[str, Any]:
    """`metadata` of an object; `labelled` are further labels."""
    return {
        "name": name,
        **({"namespace": SYSTEM_NAMESPACE} if namespaced else {}),
        "labels": labels(component, name, more=labelled),
    }
