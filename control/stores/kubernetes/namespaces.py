"""What is kept of a namespace. Pure."""

from collections.abc import Mapping
from typing import Any

from control.injector.settings import NamespaceFacts
from control.stores.kubernetes.pods import shared

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def decode_namespace(found: Mapping[str, Any]) -> NamespaceFacts | None:
    """None for one that is being deleted: nothing can be made in it any more."""
    metadata = found["metadata"]
    if metadata.get("deletionTimestamp"):
        return None
    annotations = {name: value for name, value in (metadata.get("annotations") or {}).items() if name != _LAST_APPLIED}
    return NamespaceFacts(metadata["name"], dict(shared(metadata.get("labels") or {})), annotations)
