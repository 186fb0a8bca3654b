"""The kustomizations: the default installation as a base, and overlays that are its difference to other values."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from remora.install.objects import PARTS, identity, objects, part_objects
from remora.install.text import Inline, documents, flow
from remora.install.values import Values

Files = dict[str, str]
_HEAD = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}

OVERLAYS: Mapping[str, Mapping[str, Any]] = {
    "small": {
        "control": {
            "replicas": 1,
            "autoscaling": {"enabled": False},
            "resources": {"requests": {"cpu": "50m", "memory": "160Mi"}, "limits": {"memory": "512Mi"}},
        },
        "collector": {
            "storage": {"size": "2Gi"},
            "retention": "6h",
            "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        },
        "gateway": {
            "replicas": 1,
            "autoscaling": {"enabled": False},
            "resources": {"requests": {"cpu": "50m"}, "limits": {"memory": "512Mi"}},
            "service": {"type": "NodePort"},
        },
    },
    "production": {
        "control": {
            "autoscaling": {"minReplicas": 3, "maxReplicas": 10},
            "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "4Gi"}},
            "placement": {"priorityClassName": "system-cluster-critical"},
        },
        "collector": {
            "storage": {"size": "100Gi"},
            "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "4Gi"}},
        },
        "gateway": {
            "concurrency": 2,
            "autoscaling": {"minReplicas": 3, "maxReplicas": 20},
            "resources": {"requests": {"cpu": "1", "memory": "512Mi"}, "limits": {"memory": "2Gi"}},
            "service": {"externalTrafficPolicy": "Local"},
        },
    },
    "node-agent": {"cni": {"enabled": True}},
    "revision-canary": {"revision": "canary"},
}
"""By name, the values that differ from the usual ones."""


def files() -> Files:
    """By path below manifests/kustomize."""
    made: Files = {}
    for part in PARTS:
        found = part_objects(part, Values())
        if found:
            made[f"base/{part}.yaml"] = documents(found)
    names = [name.removeprefix("base/") for name in made]
    made["base/kustomization.yaml"] = documents([{**_HEAD, "resources": ["../../crds", *names]}])
    for overlay, values in OVERLAYS.items():
        made |= {f"overlays/{overlay}/{name}": text for name, text in _overlay(values).items()}
    return made


def _overlay(changed: Mapping[str, Any]) -> Files:
    from remora.documents import Document
    from remora.install.reading import load

    values_text = documents([changed])
    values = load([Document("values.yaml", values_text)], [])
    wanted = {identity(each): each for each in objects(values)}
    note = "# The same as `remora install -f` of this file, and as the chart's with it.\n"
    if values.revision:
        # Another revision's objects have other names, and what the mesh has once is not its business.
        return {
            "values.yaml": note + values_text,
            "control.yaml": documents(wanted.values()),
            "kustomization.yaml": documents([{**_HEAD, "resources": ["control.yaml"]}]),
        }
    base = {identity(each): each for each in objects(Values())}
    patches = [patch for key, each in base.items() if (patch := _patch(each, wanted.get(key))) is not None]
    added = [each for key, each in wanted.items() if key not in base]
    resources = ["../../base", *(["more.yaml"] if added else [])]
    made = {
        "values.yaml": note + values_text,
        "kustomization.yaml": documents([{**_HEAD, "resources": resources, "patches": patches}]),
    }
    return made | ({"more.yaml": documents(added)} if added else {})


def _patch(base: Mapping[str, Any], wanted: Mapping[str, Any] | None) -> dict[str, Any] | None:
    api_version, kind, namespace, name = identity(base)
    group, slash, version = api_version.rpartition("/")
    target = {
        **({"group": group} if slash else {}),
        "version": version,
        "kind": kind,
        "name": name,
        **({"namespace": namespace} if namespace else {}),
    }
    if wanted is None:
        gone = {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "$patch": "delete"}
        return {"target": target, "patch": documents([gone])}
    changes = list(_changes(base, wanted, ""))
    return {"target": target, "patch": documents([changes])} if changes else None


def _changes(old: Any, new: Any, path: str) -> Iterator[dict[str, Any]]:
    """RFC 6902."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in old:
            if key not in new:
                yield {"op": "remove", "path": f"{path}/{_escaped(key)}"}
        for key, each in new.items():
            if key in old:
                yield from _changes(old[key], each, f"{path}/{_escaped(key)}")
            else:
                yield {"op": "add", "path": f"{path}/{_escaped(key)}", "value": each}
    elif _alike(old, new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _changes(before, after, f"{path}/{index}")
    elif old != new:
        # On one line: kustomize takes the line feed that ends a patch away, and with it that of a text at its end.
        yield {"op": "replace", "path": path, "value": Inline(flow(new)) if isinstance(new, str) else new}


def _alike(old: Any, new: Any) -> bool:
    return isinstance(old, Sequence) and not isinstance(old, str) and isinstance(new, list) and len(old) == len(new)


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
