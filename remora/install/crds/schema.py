"""A model as a structural schema of Kubernetes: what its API server checks before anything of ours is asked.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
"""

import ast
import inspect
import textwrap
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from control.api.model import Model
from remora.install.crds import rules, unsupported

Schema = dict[str, Any]

_KEPT = frozenset(
    {
        "type", "description", "properties", "additionalProperties", "items", "required", "enum", "pattern", "format",
        "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "not",
        "nullable", "x-kubernetes-validations", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys",
    }
)  # fmt: skip
_ORDER = ("description", "type", "nullable", "required", "properties")

INT32 = 2**31 - 1


class _Generator(GenerateJsonSchema):
    """pydantic's, which also says which class a schema is of."""

    def model_schema(self, schema: core_schema.ModelSchema) -> Schema:
        found: Schema = {**super().model_schema(schema)}
        found["x-model"] = schema["cls"]
        return found


def structural(model: type[Model]) -> Schema:
    """The schema of `model`, every reference resolved. Raises ValueError for what Kubernetes cannot say."""
    whole = model.model_json_schema(schema_generator=_Generator)
    found: Schema = _ordered(_shape(whole, whole.get("$defs", {}), model.__name__))
    return found


def _shape(schema: Mapping[str, Any], definitions: Mapping[str, Any], path: str) -> Schema:
    found = dict(schema)
    while "$ref" in found or "allOf" in found:
        parts = [found.pop("$ref")] if "$ref" in found else [part["$ref"] for part in found.pop("allOf")]
        for part in parts:
            found = {**definitions[part.removeprefix("#/$defs/")], **found}
    if "anyOf" in found:
        found = _nullable(found, definitions, path)
    if "patternProperties" in found:
        found = _map(found)
    if "const" in found:
        found["enum"] = [found.pop("const")]
    cls = found.get("x-model")
    if cls is not None:
        found = _object(found, cls, definitions, path)
    elif "additionalProperties" in found:
        found = _open(found, definitions, path)
    if "items" in found:
        found["items"] = _shape(found["items"], definitions, f"{path}[]")
    if "type" not in found and "x-kubernetes-preserve-unknown-fields" not in found:
        raise ValueError(f"{path} has no type: {schema}")
    if found.get("type") == "integer":
        small = abs(found.get("maximum", 2**63)) <= INT32 and abs(found.get("minimum", 0)) <= INT32 + 1
        found["format"] = "int32" if small else "int64"
    return {key: value for key, value in found.items() if key in _KEPT}


def _nullable(schema: Schema, definitions: Mapping[str, Any], path: str) -> Schema:
    """`X | None` as X: the parser takes null for a field that is left out."""
    kinds = [each for each in schema.pop("anyOf") if each.get("type") != "null"]
    if len(kinds) != 1:
        raise ValueError(f"{path} is one of several types, which a structural schema cannot say")
    inner = _shape(kinds[0], definitions, path)
    if "enum" in inner:
        # A null is compared with the enum, too.
        inner["enum"] = [*inner["enum"], None]
    return {**inner, **{key: value for key, value in schema.items() if key == "description"}, "nullable": True}


def _map(schema: Schema) -> Schema:
    """A mapping whose keys have a pattern, which only CEL can ask for."""
    ((pattern, values),) = schema.pop("patternProperties").items()
    rule = {
        "rule": f"self.all(key, key.matches({rules.quoted(pattern)}))",
        "message": f"has a key that does not match {pattern}",
    }
    return {
        "maxProperties": rules.MAX_KEYS,
        **schema,
        "additionalProperties": values,
        "x-kubernetes-validations": [rule],
    }


def _object(schema: Schema, cls: type[BaseModel], definitions: Mapping[str, Any], path: str) -> Schema:
    docs, said = docstrings(cls), schema.get("x-kubernetes-validations", [])
    names = {field.alias or name: name for name, field in cls.model_fields.items()}
    properties: Schema = {}
    checks = [*said, *rules.of(cls)]
    for alias, inner in schema.get("properties", {}).items():
        message = unsupported.message(inner)
        if message is not None:
            properties[alias] = unsupported.schema(cls, alias)
            checks.append({"rule": f"!has(self.{alias})", "message": f"{alias} {message}", "fieldPath": f".{alias}"})
            continue
        shaped = _shape(inner, definitions, f"{path}.{alias}")
        doc = docs.get(names[alias])
        if doc:
            shaped["description"] = doc
        properties[alias] = {**rules.more(cls, alias, shaped), **rules.lists(cls, alias)}
    schema.pop("additionalProperties", None)
    schema["properties"] = properties
    if schema.get("description") in (None, "`spec`."):
        schema["description"] = inspect.getdoc(inspect.getmodule(cls)) or ""
    if checks:
        schema["x-kubernetes-validations"] = checks
    return schema


def _open(schema: Schema, definitions: Mapping[str, Any], path: str) -> Schema:
    inner = schema["additionalProperties"]
    if inner is True or not set(inner) - {"title"}:
        schema.pop("additionalProperties")
        schema["x-kubernetes-preserve-unknown-fields"] = True
    else:
        schema["additionalProperties"] = _shape(inner, definitions, f"{path}{{}}")
    return schema


def docstrings(cls: type[BaseModel]) -> dict[str, str]:
    """The string after each field, on one line, of the class and those that it inherits from."""
    found: dict[str, str] = {}
    for each in reversed(cls.__mro__):
        if not issubclass(each, Model) or each is Model:
            continue
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(each))).body
        assert isinstance(definition, ast.ClassDef)
        for statement, following in zip(definition.body, definition.body[1:], strict=False):
            match statement, following:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[name] = " ".join(text.split())
                case _:
                    pass
    return found


def _ordered(schema: Any) -> Any:
    """Keys in the order in which people read them."""
    if isinstance(schema, list):
        return [_ordered(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    first = [key for key in _ORDER if key in schema]
    rest = [key for key in schema if key not in first]
    return {
        key: {name: _ordered(each) for name, each in schema[key].items()}
        if key == "properties"
        else _ordered(schema[key])
        for key in (*first, *rest)
    }
