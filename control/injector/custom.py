"""Users' templates over the sidecar, and whether what comes of it is still a pod with a sidecar."""

from typing import Any

from control.injector import pod as of
from control.injector.names import INIT, PROXY, UID, VALIDATION
from control.injector.outcome import Finding
from control.injector.settings import SIDECAR, InjectorSettings
from control.injector.strategic_merge import MergeError, merge
from control.injector.template_text import parse_template


class BadTemplate(ValueError):
    """A template cannot be merged over this pod, or leaves no sidecar in it."""


def merged(pod: dict[str, Any], chosen: tuple[str, ...], settings: InjectorSettings) -> dict[str, Any]:
    """`pod` with the templates over it, in the order in which they are named. Raises BadTemplate."""
    for name in chosen:
        if name == SIDECAR:
            continue
        try:
            pod = merge(pod, parse_template(settings.templates[name]))
        except MergeError as error:
            raise BadTemplate(f"template {name}: {error}") from None
        if wrong := of.shape(pod):
            raise BadTemplate(f"template {name}: it makes a pod whose {wrong[0]}")
        if trouble := _sidecar_lost(pod, settings):
            raise BadTemplate(f"template {name}: {trouble}")
    return pod


def _sidecar_lost(pod: dict[str, Any], settings: InjectorSettings) -> str:
    every = [each for group in of.CONTAINER_LISTS for each in of.containers(pod, group)]
    names = [each["name"] for each in every]
    if not settings.cni and INIT not in names:
        return f"it takes the container {INIT} out; where the node agent captures the traffic, set cni: true"
    if settings.cni and VALIDATION not in names:
        return f"it takes the container {VALIDATION} out, by which the node agent knows what to capture"
    found = [each for each in every if each["name"] == PROXY]
    if not found:
        return f"it takes the container {PROXY} out; a pod that is to have none opts out"
    if not found[0].get("image"):
        return f"it leaves the container {PROXY} without an image"
    context = found[0].get("securityContext") or {}
    if context.get("runAsUser") != UID or context.get("runAsGroup") != UID:
        return f"it runs {PROXY} as another user than {UID}, whose own traffic would be captured"
    return ""


def unfit(pod: dict[str, Any]) -> list[Finding]:
    """Why the API server would not take the pod for its size."""
    size = sum(
        len(key.encode()) + len(value.encode("utf-8", "surrogatepass")) for key, value in of.annotations(pod).items()
    )
    if size > of.MAX_ANNOTATIONS_BYTES:
        return [
            Finding(
                ("metadata", "annotations"),
                f"have {size:,} bytes together with the sidecar's own; Kubernetes takes "
                f"{of.MAX_ANNOTATIONS_BYTES:,} at most",
            )
        ]
    size = of.size_bytes(pod)
    if size > of.MAX_POD_BYTES:
        return [Finding((), f"the pod has {size:,} bytes with its sidecar; it may have {of.MAX_POD_BYTES:,} at most")]
    return []
