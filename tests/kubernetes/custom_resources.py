"""A custom resource beside its definition's schema: defaults, pruning, types and bounds, lists with keys, rules in CEL.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
"""

import copy
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import jsonschema
import orjson

from tests.kubernetes import cel_rules
from tests.kubernetes.findings import Cause, Findings, at

Schema = Mapping[str, Any]
_METADATA = ("apiVersion", "kind", "metadata")
_BASE64 = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"


def judge(found: Mapping[str, Any], schema: Schema) -> tuple[dict[str, Any], Findings]:
    """The object with defaults and without unknown fields, and what the schema has against it."""
    findings = Findings()
    kept = prune(copy.deepcopy(found), schema, "", findings.unknown)
    body = {name: value for name, value in kept.items() if name not in _METADATA}
    for error in sorted(_errors(body, schema), key=lambda error: list(map(str, error.absolute_path))):
        if error.validator == "type":
            findings.mistyped.append((at(error.absolute_path), f"Invalid value: {error.message[:200]}"))
        elif error.validator == "required":
            findings.invalid.append((at([*error.absolute_path, error.message.split("'")[1]]), "Required value"))
        else:
            findings.invalid.append((at(error.absolute_path), f"Invalid value: {error.message[:200]}"))
    findings.doubled += _doubled(body, schema, "")
    if not findings.causes:  # rules are asked of what has the shape that they were written for
        broken = cel_rules.broken(kept, schema)
        findings.invalid += [(path, f'Invalid value: "object": {message}') for path, message in broken]
    return kept, findings


def prune(value: Any, schema: Schema, path: str, unknown: list[str]) -> Any:
    """`value` with defaults, without the fields that the schema does not have; their paths go to `unknown`."""
    if isinstance(value, list):
        items = schema.get("items", {})
        return [prune(item, items, f"{path}[{index}]", unknown) for index, item in enumerate(value)]
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
            kept[name] = prune(inner, properties[name], where, unknown)
        elif isinstance(additional, Mapping):
            kept[name] = prune(inner, additional, where, unknown)
        elif additional or schema.get("x-kubernetes-preserve-unknown-fields"):
            kept[name] = inner
        else:
            unknown.append(where)
    for name, inner in properties.items():
        if name not in kept and "default" in inner:
            kept[name] = prune(copy.deepcopy(inner["default"]), inner, f"{path}.{name}", unknown)
    return kept


def _doubled(value: Any, schema: Schema, path: str) -> Iterator[Cause]:
    kind = schema.get("x-kubernetes-list-type")
    if isinstance(value, list):
        keys = schema.get("x-kubernetes-list-map-keys", ())
        seen: set[str] = set()
        for index, each in enumerate(value):
            if kind == "set" or (kind == "map" and isinstance(each, dict)):
                key = orjson.dumps(each if kind == "set" else {name: each.get(name) for name in keys}).decode()
                if key in seen:
                    yield f"{path}[{index}]", f"Duplicate value: {key}"
                seen.add(key)
            yield from _doubled(each, schema.get("items", {}), f"{path}[{index}]")
    elif isinstance(value, dict):
        for key, each in value.items():
            inner = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
            if isinstance(inner, Mapping):
                yield from _doubled(each, inner, f"{path}.{key}".lstrip("."))


def _errors(body: Mapping[str, Any], schema: Schema) -> Iterator[Any]:
    errors: Iterator[Any] = _validator(orjson.dumps(schema, option=orjson.OPT_SORT_KEYS)).iter_errors(body)
    return errors


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
        if name == "properties":
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
    if schema.get("format") == "byte":
        made["pattern"] = _BASE64
    return made
