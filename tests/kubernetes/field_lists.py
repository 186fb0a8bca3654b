"""Which lists of objects are maps by some of their items' fields; all others are replaced as a whole.

For custom resources their schema says so (`x-kubernetes-list-type: map`); for the built-in types it is in Kubernetes'
own OpenAPI document, of which this is what tests use.
"""

from collections.abc import Mapping
from typing import Any

_BY_NAME = {
    "conditions": ("type",),
    "containers": ("name",),
    "initContainers": ("name",),
    "ephemeralContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "imagePullSecrets": ("name",),
    "ownerReferences": ("uid",),
    "webhooks": ("name",),
}


def keys_of(path: tuple[str, ...], schema: Mapping[str, Any] | None = None) -> tuple[str, ...] | None:
    """The keys of the list at `path` (names of fields from the object's root); None: one value, or no list."""
    if schema is not None:
        found: Any = schema
        for step in path:
            while found.get("type") == "array":
                found = found.get("items", {})
            found = found.get("properties", {}).get(step) or found.get("additionalProperties") or {}
            if not isinstance(found, Mapping):
                return None
        if found.get("x-kubernetes-list-type") == "map":
            return tuple(found["x-kubernetes-list-map-keys"])
        return None
    if not path:
        return None
    if path == ("spec", "ports"):
        return ("port", "protocol")
    if path[-1] == "ports":
        return ("containerPort", "protocol")
    return _BY_NAME.get(path[-1])
