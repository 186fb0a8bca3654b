"""The resource types that the fake API server knows: the built-in ones that a mesh meets, and what CRDs add."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ResourceType:
    """One resource of one group, in every version in which it is served."""

    group: str
    versions: tuple[str, ...]
    """The preferred one first."""
    plural: str
    kind: str
    namespaced: bool = True
    has_status: bool = False
    short: tuple[str, ...] = ()
    schemas: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """openAPIV3Schema by version; none for built-in types."""
    columns: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """additionalPrinterColumns by version; none for built-in types."""
    built_in: bool = False

    @property
    def key(self) -> tuple[str, str]:
        return self.group, self.plural

    def api_version(self, version: str) -> str:
        return f"{self.group}/{version}" if self.group else version


def _type(group: str, version: str, plural: str, kind: str, flags: str = "", *short: str) -> ResourceType:
    """`flags`: c for cluster scope, s for a status subresource."""
    return ResourceType(group, (version,), plural, kind, "c" not in flags, "s" in flags, short, built_in=True)


_RBAC = "rbac.authorization.k8s.io"
_ADMISSION = "admissionregistration.k8s.io"

BUILT_IN = (
    _type("", "v1", "namespaces", "Namespace", "cs", "ns"),
    _type("", "v1", "nodes", "Node", "cs", "no"),
    _type("", "v1", "pods", "Pod", "s", "po"),
    _type("", "v1", "services", "Service", "s", "svc"),
    _type("", "v1", "endpoints", "Endpoints", "", "ep"),
    _type("", "v1", "secrets", "Secret"),
    _type("", "v1", "configmaps", "ConfigMap", "", "cm"),
    _type("", "v1", "serviceaccounts", "ServiceAccount", "", "sa"),
    _type("", "v1", "replicationcontrollers", "ReplicationController", "s", "rc"),
    _type("", "v1", "resourcequotas", "ResourceQuota", "s", "quota"),
    _type("", "v1", "events", "Event", "", "ev"),
    _type("events.k8s.io", "v1", "events", "Event", "", "ev"),
    _type("apps", "v1", "deployments", "Deployment", "s", "deploy"),
    _type("apps", "v1", "statefulsets", "StatefulSet", "s", "sts"),
    _type("apps", "v1", "daemonsets", "DaemonSet", "s", "ds"),
    _type("apps", "v1", "replicasets", "ReplicaSet", "s", "rs"),
    _type("batch", "v1", "jobs", "Job", "s"),
    _type("batch", "v1", "cronjobs", "CronJob", "s", "cj"),
    _type("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice"),
    _type("coordination.k8s.io", "v1", "leases", "Lease"),
    _type("networking.k8s.io", "v1", "ingresses", "Ingress", "s", "ing"),
    _type("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", "", "netpol"),
    _type("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", "s", "pdb"),
    _type("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", "s", "hpa"),
    _type(_RBAC, "v1", "clusterroles", "ClusterRole", "c"),
    _type(_RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", "c"),
    _type(_RBAC, "v1", "roles", "Role"),
    _type(_RBAC, "v1", "rolebindings", "RoleBinding"),
    _type(_ADMISSION, "v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", "c"),
    _type(_ADMISSION, "v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", "c"),
    _type("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", "cs", "crd"),
    _type("apiregistration.k8s.io", "v1", "apiservices", "APIService", "cs"),
)

REVIEWS = {
    ("authentication.k8s.io", "tokenreviews"): "TokenReview",
    ("authorization.k8s.io", "subjectaccessreviews"): "SubjectAccessReview",
    ("authorization.k8s.io", "selfsubjectaccessreviews"): "SelfSubjectAccessReview",
}
"""Created, answered, never stored."""


class Types:
    """Which types there are now."""

    def __init__(self) -> None:
        self._by_key = {each.key: each for each in BUILT_IN}

    def __iter__(self) -> Any:
        return iter(self._by_key.values())

    def find(self, group: str, version: str, plural: str) -> ResourceType | None:
        """None where it is unknown, or not served in this version."""
        found = self._by_key.get((group, plural))
        return found if found is not None and version in found.versions else None

    def of_kind(self, api_version: str, kind: str) -> ResourceType | None:
        """By `apiVersion` and `kind` of a document."""
        group, _, version = api_version.rpartition("/")
        for each in self._by_key.values():
            if each.group == group and each.kind == kind and version in each.versions:
                return each
        return None

    def define(self, crd: Mapping[str, Any]) -> ResourceType:
        """Serve what a CustomResourceDefinition describes, from now on."""
        spec = crd["spec"]
        served = [version for version in spec["versions"] if version.get("served", True)]
        served.sort(key=lambda version: not version.get("storage", False))
        made = ResourceType(
            group=spec["group"],
            versions=tuple(version["name"] for version in served),
            plural=spec["names"]["plural"],
            kind=spec["names"]["kind"],
            namespaced=spec["scope"] == "Namespaced",
            has_status=any("status" in version.get("subresources", {}) for version in served),
            short=tuple(spec["names"].get("shortNames", ())),
            schemas={
                version["name"]: version["schema"]["openAPIV3Schema"] for version in served if "schema" in version
            },
            columns={version["name"]: version.get("additionalPrinterColumns", ()) for version in served},
        )
        self._by_key[made.key] = made
        return made

    def forget(self, group: str, plural: str) -> None:
        self._by_key.pop((group, plural), None)
