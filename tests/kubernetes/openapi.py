"""What `kubectl apply` and `kubectl explain` read of the API: OpenAPI v3, a document for each group and version.

Paths have what those two look for, the parameters of a patch and the kind that a path is of; schemas are the
definitions' for custom resources, Kubernetes' published ones for the others.
https://kubernetes.io/docs/concepts/overview/kubernetes-api/#openapi-v3
"""

from collections.abc import Iterable, Mapping
from typing import Any

from tests.kubernetes import published_types
from tests.kubernetes.types import ResourceType, Types

_PREFIX = "/openapi/v3"
_REFERENCE = "#/components/schemas/"
_METADATA = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_PARAMETERS = [
    {"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": True}}
    for name, kind in (
        ("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string"), ("force", "boolean"),
    )
]  # fmt: skip
Json = dict[str, Any]


def answer(path: str, types: Types) -> Json | None:
    """The document at a path of OpenAPI; None for any other path."""
    if not path.startswith(_PREFIX):
        return None
    documents = {_place(kind, version): (kind.group, version) for kind in types for version in kind.versions}
    if path == _PREFIX:
        return {"paths": {place: {"serverRelativeURL": f"{_PREFIX}/{place}"} for place in documents}}
    found = documents.get(path.removeprefix(f"{_PREFIX}/"))
    return _document(*found, types) if found is not None else None


def _place(kind: ResourceType, version: str) -> str:
    return f"apis/{kind.group}/{version}" if kind.group else f"api/{version}"


def _document(group: str, version: str, types: Types) -> Json:
    kinds = [kind for kind in types if kind.group == group and version in kind.versions]
    paths: Json = {}
    schemas = _with_what_they_name([_METADATA])
    for kind in kinds:
        is_kind = {"group": group, "version": version, "kind": kind.kind}
        collection = f"/{_place(kind, version)}{'/namespaces/{namespace}' if kind.namespaced else ''}/{kind.plural}"
        paths[collection] = {"get": _operation(is_kind), "post": _operation(is_kind)}
        verbs = ("get", "put", "patch", "delete")
        paths[f"{collection}/{{name}}"] = {verb: _operation(is_kind) for verb in verbs}
        if kind.built_in:
            schemas |= _with_what_they_name(_names_of(is_kind))
        elif (schema := kind.schemas.get(version)) is not None:
            name = ".".join([*reversed(group.split(".")), version, kind.kind])
            schemas[name] = _whole(schema) | {"x-kubernetes-group-version-kind": [is_kind]}
    info = {"title": "The fake API server", "version": version}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": schemas}}


def _operation(is_kind: Mapping[str, str]) -> Json:
    responses = {"200": {"description": "OK"}}
    return {"parameters": _PARAMETERS, "responses": responses, "x-kubernetes-group-version-kind": is_kind}


def _whole(schema: Mapping[str, Any]) -> Json:
    """A definition's, with what every object has."""
    general = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"allOf": [{"$ref": _REFERENCE + _METADATA}]},
    }
    return {**schema, "properties": {**schema.get("properties", {}), **general}}


def _names_of(is_kind: Mapping[str, str]) -> list[str]:
    found = published_types.definitions().items()
    return [name for name, schema in found if is_kind in schema.get("x-kubernetes-group-version-kind", ())]


def _with_what_they_name(names: Iterable[str]) -> Json:
    """Published schemas and those that they refer to, as a document of their own has them."""
    schemas: Json = {}
    wanted = list(names)
    while wanted:
        name = wanted.pop()
        if name not in schemas:
            schemas[name] = _published(published_types.definitions()[name], wanted)
    return schemas


def _published(value: Any, wanted: list[str]) -> Any:
    """Without what the strict form adds: null for every field, and no others."""
    if isinstance(value, list):
        return [_published(each, wanted) for each in value]
    if not isinstance(value, dict):
        return value
    if isinstance(reference := value.get("$ref"), str):
        name = reference.removeprefix(published_types.REFERENCE)
        wanted.append(name)
        return {"allOf": [{"$ref": _REFERENCE + name}], "description": value.get("description", "")}
    made = {
        key: _published(each, wanted)
        for key, each in value.items()
        if not (key == "additionalProperties" and each is False)
    }
    if isinstance(made.get("type"), list):
        made["type"] = next(each for each in made["type"] if each != "null")
    return made
