"""Who the mesh's own processes are, and what the API server lets them do: what a test sees them use, and nothing else.

Only the control plane talks to the API server. Collector and gateways prove themselves by a token of their account,
which is mounted for that alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from control.api.kinds import KINDS
from remora.install.expressions import Node, Ref, When
from remora.install.names import (
    COLLECTOR,
    CONTROL,
    FIRST,
    GATEWAY,
    ROOT_CONFIG_MAP,
    SYSTEM_NAMESPACE,
    metadata,
    revised,
)

CA_SECRET = "remora-ca"  # noqa: S105 - its name
READ = ("get", "list", "watch")
INJECTOR, VALIDATOR = revised("remora-injector"), revised("remora-validator")


def objects() -> list[Node]:
    """Accounts first, then roles and who has them."""
    return [
        _account("control", CONTROL),
        When(FIRST, When(Ref("collector.enabled"), _account("collector", COLLECTOR))),
        When(FIRST, When(Ref("gateway.enabled"), _account("gateway", GATEWAY))),
        *_bound("ClusterRole", cluster_rules()),
        *_bound("Role", namespace_rules()),
    ]


def cluster_rules() -> list[Mapping[str, Any]]:
    """What the control plane does everywhere."""
    return [
        _rule([""], ["namespaces", "nodes", "pods", "services"], READ),
        _rule(["discovery.k8s.io"], ["endpointslices"], READ),
        *_kinds(),
        # The mesh's root certificates, in every namespace whose pods have sidecars. A name that is not there yet cannot
        # be granted for `create`.
        _rule([""], ["configmaps"], ("create",)),
        _rule([""], ["configmaps"], ("get", "patch"), names=[ROOT_CONFIG_MAP]),
        _rule(["authentication.k8s.io"], ["tokenreviews"], ("create",)),
        _rule(["admissionregistration.k8s.io"], ["mutatingwebhookconfigurations"], ("get", "patch"), names=[INJECTOR]),
        _rule(
            ["admissionregistration.k8s.io"], ["validatingwebhookconfigurations"], ("get", "patch"), names=[VALIDATOR]
        ),
    ]


def namespace_rules() -> list[Mapping[str, Any]]:
    """What it does in remora-system alone."""
    return [
        _rule(["coordination.k8s.io"], ["leases"], ("create",)),
        _rule(["coordination.k8s.io"], ["leases"], ("get", "update"), names=[CONTROL]),
        # The authority's key, and certificates of gateways that stand in this namespace.
        _rule([""], ["secrets"], ("create",)),
        _rule([""], ["secrets"], ("update",), names=[CA_SECRET]),
        _rule([""], ["secrets"], READ),
    ]


def _kinds() -> list[Mapping[str, Any]]:
    groups: dict[str, list[str]] = {}
    for kind in KINDS.values():
        group, slash, _ = kind.api_versions[0].partition("/")
        if slash:
            groups.setdefault(group, []).append(kind.plural)
    return [
        rule
        for group, plurals in groups.items()
        for rule in (
            _rule([group], plurals, READ),
            _rule([group], [f"{plural}/status" for plural in plurals], ("patch",)),
        )
    ]


def _rule(
    groups: Sequence[str], resources: Sequence[str], verbs: Sequence[str], names: Sequence[Node] = ()
) -> Mapping[str, Any]:
    named = {"resourceNames": list(names)} if names else {}
    return {"apiGroups": list(groups), "resources": list(resources), **named, "verbs": list(verbs)}


def _account(component: str, name: Node) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(component, name),
        # Whoever needs the API server's own token asks for it in the pod.
        "automountServiceAccountToken": False,
    }


def _bound(kind: str, rules: Sequence[Mapping[str, Any]]) -> list[Node]:
    group, namespaced = "rbac.authorization.k8s.io", kind == "Role"
    meta = metadata("control", CONTROL, namespaced=namespaced)
    subject = {"kind": "ServiceAccount", "name": CONTROL, "namespace": SYSTEM_NAMESPACE}
    return [
        {"apiVersion": f"{group}/v1", "kind": kind, "metadata": meta, "rules": rules},
        {
            "apiVersion": f"{group}/v1",
            "kind": f"{kind}Binding",
            "metadata": meta,
            "roleRef": {"apiGroup": group, "kind": kind, "name": CONTROL},
            "subjects": [subject],
        },
    ]
