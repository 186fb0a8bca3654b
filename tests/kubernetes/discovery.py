"""What kubectl asks before it does anything: versions, groups and the resources of each."""

from typing import Any

from tests.kubernetes.types import REVIEWS, ResourceType, Types

_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]


def answer(path: str, types: Types) -> dict[str, Any] | None:
    """The document at a discovery path; None for any other path."""
    if path == "/version":
        return {"major": "1", "minor": "34", "gitVersion": "v1.34.0-fake", "platform": "linux/amd64"}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
    groups = _groups(types)
    if path == "/apis":
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(n, v) for n, v in groups.items() if n]}
    parts = path.split("/")[1:]
    if len(parts) == 2 and parts[0] == "apis" and parts[1] in groups:
        return {"kind": "APIGroup", "apiVersion": "v1", **_group(parts[1], groups[parts[1]])}
    if parts == ["api", "v1"]:
        return _resources("", "v1", types)
    if len(parts) == 3 and parts[0] == "apis" and parts[2] in groups.get(parts[1], []):
        return _resources(parts[1], parts[2], types)
    return None


def _groups(types: Types) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for kind in types:
        versions = found.setdefault(kind.group, [])
        versions += [version for version in kind.versions if version not in versions]
    for group, _ in REVIEWS:
        found.setdefault(group, ["v1"])
    return found


def _group(name: str, versions: list[str]) -> dict[str, Any]:
    served = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": served, "preferredVersion": served[0]}


def _resources(group: str, version: str, types: Types) -> dict[str, Any]:
    found: list[dict[str, Any]] = []
    for kind in types:
        if kind.group == group and version in kind.versions:
            found.append(_resource(kind, kind.plural, _VERBS))
            if kind.has_status:
                found.append(_resource(kind, f"{kind.plural}/status", ["get", "patch", "update"]))
    for (its_group, plural), name in REVIEWS.items():
        if its_group == group:
            found.append({"name": plural, "kind": name, "namespaced": False, "singularName": "", "verbs": ["create"]})
    name = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": found}


def _resource(kind: ResourceType, name: str, verbs: list[str]) -> dict[str, Any]:
    return {
        "name": name,
        "singularName": kind.kind.lower() if "/" not in name else "",
        "kind": kind.kind,
        "namespaced": kind.namespaced,
        "shortNames": list(kind.short) if "/" not in name else [],
        "verbs": verbs,
    }
