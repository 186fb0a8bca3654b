"""Objects of the built-in kinds: by Kubernetes' own types, and pods also by what their parts say of each other.

Of what the API server validates besides (formats of names, ranges of numbers, fields that exclude each other) nothing
is here.
"""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from tests.kubernetes import published_types
from tests.kubernetes.findings import Cause, Findings, at

_LISTS_OF_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")


def judge(found: Mapping[str, Any]) -> tuple[dict[str, Any], Findings]:
    """The object without unknown fields, and what its type has against it."""
    findings = Findings()
    kept = copy.deepcopy(dict(found))
    for error in published_types.errors(found):
        path = list(error.absolute_path)
        if error.validator == "additionalProperties":
            for name in sorted(error.instance.keys() - error.schema.get("properties", {}).keys()):
                findings.unknown.append(at([*path, name]))
                del _within(kept, path)[name]
        elif error.validator == "required":
            findings.invalid.append((at([*path, error.message.split("'")[1]]), "Required value"))
        elif error.validator == "enum":
            findings.invalid.append((at(path), f"Unsupported value: {error.message[:200]}"))
        else:
            findings.mistyped.append((at(path), error.message[:200]))
    if not findings.mistyped:
        findings.invalid += _of_pod(found)
    return kept, findings


def _within(found: Any, path: list[str | int]) -> Any:
    for step in path:
        found = found[step]
    return found


def _of_pod(found: Mapping[str, Any]) -> Iterator[Cause]:
    """A pod's own, or of the template that a workload has."""
    path: tuple[str, ...] = ("spec",) if found["kind"] == "Pod" else ("spec", "template", "spec")
    spec: Any = found
    for step in path:
        spec = spec.get(step) if isinstance(spec, Mapping) else None
    if not isinstance(spec, Mapping) or "containers" not in spec:
        return
    if not spec["containers"]:
        yield at([*path, "containers"]), "Required value"
    volumes = [each.get("name", "") for each in spec.get("volumes") or ()]
    yield from _twice(volumes, [*path, "volumes"])
    volumes += [each["metadata"]["name"] for each in found["spec"].get("volumeClaimTemplates") or ()]
    names: list[str] = []
    for member in _LISTS_OF_CONTAINERS:
        for index, container in enumerate(spec.get(member) or ()):
            where = [*path, member, index]
            if container.get("name") in names:
                yield at([*where, "name"]), f'Duplicate value: "{container["name"]}"'
            names.append(container.get("name", ""))
            yield from _mounts(container, volumes, where)


def _mounts(container: Mapping[str, Any], volumes: list[str], where: list[str | int]) -> Iterator[Cause]:
    mounts = container.get("volumeMounts") or ()
    for index, mount in enumerate(mounts):
        if mount.get("name") not in volumes:
            yield at([*where, "volumeMounts", index, "name"]), f'Not found: "{mount.get("name")}"'
    paths = [mount.get("mountPath", "") for mount in mounts]
    for index, path in enumerate(paths):
        if path in paths[:index]:
            yield at([*where, "volumeMounts", index, "mountPath"]), f'Invalid value: "{path}": must be unique'


def _twice(names: list[str], where: list[str | int]) -> Iterator[Cause]:
    for index, name in enumerate(names):
        if name in names[:index]:
            yield at([*where, index, "name"]), f'Duplicate value: "{name}"'
