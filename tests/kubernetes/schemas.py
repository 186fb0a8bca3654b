"""Custom resources against their CRD's schema: defaults, pruning, validation. CEL rules are for a real API server."""

import copy
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import jsonschema
import orjson

from tests.kubernetes.failures import ApiError, invalid
from tests.kubernetes.types import ResourceType

_NOT_STRUCTURAL = ("$ref", "definitions", "patternProperties", "deprecated", "discriminator", "readOnly", "const")
_METADATA = ("apiVersion", "kind", "metadata")


def admit(kind: ResourceType, version: str, found: dict[str, Any], strictness: str) -> tuple[dict[str, Any], list[str]]:
    """The object with defaults and without unknown fields, and warnings. Raises ApiError.

    `strictness` is the query's fieldValidation: Strict refuses unknown fields, Warn tells of them, Ignore drops them.
    """
    schema = kind.schemas.get(version)
    if schema is None:
        return found, []
    unknown: list[str] = []
    admitted = _prune(copy.deepcopy(found), schema, "", unknown)
    if unknown and strictness == "Strict":
        fields = ", ".join(f'unknown field "{path}"' for path in unknown)
        message = (
            f'{kind.kind} in version "{version}" cannot be handled as a {kind.kind}: strict decoding error: {fields}'
        )
        raise ApiError(400, "BadRequest", message)
    causes = list(_violations(admitted, schema))
    if causes:
        raise invalid(kind.kind, kind.group, found.get("metadata", {}).get("name", ""), causes)
    warnings = [f'unknown field "{path}"' for path in unknown] if strictness == "Warn" else []
    return admitted, warnings


def _prune(value: Any, schema: Mapping[str, Any], path: str, unknown: list[str]) -> Any:
    if isinstance(value, list):
        items = schema.get("items", {})
        return [_prune(item, items, f"{path}[{index}]", unknown) for index, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    properties = schema.get("properties", {})
    additional = schema.get("additionalProperties")
    kept: dict[str, Any] = {}
    for name, inner in value.items():
        where = f"{path}.{name}" if path else name
        if not path and name in _METADATA:
            kept[name] = inner
        elif name in properties:
            if inner is None and "default" in properties[name] and not properties[name].get("nullable"):
                continue
            kept[name] = _prune(inner, properties[name], where, unknown)
        elif isinstance(additional, Mapping):
            kept[name] = _prune(inner, additional, where, unknown)
        elif additional or schema.get("x-kubernetes-preserve-unknown-fields"):
            kept[name] = inner
        else:
            unknown.append(where)
    for name, inner in properties.items():
        if name not in kept and "default" in inner:
            kept[name] = _prune(copy.deepcopy(inner["default"]), inner, f"{path}.{name}", unknown)
    return kept


def _violations(found: dict[str, Any], schema: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    validator = _validator(orjson.dumps(schema, option=orjson.OPT_SORT_KEYS))
    body = {name: value for name, value in found.items() if name not in _METADATA}
    for error in sorted(validator.iter_errors(body), key=lambda error: list(map(str, error.absolute_path))):
        path = ""
        for step in error.absolute_path:
            path += f"[{step}]" if isinstance(step, int) else f".{step}"
        if error.validator == "required":
            missing = error.message.split("'")[1]
            yield f"{path}.{missing}".lstrip("."), "Required value"
        else:
            yield path.lstrip("."), f"Invalid value: {error.message}"


@lru_cache(maxsize=128)
def _validator(schema: bytes) -> Any:
    plain = _plain(orjson.loads(schema))
    plain["required"] = [name for name in plain.get("required", ()) if name not in _METADATA]
    for name in _METADATA:
        plain.get("properties", {}).pop(name, None)
    return jsonschema.Draft7Validator(plain)


def _plain(schema: Any) -> Any:
    """Kubernetes' dialect of OpenAPI as JSON Schema."""
    if isinstance(schema, list):
        return [_plain(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made: dict[str, Any] = {}
    for name, value in schema.items():
        if name in ("properties", "patternProperties"):
            made[name] = {inner: _plain(each) for inner, each in value.items()}
        elif name in ("enum", "default", "example", "required"):
            made[name] = value
        elif name in ("exclusiveMinimum", "exclusiveMaximum") and value is True:
            made[name] = schema["minimum" if name == "exclusiveMinimum" else "maximum"]
        elif name not in ("nullable", "exclusiveMinimum", "exclusiveMaximum") and not name.startswith("x-kubernetes-"):
            made[name] = _plain(value)
    if schema.get("x-kubernetes-int-or-string"):
        made["type"] = ["integer", "string"]
    if schema.get("nullable") and isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
    return made


def check_structural(crd: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What keeps a CRD's schemas from being structural, as (field, message)."""
    found: list[tuple[str, str]] = []
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


def _structural(schema: Mapping[str, Any], at: str, found: list[tuple[str, str]]) -> None:
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
