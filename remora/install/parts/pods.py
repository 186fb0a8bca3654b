"""What the pods of the mesh's own have in common: they satisfy Pod Security's `restricted`, and run anywhere in
pairs."""

from collections.abc import Mapping, Sequence
from typing import Any

from remora.install.expressions import Each, Item, Node, Not, Ref, When
from remora.install.names import (
    PROCESS_UID,
    ROOT_CONFIG_MAP,
    ROOT_DIRECTORY,
    ROOT_KEY,
    TOKEN_AUDIENCE,
    TOKEN_DIRECTORY,
    TOKEN_FILE,
    TOKEN_SECONDS,
)

HARDENED: Mapping[str, Any] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
"""A container's securityContext."""

STATE = "/var/lib/remora"
"""Where a process with state has it."""
ROOT_FILE = f"{ROOT_DIRECTORY}/{ROOT_KEY}"
TOKEN_PATH = f"{TOKEN_DIRECTORY}/{TOKEN_FILE}"

IDENTITY_MOUNTS: Sequence[Mapping[str, Any]] = (
    {"name": "remora-root", "mountPath": ROOT_DIRECTORY, "readOnly": True},
    {"name": "remora-token", "mountPath": TOKEN_DIRECTORY, "readOnly": True},
)
IDENTITY_VOLUMES: Sequence[Mapping[str, Any]] = (
    # The control plane's leader writes it; until then the pod waits for its volume.
    {"name": "remora-root", "configMap": {"name": ROOT_CONFIG_MAP, "defaultMode": 0o444}},
    {
        "name": "remora-token",
        "projected": {
            "defaultMode": 0o440,
            "sources": [
                {
                    "serviceAccountToken": {
                        "audience": TOKEN_AUDIENCE,
                        "expirationSeconds": TOKEN_SECONDS,
                        "path": TOKEN_FILE,
                    }
                }
            ],
        },
    },
)
"""How a workload proves itself, and whom it believes."""


def field(path: str) -> dict[str, Any]:
    """An environment variable's value, from the pod itself."""
    return {"fieldRef": {"fieldPath": path}}


def security(uid: int = PROCESS_UID, **more: Any) -> dict[str, Any]:
    """A pod's securityContext."""
    return {
        "runAsNonRoot": True,
        "runAsUser": uid,
        "runAsGroup": uid,
        "fsGroup": uid,
        "seccompProfile": {"type": "RuntimeDefault"},
        **more,
    }


def container(name: str, args: Sequence[Node], *, resources: str, **more: Any) -> dict[str, Any]:
    """A container of the one image."""
    return {
        "name": name,
        "image": Ref("image"),
        "imagePullPolicy": Ref("imagePullPolicy"),
        "args": args,
        **more,
        "resources": Ref(resources),
        "securityContext": HARDENED,
    }


def placed(part: str) -> dict[str, Node]:
    """Fields of a pod's spec that say where it runs, from `PART.placement`."""
    selector, tolerations = Ref(f"{part}.placement.nodeSelector"), Ref(f"{part}.placement.tolerations")
    priority = Ref(f"{part}.placement.priorityClassName")
    return {
        "imagePullSecrets": When(Ref("imagePullSecrets"), [Each(Ref("imagePullSecrets"), {"name": Item()})]),
        "nodeSelector": When(selector, selector),
        "tolerations": When(tolerations, tolerations),
        "priorityClassName": When(priority, priority),
    }


def spread(selector: Mapping[str, Node]) -> list[dict[str, Any]]:
    """Over zones and nodes as far as there are several: never a reason not to run."""
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": selector},
        }
        for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
    ]


def autoscaler(part: str, meta: Mapping[str, Any], name: Node) -> When:
    """The HorizontalPodAutoscaler of a Deployment `name`, by `PART.autoscaling`."""
    scaling = f"{part}.autoscaling"
    return When(
        Ref(f"{scaling}.enabled"),
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": meta,
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
                "minReplicas": Ref(f"{scaling}.minReplicas"),
                "maxReplicas": Ref(f"{scaling}.maxReplicas"),
                "metrics": [
                    {
                        "type": "Resource",
                        "resource": {
                            "name": "cpu",
                            "target": {
                                "type": "Utilization",
                                "averageUtilization": Ref(f"{scaling}.targetCpuPercent"),
                            },
                        },
                    }
                ],
            },
        },
    )


def budget(meta: Mapping[str, Any], selector: Mapping[str, Node]) -> dict[str, Any]:
    """The PodDisruptionBudget: one pod at a time. One that is broken anyway does not hold up a node's drain."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": meta,
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": selector},
        },
    }


def replicas(part: str) -> When:
    """A Deployment's number; left out where an autoscaler decides, so that applying again does not undo it."""
    return When(Not(Ref(f"{part}.autoscaling.enabled")), Ref(f"{part}.replicas"))
