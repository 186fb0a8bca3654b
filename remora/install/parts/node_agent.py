"""The node agent: a DaemonSet that captures the traffic of its node's pods, so that none of them needs privileges.

It is in a namespace of its own, because it has what Pod Security's `restricted` refuses: the node's processes, and the
capabilities to enter a pod's network and to put rules there. It is not privileged, mounts nothing of its node, and its
own network is a pod's.
"""

from collections.abc import Mapping
from typing import Any

from remora.install.expressions import All, Concat, Node, Ref, When
from remora.install.names import FIRST, METRICS_PORT, NODE_NAMESPACE, labels, metadata
from remora.install.parts import pods
from remora.install.parts.network import WATCHERS

COMPONENT, NAME, CONTAINER = "node-agent", "remora-node-agent", "node-agent"
SELECTOR: Mapping[str, Node] = {"app.kubernetes.io/name": NAME}
WANTED = All(FIRST, Ref("cni.enabled"))
CAPABILITIES = ("NET_ADMIN", "NET_RAW", "SYS_ADMIN", "SYS_PTRACE")
"""For rules, for those of iptables' older kind, for entering a network namespace, and for finding that of a process of
another user."""
_RBAC = "rbac.authorization.k8s.io"
_PRIORITY = Ref("cni.placement.priorityClassName")


def objects() -> list[Node]:
    """None of it for a revision: a node has one agent, which reads of each pod what its injector said."""
    found = [_namespace(), _account(), *_role(), _quota(), _policy(), _daemon_set()]
    return [When(WANTED, each) for each in found]


def own_rules() -> list[Node]:
    """What it may do: read the pods, of which it asks for its node's alone, and tell of trouble."""
    return [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]},
    ]


def _metadata(namespaced: bool = True) -> dict[str, Any]:
    where = {"namespace": NODE_NAMESPACE} if namespaced else {}
    return {"name": NAME, **where, "labels": metadata(COMPONENT, NAME)["labels"]}


def _namespace() -> dict[str, Any]:
    level = "pod-security.kubernetes.io/enforce"
    about = {"app.kubernetes.io/name": NODE_NAMESPACE, "app.kubernetes.io/part-of": "remora", level: "privileged"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NODE_NAMESPACE, "labels": about}}


def _account() -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": _metadata(),
        "automountServiceAccountToken": False,
    }


def _role() -> list[Node]:
    meta = _metadata(namespaced=False)
    return [
        {"apiVersion": f"{_RBAC}/v1", "kind": "ClusterRole", "metadata": meta, "rules": own_rules()},
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": meta,
            "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": NAME},
            "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": NODE_NAMESPACE}],
        },
    ]


def _quota() -> When:
    """Some clouds let pods of the system's priorities into kube-system alone, unless a quota is there for them."""
    return When(
        _PRIORITY,
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": _metadata(),
            "spec": {
                "hard": {"pods": "10k"},
                "scopeSelector": {
                    "matchExpressions": [{"operator": "In", "scopeName": "PriorityClass", "values": [_PRIORITY]}]
                },
            },
        },
    )


def _policy() -> When:
    return When(
        Ref("networkPolicies.enabled"),
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": _metadata(),
            "spec": {
                "podSelector": {"matchLabels": SELECTOR},
                "policyTypes": ["Ingress"],
                "ingress": [{"from": WATCHERS, "ports": [{"protocol": "TCP", "port": METRICS_PORT}]}],
            },
        },
    )


def _daemon_set() -> dict[str, Any]:
    # Of older clusters; since 1.30 it is a field, and the annotation has to say the same.
    apparmor = f"container.apparmor.security.beta.kubernetes.io/{CONTAINER}"
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": _metadata(),
        "spec": {
            "revisionHistoryLimit": 3,
            # While a node's agent is replaced its pods keep their rules, and new ones wait.
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%"}},
            "selector": {"matchLabels": SELECTOR},
            "template": {
                "metadata": {
                    "labels": {**labels(COMPONENT, NAME), "sidecar.istio.io/inject": "false"},
                    "annotations": {apparmor: "unconfined"},
                },
                "spec": {
                    "serviceAccountName": NAME,
                    "automountServiceAccountToken": True,
                    "hostPID": True,
                    **pods.placed("cni"),
                    "terminationGracePeriodSeconds": 10,
                    "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
                    "containers": [_container()],
                    "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "16Mi"}}],
                },
            },
        },
    }


def _container() -> dict[str, Any]:
    made = pods.container(
        CONTAINER,
        ["node-agent", f"--listen=0.0.0.0:{METRICS_PORT}", Concat("--log-level=", Ref("cni.logLevel"))],
        resources="cni.resources",
        env=[
            {"name": "NODE_NAME", "valueFrom": pods.field("spec.nodeName")},
            {"name": "XTABLES_LOCKFILE", "value": "/tmp/xtables.lock"},  # noqa: S108 - the container's own
        ],
        ports=[{"name": "http-metrics", "containerPort": METRICS_PORT}],
        livenessProbe=_probe("live", period=10, failures=6),
        readinessProbe=_probe("ready", period=5, failures=3),
        volumeMounts=[{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - the container's own
    )
    return {
        **made,
        "securityContext": {
            "runAsUser": 0,
            "runAsGroup": 0,
            "runAsNonRoot": False,
            # Whether more can be had by exec is not said: beside SYS_ADMIN, API servers differ in what they take.
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"], "add": list(CAPABILITIES)},
            # The usual profile lets no process read those of other profiles, which pods may have.
            "appArmorProfile": {"type": "Unconfined"},
            # So it is with SELinux' types; where there is none of either, neither says anything.
            "seLinuxOptions": {"type": "spc_t"},
        },
    }


def _probe(path: str, *, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": f"/healthz/{path}", "port": METRICS_PORT},
        "periodSeconds": period,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
    }
