"""What keeps a CustomResourceDefinition's schemas from being structural."""

from collections.abc import Mapping
from typing import Any

from tests.kubernetes.findings import Cause

_NOT_STRUCTURAL = ("$ref", "definitions", "patternProperties", "deprecated", "discriminator", "readOnly", "const")


def problems(crd: Mapping[str, Any]) -> list[Cause]:
    """Empty for a definition that can be served."""
    found: list[Cause] = []
    spec = crd["spec"]
    if crd["metadata"]["name"] != f"{spec['names']['plural']}.{spec['group']}":
        found.append(("metadata.name", 'Invalid value: must be spec.names.plural+"."+spec.group'))
    if sum(bool(version.get("storage")) for version in spec["versions"]) != 1:
        found.append(("spec.versions", "Invalid value: must have exactly one version marked as storage version"))
    for index, version in enumerate(spec["versions"]):
        at = f"spec.versions[{index}].schema.openAPIV3Schema"
        schema = version.get("schema", {}).get("openAPIV3Schema")
        if schema is None:
            found.append((at, "Required value: schemas are required"))
        else:
            _structural(schema, at, found)
    return found


def _structural(schema: Mapping[str, Any], at: str, found: list[Cause]) -> None:
    found += [(f"{at}.{name}", "Forbidden: is not supported") for name in _NOT_STRUCTURAL if name in schema]
    loose = schema.get("x-kubernetes-int-or-string") or schema.get("x-kubernetes-preserve-unknown-fields")
    if not schema.get("type") and not loose:
        found.append((f"{at}.type", "Required value: must not be empty for specified object fields"))
    if "properties" in schema and schema.get("additionalProperties"):
        found.append((f"{at}.additionalProperties", "Forbidden: additionalProperties and properties are exclusive"))
    if schema.get("type") == "array" and "items" not in schema:
        found.append((f"{at}.items", "Required value: must be specified"))
    items = schema.get("items") if isinstance(schema.get("items"), Mapping) else {}
    for key in schema.get("x-kubernetes-list-map-keys", ()):
        if key not in items.get("required", ()) and "default" not in items.get("properties", {}).get(key, {}):
            message = "Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be "
            found.append((f"{at}.items.properties[{key}].default", f"{message}a required property"))
    for name, inner in schema.get("properties", {}).items():
        _structural(inner, f"{at}.properties[{name}]", found)
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), Mapping):
            _structural(schema[name], f"{at}.{name}", found)
