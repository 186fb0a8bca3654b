"""The admission webhooks: whom they look at, and what happens to those when nobody answers.

An outage of the control plane must never keep a cluster from mending itself. So nothing is asked about system
namespaces, nodes' mirror pods, or pods that could not be injected anyway; and rules outside of the mesh pass while
nobody answers. The control plane's leader writes the caBundle; applying a manifest again leaves it alone, since it
names none.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from control.api.kinds import KINDS
from remora.install.expressions import All, Node, Not, Ref, When
from remora.install.names import (
    CONTROL,
    INJECTION_LABEL,
    ISTIO_INJECTION_LABEL,
    NEVER_INJECTED,
    REVISION_LABEL,
    SYSTEM_NAMESPACE,
    WEBHOOK_PORT,
    metadata,
)
from remora.install.parts.accounts import INJECTOR, VALIDATOR

INJECT = "sidecar.istio.io/inject"
ISTIO_REVISION_LABEL = "istio.io/rev"
REVISION = Ref("revision")
NAME = When(REVISION, REVISION, "default")
"""Of the revision, as labels have it."""
YES, NO = ("true", "y", "yes", "on"), ("false", "n", "no", "off")

Requirement = Mapping[str, Any]


def objects() -> list[Node]:
    """Both configurations, for each revision its own."""
    return [
        When(Ref("injection.enabled"), _configuration("Mutating", INJECTOR, "injection", _injection())),
        When(Ref("validation.enabled"), _configuration("Validating", VALIDATOR, "validation", _validation())),
    ]


def _configuration(kind: str, name: Node, component: str, webhooks: Sequence[Node]) -> dict[str, Any]:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": f"{kind}WebhookConfiguration",
        "metadata": metadata(component, name, namespaced=False, labelled={REVISION_LABEL: NAME}),
        "webhooks": webhooks,
    }


def _injection() -> list[Node]:
    """Everyone whom `control.injector.decision` would inject, and hardly anyone else: by the namespace's labels or the
    pod's own, under this revision's name. The first revision is called `default`, and has those who name none."""
    first, istio = Not(REVISION), Ref("takeIstiosPlace")
    enabled_here, not_disabled = one_of(INJECTION_LABEL, "enabled"), none_of(INJECTION_LABEL, "disabled")
    istio_not_disabled = none_of(ISTIO_INJECTION_LABEL, "disabled")
    no_revision, silent = absent(REVISION_LABEL), (absent(INJECTION_LABEL), absent(REVISION_LABEL))
    willing = none_of(INJECT, *NO)
    return [
        When(first, _injector("namespace", namespaces=[enabled_here, no_revision], pods=[willing])),
        _injector("revision", namespaces=[not_disabled, one_of(REVISION_LABEL, NAME)], pods=[willing]),
        When(first, _injector("pod", namespaces=silent, pods=[one_of(INJECT, *YES), no_revision])),
        _injector("pod-revision", namespaces=[not_disabled], pods=[willing, one_of(REVISION_LABEL, NAME)]),
        When(
            All(first, istio),
            _injector(
                "istio-namespace",
                namespaces=[one_of(ISTIO_INJECTION_LABEL, "enabled"), *silent, absent(ISTIO_REVISION_LABEL)],
                pods=[willing],
            ),
        ),
        When(
            istio,
            _injector(
                "istio-revision",
                namespaces=[not_disabled, istio_not_disabled, no_revision, one_of(ISTIO_REVISION_LABEL, NAME)],
                pods=[willing],
            ),
        ),
        When(
            istio,
            _injector(
                "istio-pod-revision",
                namespaces=[not_disabled, istio_not_disabled],
                pods=[willing, no_revision, one_of(ISTIO_REVISION_LABEL, NAME)],
            ),
        ),
    ]


def _injector(word: str, *, namespaces: Sequence[Requirement], pods: Sequence[Requirement]) -> dict[str, Any]:
    return {
        "name": f"{word}.injector.remora.io",
        "clientConfig": _client("/inject"),
        "rules": [
            {
                "apiGroups": [""],
                "apiVersions": ["v1"],
                "resources": ["pods"],
                "operations": ["CREATE"],
                "scope": "Namespaced",
            }
        ],
        "namespaceSelector": {"matchExpressions": [_elsewhere(), *namespaces]},
        "objectSelector": {"matchExpressions": pods},
        "matchConditions": [
            {"name": "has-its-own-network", "expression": "!has(object.spec.hostNetwork) || !object.spec.hostNetwork"},
            # The kubelet's picture of a static pod, which runs already.
            {
                "name": "is-no-mirror",
                "expression": "!has(object.metadata.annotations) ||"
                " !('kubernetes.io/config.mirror' in object.metadata.annotations)",
            },
        ],
        # A pod without the sidecar that its namespace demands would talk in plaintext: rather none than that one. Who
        # creates it, a ReplicaSet say, tries again.
        "failurePolicy": "Fail",
        "matchPolicy": "Equivalent",
        "reinvocationPolicy": "IfNeeded",
        "sideEffects": "None",
        "timeoutSeconds": Ref("injection.timeoutSeconds"),
        "admissionReviewVersions": ["v1"],
    }


def _validation() -> list[Node]:
    ours = {group: names for group, names in _groups().items() if group.endswith("remora.dev")}
    istios = {group: names for group, names in _groups().items() if group not in ours}
    member = one_of(REVISION_LABEL, NAME)
    return [
        # No one else's business hangs on these kinds.
        _validator("own", ours, "Fail", [_elsewhere()]),
        When(
            Not(REVISION),
            _validator("mesh", istios, "Fail", [_elsewhere(), present(INJECTION_LABEL), absent(REVISION_LABEL)]),
        ),
        _validator("revision", istios, "Fail", [_elsewhere(), member]),
        When(
            All(Not(REVISION), Ref("validation.unlabelledNamespaces")),
            _validator("elsewhere", istios, "Ignore", [absent(INJECTION_LABEL), absent(REVISION_LABEL)]),
        ),
    ]


def _validator(
    word: str, groups: Mapping[str, Sequence[str]], policy: str, namespaces: Sequence[Requirement]
) -> dict[str, Any]:
    return {
        "name": f"{word}.validator.remora.io",
        "clientConfig": _client("/validate"),
        "rules": [
            {
                "apiGroups": [group],
                "apiVersions": ["*"],
                "resources": list(plurals),
                "operations": ["CREATE", "UPDATE"],
                "scope": "Namespaced",
            }
            for group, plurals in groups.items()
        ],
        "namespaceSelector": {"matchExpressions": namespaces},
        "failurePolicy": policy,
        "matchPolicy": "Equivalent",
        "sideEffects": "None",
        "timeoutSeconds": Ref("validation.timeoutSeconds"),
        "admissionReviewVersions": ["v1"],
    }


def _groups() -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for kind in KINDS.values():
        group, slash, _ = kind.api_versions[0].partition("/")
        if slash:
            groups.setdefault(group, []).append(kind.plural)
    return groups


def _client(path: str) -> dict[str, Any]:
    return {"service": {"namespace": SYSTEM_NAMESPACE, "name": CONTROL, "path": path, "port": WEBHOOK_PORT}}


def _elsewhere() -> Requirement:
    return {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": list(NEVER_INJECTED)}


def one_of(key: str, *values: Node) -> Requirement:
    """The label is there and is one of `values`."""
    return {"key": key, "operator": "In", "values": list(values)}


def none_of(key: str, *values: str) -> Requirement:
    """The label is not there, or is something else."""
    return {"key": key, "operator": "NotIn", "values": list(values)}


def absent(key: str) -> Requirement:
    """The label is not there."""
    return {"key": key, "operator": "DoesNotExist"}


def present(key: str) -> Requirement:
    """The label is there, whatever it says."""
    return {"key": key, "operator": "Exists"}
