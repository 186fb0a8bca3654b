"""Names of what the API server keeps, and of calls of it. Pure; used in URLs and in messages about permissions."""

from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class ApiResource:
    """A kind's place in the API: `ApiResource("", "v1", "pods")`, `ApiResource("apps", "v1", "deployments")`."""

    group: str
    version: str
    plural: str
    namespaced: bool = True

    def __str__(self) -> str:
        """As kubectl and RBAC messages spell it: `virtualservices.networking.istio.io`, `pods`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL's path; without a namespace all of them, without a name the collection."""
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if namespace and self.namespaced:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [each for each in (name, subresource) if each]
        return "/" + "/".join(quote(each, safe="") for each in parts)


@dataclass(frozen=True, slots=True)
class Call:
    """One thing done to a resource, with RBAC's verb: get, list, watch, create, update, patch, delete."""

    verb: str
    resource: ApiResource
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    def __str__(self) -> str:
        where = f" of namespace {self.namespace}" if self.namespace else ""
        name = f" {self.name}" if self.name else ""
        return f"{self.verb} {self._what}{name}{where}"

    @property
    def _what(self) -> str:
        plural = f"{self.resource.plural}/{self.subresource}" if self.subresource else self.resource.plural
        return f"{plural}.{self.resource.group}" if self.resource.group else plural

    @property
    def permission(self) -> str:
        """What a Role or ClusterRole must allow, in RBAC's words."""
        plural = f"{self.resource.plural}/{self.subresource}" if self.subresource else self.resource.plural
        where = f" in namespace {self.namespace}" if self.namespace else " in the whole cluster"
        return f'verb "{self.verb}" on resource "{plural}" of API group "{self.resource.group}"{where}'


NAMESPACES = ApiResource("", "v1", "namespaces", namespaced=False)
CONFIG_MAPS = ApiResource("", "v1", "configmaps")
SECRETS = ApiResource("", "v1", "secrets")
LEASES = ApiResource("coordination.k8s.io", "v1", "leases")
TOKEN_REVIEWS = ApiResource("authentication.k8s.io", "v1", "tokenreviews", namespaced=False)
MUTATING_WEBHOOKS = ApiResource("admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations", namespaced=False)
VALIDATING_WEBHOOKS = ApiResource(
    "admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations", namespaced=False
)
