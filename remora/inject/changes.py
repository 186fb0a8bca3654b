"""The two changes that `remora inject` makes of a pod: a sidecar put in, a sidecar taken out."""

from collections.abc import Mapping
from typing import Any

from control.injector import Denied, Injected, InjectorSettings, NamespaceFacts, Skipped, inject
from control.injector.json_patch import apply
from control.injector.names import STATUS
from control.injector.restore import BadRecord
from control.injector.status import NotInjected, remove
from remora.inject.manifest import Changed
from remora.inject.pods import Place

_ASKED = "remora.io/injection"
_STATUS_PATH = ("metadata", "annotations", STATUS)


def injection(
    place: Place, settings: InjectorSettings, default_namespace: str, namespaces: Mapping[str, dict[str, Any]]
) -> Changed:
    """As the webhook does, but that whoever names a file has asked for it: only who opted out is left alone."""
    name = place.namespace or default_namespace
    metadata = namespaces.get(name, {})
    labels = {"remora.io/rev": settings.own_revision, _ASKED: "enabled"} | _texts(metadata.get("labels"))
    facts = NamespaceFacts(name, labels, _texts(metadata.get("annotations")))
    match inject(place.pod, facts, settings, place.owner):
        case Denied() as denied:
            return Changed(None, errors=[(each.path, each.message) for each in denied.findings])
        case Skipped() as skipped:
            return Changed(None, remarks=[((), f"is left as it is: {skipped.reason}")])
        case Injected(patch=[]):
            return Changed(None, remarks=[((), "is left as it is: it has its sidecar already")])
        case Injected() as injected:
            return Changed(apply(place.pod, injected.patch), [((), f"warning: {each}") for each in injected.warnings])


def removal(place: Place) -> Changed:
    """The pod as it was before."""
    annotations = (place.pod.get("metadata") or {}).get("annotations") or {}
    if not isinstance(annotations, dict) or STATUS not in annotations:
        return Changed(None)
    try:
        return Changed(remove(place.pod))
    except NotInjected as error:
        return Changed(None, remarks=[((), f"is left as it is: it {error}")])
    except BadRecord as error:
        return Changed(None, errors=[(_STATUS_PATH, f"its record of what was injected {error}")])


def _texts(value: Any) -> dict[str, str]:
    return {key: text for key, text in value.items() if isinstance(text, str)} if isinstance(value, dict) else {}
