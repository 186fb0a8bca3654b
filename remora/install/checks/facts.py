"""What is asked of the API server for the checks: read once, every page, and whatever is refused is remembered as
such."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from control.api.kinds import KINDS
from control.kubernetes.client import KubeClient
from control.kubernetes.errors import ApiError
from control.kubernetes.resources import (
    CONFIG_MAPS,
    MUTATING_WEBHOOKS,
    NAMESPACES,
    VALIDATING_WEBHOOKS,
    ApiResource,
    Call,
)
from remora.install.names import NODE_NAMESPACE, ROOT_CONFIG_MAP, SYSTEM_NAMESPACE

PAGE = 500
SHOWN = 3
"""Names in one message; the rest are counted."""
MAX_PAGES = 200
"""100,000 objects of a kind; more are not looked at."""

Object = Mapping[str, Any]

LISTED: Mapping[str, ApiResource] = {
    "namespaces": NAMESPACES,
    "nodes": ApiResource("", "v1", "nodes", namespaced=False),
    "pods": ApiResource("", "v1", "pods"),
    "definitions": ApiResource("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False),
    "mutating": MUTATING_WEBHOOKS,
    "validating": VALIDATING_WEBHOOKS,
    "storage classes": ApiResource("storage.k8s.io", "v1", "storageclasses", namespaced=False),
    "aggregated APIs": ApiResource("apiregistration.k8s.io", "v1", "apiservices", namespaced=False),
}
IN_SYSTEM: Mapping[str, ApiResource] = {
    "deployments": ApiResource("apps", "v1", "deployments"),
    "stateful sets": ApiResource("apps", "v1", "statefulsets"),
}
DAEMON_SETS = ApiResource("apps", "v1", "daemonsets")
_ACCESS = ApiResource("authorization.k8s.io", "v1", "selfsubjectaccessreviews", namespaced=False)


class _Endpoint(ApiResource):
    """A path that is no resource's."""

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        return "/version"


_VERSION = _Endpoint("", "v1", "version", namespaced=False)


@dataclass(slots=True)
class Facts:
    """The cluster, as far as we may see it."""

    version: Object = field(default_factory=dict)
    lists: dict[str, list[Object]] = field(default_factory=dict)
    """By name in LISTED and IN_SYSTEM, `daemon sets` (the node agent's), and rules by kind; what could not be read is
    missing."""
    unread: dict[str, str] = field(default_factory=dict)
    """Why it is missing."""
    allowed: dict[tuple[str, str, str, str], bool] = field(default_factory=dict)
    """By verb, group, plural and namespace."""
    roots_pem: str = ""
    """Of the mesh, as its own namespace has them; empty: none yet."""

    def all(self, name: str) -> Sequence[Object]:
        """What was read, else nothing."""
        return self.lists.get(name, ())


async def gather(client: KubeClient, permissions: Sequence[tuple[str, str, str, str]]) -> Facts:
    """Raises ApiError where there is no API server at all."""
    facts = Facts(version=await client.call("GET", Call("get", _VERSION)))
    await asyncio.gather(
        *(_list(client, facts, name, resource, "") for name, resource in LISTED.items()),
        *(_list(client, facts, name, resource, SYSTEM_NAMESPACE) for name, resource in IN_SYSTEM.items()),
        _list(client, facts, "daemon sets", DAEMON_SETS, NODE_NAMESPACE),
        _roots(client, facts),
    )
    await asyncio.gather(*(_ask(client, facts, permission) for permission in permissions))
    known = {each["metadata"]["name"] for each in facts.all("definitions")}
    for kind in KINDS.values():
        group, slash, version = kind.api_versions[0].partition("/")
        if slash and f"{kind.plural}.{group}" in known:
            await _list(client, facts, kind.name, ApiResource(group, version, kind.plural), "")
    return facts


async def _list(client: KubeClient, facts: Facts, name: str, resource: ApiResource, namespace: str) -> None:
    found: list[Object] = []
    token = ""
    try:
        for _ in range(MAX_PAGES):
            params = {"limit": str(PAGE)} | ({"continue": token} if token else {})
            page = await client.list(resource, namespace, params=params)
            found += page.get("items") or ()
            token = (page.get("metadata") or {}).get("continue") or ""
            if not token:
                break
    except ApiError as problem:
        if not problem.not_found:
            facts.unread[name] = str(problem)
            return
    facts.lists[name] = found


async def _roots(client: KubeClient, facts: Facts) -> None:
    try:
        found = await client.find(CONFIG_MAPS, ROOT_CONFIG_MAP, SYSTEM_NAMESPACE)
    except ApiError as problem:
        facts.unread["the mesh's root"] = str(problem)
        return
    facts.roots_pem = str(((found or {}).get("data") or {}).get("root.pem", ""))


async def _ask(client: KubeClient, facts: Facts, permission: tuple[str, str, str, str]) -> None:
    verb, group, plural, namespace = permission
    attributes = {"verb": verb, "group": group, "resource": plural, "namespace": namespace}
    body: dict[str, Any] = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
    body["spec"] = {"resourceAttributes": attributes}
    try:
        answer = await client.create(_ACCESS, body, name=plural)
    except ApiError as problem:
        facts.unread["permissions"] = str(problem)
        return
    facts.allowed[permission] = bool((answer.get("status") or {}).get("allowed"))


def name_of(each: Object) -> str:
    """`metadata.name`."""
    return str(each["metadata"]["name"])


def labels_of(each: Object) -> Mapping[str, str]:
    """`metadata.labels`."""
    return each["metadata"].get("labels") or {}


def some(names: Sequence[str]) -> str:
    """A few of the names, and how many there are besides."""
    shown = ", ".join(names[:SHOWN])
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown
