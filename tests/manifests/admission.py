"""What an API server says of a custom resource by its definition: unknown fields, types and values, lists, and rules
in CEL.

A reading of its own of
https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/, for machines without
a real API server; tests/e2e asks that one.
"""

import datetime
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import cel
import jsonschema

from remora.install.crds.definitions import all_definitions

Schema = Mapping[str, Any]


def refusals(found: Mapping[str, Any]) -> list[str]:
    """Why the object is refused, as `path: reason`; empty if it is taken. Raises KeyError for a kind without
    definition."""
    schema = _schemas()[found["apiVersion"], found["kind"]]
    body = {key: value for key, value in found.items() if key not in ("apiVersion", "kind", "metadata")}
    said = [*_unknown(body, schema, ""), *_invalid(body, schema), *_doubled(body, schema, "")]
    # The API server asks CEL nothing about what has another shape than the schema says.
    return said or list(_broken_rules(body, schema, ""))


@cache
def _schemas() -> Mapping[tuple[str, str], Schema]:
    return {
        (f"{each['spec']['group']}/{version['name']}", each["spec"]["names"]["kind"]): version["schema"][
            "openAPIV3Schema"
        ]
        for each in all_definitions()
        for version in each["spec"]["versions"]
    }


def _unknown(value: Any, schema: Schema, path: str) -> Iterator[str]:
    """As with kubectl's strict field validation."""
    if isinstance(value, list):
        for index, each in enumerate(value):
            yield from _unknown(each, schema.get("items", {}), f"{path}[{index}]")
    elif isinstance(value, dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        for key, each in value.items():
            inner = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
            if inner is None and path + key not in ("apiVersion", "kind", "metadata"):
                yield f"{path}.{key}: unknown field"
            elif inner is not None:
                yield from _unknown(each, inner, f"{path}.{key}")


def _invalid(body: Any, schema: Schema) -> Iterator[str]:
    for error in jsonschema.Draft4Validator(_draft4(schema)).iter_errors(body):
        yield f"{'.'.join(map(str, error.absolute_path))}: {error.message[:200]}"


def _draft4(schema: Any) -> Any:
    """With null where Kubernetes takes it, and what JSON Schema calls base64."""
    if isinstance(schema, list):
        return [_draft4(each) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    plain = {key: _draft4(each) for key, each in schema.items() if key != "description" or not isinstance(each, str)}
    if schema.get("nullable") is True:
        plain["type"] = [schema["type"], "null"]
    if schema.get("format") == "byte":
        plain["pattern"] = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
    return plain


def _doubled(value: Any, schema: Schema, path: str) -> Iterator[str]:
    kind = schema.get("x-kubernetes-list-type")
    if isinstance(value, list):
        keys = schema.get("x-kubernetes-list-map-keys")
        seen = [str(each) if kind == "set" else str([each.get(key) for key in keys or ()]) for each in value]
        if kind in ("set", "map") and len(set(seen)) < len(seen):
            yield f"{path}: Duplicate value"
        for index, each in enumerate(value):
            yield from _doubled(each, schema.get("items", {}), f"{path}[{index}]")
    elif isinstance(value, dict):
        for key, each in value.items():
            inner = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
            if isinstance(inner, Mapping):
                yield from _doubled(each, inner, f"{path}.{key}")


def _broken_rules(value: Any, schema: Schema, path: str) -> Iterator[str]:
    if value is None:
        return
    for rule in schema.get("x-kubernetes-validations", ()):
        if not holds(rule["rule"], value):
            yield f"{path}: {rule['message']}"
    if isinstance(value, list):
        for index, each in enumerate(value):
            yield from _broken_rules(each, schema.get("items", {}), f"{path}[{index}]")
    elif isinstance(value, dict):
        for key, each in value.items():
            inner = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
            if isinstance(inner, Mapping):
                yield from _broken_rules(each, inner, f"{path}.{key}")


def holds(rule: str, value: Any) -> bool:
    """A rule of CEL, with those of Kubernetes' functions that our rules use. An error is a refusal."""
    context = cel.Context()
    context.add_variable("self", value)
    context.add_function("sum", lambda numbers: sum(numbers))
    context.add_function("lowerAscii", lambda text: text.lower())
    context.add_function("getMilliseconds", lambda span: int(span / datetime.timedelta(milliseconds=1)))
    try:
        return _program(rule).execute(context) is True
    except (ValueError, RuntimeError, TypeError) as error:
        if "Undefined" in str(error):
            raise
        return False


@cache
def _program(rule: str) -> Any:
    return cel.compile(rule)
