"""The annotation `sidecar.istio.io/status`: what was injected, by names, as Istio's tools read it; and its undoing."""

import json
from typing import Any

from control.injector import pod as of
from control.injector import restore
from control.injector.names import STATUS
from control.injector.settings import InjectorSettings

VERSION = "1"
"""Of the record in `restore`. Text, as in what Istio writes under this name."""


class NotInjected(ValueError):
    """There is no record of an injection by Remora."""


def write(before: dict[str, Any], after: dict[str, Any], settings: InjectorSettings) -> None:
    """Add the annotation to `after`, the caller's own copy."""
    # In order, so that the collection itself, if it is new, is in the record.
    metadata = after.setdefault("metadata", {})
    metadata["annotations"] = {**of.annotations(after), STATUS: ""}
    status = {
        "version": VERSION,
        "revision": settings.own_revision,
        "initContainers": _added(before, after, "initContainers"),
        "containers": _added(before, after, "containers"),
        "volumes": _added(before, after, "volumes"),
        "imagePullSecrets": _added(before, after, "imagePullSecrets"),
        "restore": restore.record(before, after),
    }
    metadata["annotations"][STATUS] = json.dumps(status, separators=(",", ":"), ensure_ascii=True)


def remove(pod: dict[str, Any]) -> dict[str, Any]:
    """The pod as it was before it was injected. Raises NotInjected, restore.BadRecord."""
    text = of.annotations(pod).get(STATUS)
    if text is None:
        raise NotInjected(f"has no annotation {STATUS}")
    try:
        status = json.loads(text)
    except (ValueError, RecursionError):
        raise NotInjected(f"has an annotation {STATUS} that is no JSON") from None
    if not isinstance(status, dict) or "restore" not in status:
        raise NotInjected(f"has an annotation {STATUS} that is not Remora's; another mesh wrote it")
    if status.get("version") != VERSION:
        raise restore.BadRecord("is of another version of Remora; remove it with that one")
    return restore.restore(pod, status["restore"])  # type: ignore[no-any-return]


def _added(before: dict[str, Any], after: dict[str, Any], name: str) -> list[str]:
    old = {each.get("name") for each in of.spec(before).get(name) or []}
    return [each["name"] for each in of.spec(after).get(name) or [] if each["name"] not in old]
