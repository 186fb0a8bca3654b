"""A pod as the API server sends it: read without trusting its shape. What is missing or null reads as empty."""

import json
import re
from typing import Any

from control.injector.outcome import Finding

MAX_POD_BYTES = 1_500_000
"""As JSON. etcd takes no more; the sidecar must fit in, too."""
MAX_ANNOTATIONS_BYTES = 256 * 1024
"""Of all names and values together: Kubernetes' limit."""
MAX_CONTAINERS = 200

CONTAINER_LISTS = ("initContainers", "containers")

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")


def metadata(pod: dict[str, Any]) -> dict[str, Any]:
    """Its metadata."""
    return pod.get("metadata") or {}


def labels(pod: dict[str, Any]) -> dict[str, str]:
    """Its labels."""
    return metadata(pod).get("labels") or {}


def annotations(pod: dict[str, Any]) -> dict[str, str]:
    """Its annotations."""
    return metadata(pod).get("annotations") or {}


def spec(pod: dict[str, Any]) -> dict[str, Any]:
    """Its spec."""
    return pod.get("spec") or {}


def containers(pod: dict[str, Any], group: str) -> list[dict[str, Any]]:
    """Those of `containers` or `initContainers`."""
    return spec(pod).get(group) or []


def size_bytes(pod: dict[str, Any]) -> int:
    """As JSON. Raises ValueError for what is no JSON, or nested too deeply to be a pod."""
    try:
        return len(json.dumps(pod, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    except (TypeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def shape(pod: Any) -> list[Finding]:
    """Everything that is not as a Pod's fields are, of those that injection reads."""
    try:
        size = size_bytes(pod)
    except ValueError:
        return [Finding((), "the pod is no JSON document, or nested too deeply")]
    if size > MAX_POD_BYTES:
        return [Finding((), f"the pod has {size:,} bytes; a pod in the mesh has at most {MAX_POD_BYTES:,}")]
    if not isinstance(pod, dict):
        return [Finding((), "the pod is no mapping; write metadata: and spec:")]
    found: list[Finding] = []
    _metadata(pod.get("metadata"), found)
    inside = pod.get("spec")
    if not isinstance(inside, dict):
        return [*found, Finding(("spec",), "is missing; a pod has a spec with containers")]
    _securities(inside, found)
    for group in CONTAINER_LISTS:
        _containers(inside.get(group), group, found)
    if not found and not inside.get("containers"):
        found.append(Finding(("spec", "containers"), "is empty; a pod has at least one container"))
    for name in ("volumes", "imagePullSecrets"):
        _named(inside.get(name), ("spec", name), found, unique=name == "volumes")
    return found


def _metadata(value: Any, found: list[Finding]) -> None:
    if value is None:
        return
    if not isinstance(value, dict):
        found.append(Finding(("metadata",), "is no mapping"))
        return
    for field in ("labels", "annotations"):
        entries = value.get(field)
        if entries is None:
            continue
        if not isinstance(entries, dict):
            found.append(Finding(("metadata", field), "is no mapping of names to text"))
            continue
        for name, text in entries.items():
            if not isinstance(text, str):
                hint = f'quote it: "{json.dumps(text)}"' if isinstance(text, bool | int | float) else "write text"
                found.append(Finding(("metadata", field, name), f"is no text; {hint}"))
    owners = value.get("ownerReferences")
    if owners is not None and not (isinstance(owners, list) and all(isinstance(each, dict) for each in owners)):
        found.append(Finding(("metadata", "ownerReferences"), "is no list of mappings"))


def _securities(value: dict[str, Any], found: list[Finding]) -> None:
    context = value.get("securityContext")
    if context is not None and not isinstance(context, dict):
        found.append(Finding(("spec", "securityContext"), "is no mapping"))
    seconds = value.get("terminationGracePeriodSeconds")
    if seconds is not None and (not isinstance(seconds, int) or isinstance(seconds, bool)):
        found.append(Finding(("spec", "terminationGracePeriodSeconds"), "is no whole number of seconds"))


def _containers(value: Any, group: str, found: list[Finding]) -> None:
    if not _named(value, ("spec", group), found, unique=True):
        return
    if len(value) > MAX_CONTAINERS:
        found.append(Finding(("spec", group), f"has {len(value)} containers; at most {MAX_CONTAINERS} are taken"))
        return
    for index, container in enumerate(value):
        here = ("spec", group, index)
        if not _NAME.match(container["name"]):
            found.append(
                Finding((*here, "name"), "is no container's name; use at most 63 lower-case letters, digits and -")
            )
        found += (
            Finding((*here, field), "is no mapping")
            for field in ("securityContext", "lifecycle", "livenessProbe", "readinessProbe", "startupProbe")
            if not isinstance(container.get(field), dict | None)
        )
        ports = container.get("ports")
        if ports is not None and not (isinstance(ports, list) and all(isinstance(port, dict) for port in ports)):
            found.append(Finding((*here, "ports"), "is no list of mappings"))


def _named(value: Any, path: tuple[str, ...], found: list[Finding], *, unique: bool) -> bool:
    """Whether it is a list of mappings with names, each its own if `unique`."""
    if value is None:
        return False
    if not isinstance(value, list):
        found.append(Finding(path, "is no list"))
        return False
    fine, names = True, set()
    for index, item in enumerate(value):
        name = item.get("name") if isinstance(item, dict) else None
        if not isinstance(name, str) or not name:
            found.append(Finding((*path, index), "has no name" if isinstance(item, dict) else "is no mapping"))
            fine = False
        elif unique and name in names:
            found.append(Finding((*path, index, "name"), f"is {name!r}, as that of another; give each its own"))
            fine = False
        else:
            names.add(name)
    return fine
