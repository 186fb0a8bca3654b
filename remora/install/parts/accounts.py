"""Who the mesh's own processes are, and what the API server lets them do: what a test sees them use, and nothing else.

Only the control plane talks to the API server. Collector and gateways prove themselves by a token of their account,
which is mounted for that alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from control.api.kinds import KINDS
from remora.install.expressions import Either, Node, Ref, When
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
from remora.install.parts import console

CA_SECRET = "remora-ca"  # noqa: S105 - its name
WATCH = ("list", "watch")
_TLS_SECRETS = Ref("gateway.tlsSecrets")
_ADMISSION = "admissionregistration.k8s.io"
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


def cluster_rules() -> list[Node]:
    """What the control plane does everywhere."""
    return [
        # `get`: a pod of a namespace that was made a moment ago.
        _rule([""], ["namespaces"], ("get", *WATCH)),
        _rule([""], ["nodes", "pods", "services"], WATCH),
        _rule(["discovery.k8s.io"], ["endpointslices"], WATCH),
        *_kinds(),
        # The mesh's root certificates, in every namespace whose pods may have sidecars, by server-side apply: that is a
        # patch, and where there is nothing yet the API server asks for `create` of that name.
        _rule([""], ["configmaps"], ("create", "patch"), names=[ROOT_CONFIG_MAP]),
        _rule(["authentication.k8s.io"], ["tokenreviews"], ("create",)),
        # The caBundle.
        _rule([_ADMISSION], ["mutatingwebhookconfigurations"], ("get", "patch"), names=[INJECTOR]),
        _rule([_ADMISSION], ["validatingwebhookconfigurations"], ("get", "patch"), names=[VALIDATOR]),
    ]


def namespace_rules() -> list[Node]:
    """What it does in remora-system alone. What is made by POST has no name yet that could be asked for."""
    return [
        _rule(["coordination.k8s.io"], ["leases"], ("create",)),
        # Who waits for the Lease learns at once that it was given up.
        _rule(["coordination.k8s.io"], ["leases"], ("get", "update", "watch"), names=[CONTROL]),
        # The authority's key.
        _rule([""], ["secrets"], ("create",)),
        _rule([""], ["secrets"], ("get", "update"), names=[CA_SECRET]),
        # Those that tell of other clusters are known by a label, which RBAC cannot ask for.
        When(Ref("control.otherClusters"), _rule([""], ["secrets"], WATCH)),
        When(_TLS_SECRETS, {**_rule([""], ["secrets"], WATCH), "resourceNames": _TLS_SECRETS}),
    ]


def _kinds() -> list[Node]:
    groups: dict[str, list[str]] = {}
    for kind in KINDS.values():
        group, slash, _ = kind.api_versions[0].partition("/")
        if slash:
            groups.setdefault(group, []).append(kind.plural)
    # For `remora apply` in its pod and for the console; people who have a token of their own use kubectl.
    writing = Either(Ref("control.writesRules"), console.EDITS_RULES)
    return [
        rule
        for group, plurals in groups.items()
        for rule in (
            _rule([group], plurals, WATCH),
            When(writing, _rule([group], plurals, ("create", "delete", "patch", "update"))),
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


def _bound(kind: str, rules: Sequence[Node]) -> list[Node]:
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
