"""JSON Schemas of our kinds for editors: those of the definitions, with unknown fields refused and without what only
the API server understands. Where a rule needs CEL, its words are in the description."""

from typing import Any

from control.api.kinds import Kind
from remora.install.crds.definitions import kinds, object_schema


def schemas() -> dict[str, dict[str, Any]]:
    """By file name, `virtualservice.json`; and `all.json`, which takes any of them."""
    each = {kind.name.lower(): _schema(kind) for kind in kinds()}
    any_of = {"$schema": _DIALECT, "oneOf": [{"$ref": f"{name}.json"} for name in each]}
    return {f"{name}.json": schema for name, schema in each.items()} | {"all.json": any_of}


_DIALECT = "http://json-schema.org/draft-07/schema#"


def _schema(kind: Kind) -> dict[str, Any]:
    schema = _plain(object_schema(kind))
    properties = schema["properties"]
    properties["apiVersion"]["enum"] = list(kind.api_versions)
    properties["kind"]["enum"] = [kind.name]
    properties["metadata"] = {"type": "object"}
    return {"$schema": _DIALECT, "title": kind.name, **schema, "required": ["apiVersion", "kind", "metadata", "spec"]}


def _plain(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    found = {key: each for key, each in schema.items() if not key.startswith("x-kubernetes-") and key != "nullable"}
    for key in ("items", "additionalProperties"):
        if key in found:
            found[key] = _plain(found[key])
    if "properties" in found:
        found["properties"] = {name: _plain(each) for name, each in found["properties"].items()}
        if "x-kubernetes-preserve-unknown-fields" not in schema:
            found["additionalProperties"] = False
    said = [rule["message"] for rule in schema.get("x-kubernetes-validations", ())]
    if said:
        found["description"] = " ".join([found.get("description", ""), *(f"Refused: {each}." for each in said)]).strip()
    if schema.get("nullable") and "type" in found:
        found["type"] = [found["type"], "null"]
    return found
