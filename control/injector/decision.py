"""Whether a pod is to be injected at all: its namespace, its labels, its revision, and what is in it already."""

import json
from collections.abc import Mapping
from typing import Any

from control.injector import pod as of
from control.injector.names import INJECT, PROXY, STATUS
from control.injector.outcome import Denied, Finding, Injected, Outcome, Skipped
from control.injector.settings import DEFAULT_REVISION, InjectorSettings, NamespaceFacts

NEVER = frozenset({"kube-system", "kube-public", "kube-node-lease"})
"""Namespaces that a cluster cannot start without."""

_YES, _NO = frozenset({"true", "y", "yes", "on"}), frozenset({"false", "n", "no", "off"})
_ISTIO_PROXY = "istio-proxy"
_INJECTION, _ISTIO_INJECTION = "remora.io/injection", "istio-injection"
_REVISION, _ISTIO_REVISION = "remora.io/rev", "istio.io/rev"


def decide(pod: dict[str, Any], namespace: NamespaceFacts, settings: InjectorSettings) -> Outcome | None:
    """None: go on and inject."""
    asked = _asked(pod)
    never = _never(pod, namespace, settings)
    if never:
        # Whoever asked for a sidecar by name should be told that there is none.
        return Skipped(never, [f"no sidecar is injected: {never}"] if asked is True else [])
    if isinstance(asked, Denied):
        return asked
    if (present := _present(pod)) is not None and asked is not False:
        return present
    if asked is False:
        return Skipped(f"the pod opted out by {INJECT}")
    enabled, revision, warnings = _wanted(pod, namespace, settings)
    if enabled is False:
        return Skipped("injection is disabled in the namespace", warnings)
    if enabled is None and asked is None and not revision:
        return Skipped(f"neither the pod nor namespace {namespace.name} asks for a sidecar", warnings)
    if (revision or DEFAULT_REVISION) != settings.own_revision:
        return Skipped(
            f"the pod belongs to revision {revision or DEFAULT_REVISION}; this injector is of {settings.own_revision}",
            warnings,
        )
    return None


def _never(pod: dict[str, Any], namespace: NamespaceFacts, settings: InjectorSettings) -> str | None:
    spec = of.spec(pod)
    if namespace.name in NEVER:
        return f"nothing is injected in namespace {namespace.name}"
    if namespace.name == settings.system_namespace:
        return f"the mesh itself runs in namespace {namespace.name}"
    if spec.get("hostNetwork") is True:
        return "the pod uses its node's network (hostNetwork), whose traffic is not the pod's own"
    selector = spec.get("nodeSelector")
    system = spec.get("os")
    if (isinstance(system, dict) and system.get("name") == "windows") or (
        isinstance(selector, dict) and selector.get("kubernetes.io/os") == "windows"
    ):
        return "the pod is for Windows"
    return None


def _asked(pod: dict[str, Any]) -> bool | Denied | None:
    """What the pod itself says: its label before its annotation."""
    for where, values in (("labels", of.labels(pod)), ("annotations", of.annotations(pod))):
        value = values.get(INJECT)
        if value is None or value == "":
            continue
        if value.lower() in _YES | _NO:
            return value.lower() in _YES
        return Denied.of([Finding(("metadata", where, INJECT), f'is {value[:60]!r}; write "true" or "false"')])
    return None


def _present(pod: dict[str, Any]) -> Outcome | None:
    """What a pod that has a sidecar, or says so, gets."""
    names = {each.get("name") for group in of.CONTAINER_LISTS for each in of.containers(pod, group)}
    if _ISTIO_PROXY in names:
        return Skipped("the pod has Istio's sidecar already")
    status = of.annotations(pod).get(STATUS)
    if status is None:
        return None
    if _is_ours(status) and PROXY in names:
        return Injected([])
    return Denied.of(
        [
            Finding(
                ("metadata", "annotations", STATUS),
                f"says that the pod was injected, but it has no container {PROXY}; remove the annotation",
            )
        ]
    )


def _is_ours(status: str) -> bool:
    try:
        value = json.loads(status)
    except (ValueError, RecursionError):
        return False
    lists = (value.get("initContainers"), value.get("containers")) if isinstance(value, dict) else ()
    return any(isinstance(each, list) and PROXY in each for each in lists)


def _wanted(
    pod: dict[str, Any], namespace: NamespaceFacts, settings: InjectorSettings
) -> tuple[bool | None, str, list[str]]:
    """Whether the namespace wants injection, None if it says nothing; of which revision, the pod's before its."""
    warnings: list[str] = []
    enabled: bool | None = None
    for label in (_INJECTION, *((_ISTIO_INJECTION,) if settings.take_istios_place else ())):
        value = namespace.labels.get(label)
        if value in ("enabled", "disabled"):
            enabled = value == "enabled"
            break
        if value:
            warnings.append(f"namespace {namespace.name}: label {label} is {value[:60]!r}; write enabled or disabled")
    names = (_REVISION, *((_ISTIO_REVISION,) if settings.take_istios_place else ()))
    return enabled, _first(of.labels(pod), names) or _first(namespace.labels, names), warnings


def _first(labels: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((labels[name] for name in names if labels.get(name)), "")
