"""Kubernetes' own OpenAPI types, out of the package kubernetes-validate: what judges an injected pod."""

import json
from functools import lru_cache
from importlib.resources import files
from typing import Any

import jsonschema
from referencing import Registry, Resource

VERSION = "1.33"
"""Of Kubernetes. Native sidecars are stable in it."""


@lru_cache(maxsize=1)
def _definitions() -> Any:
    return _read("_definitions.json")


def _read(name: str) -> Any:
    place = files("kubernetes_validate").joinpath("kubernetes-json-schema", f"v{VERSION}.0-local-strict", name)
    return json.loads(place.read_text())


@lru_cache(maxsize=16)
def _validator(kind: str, api_version: str) -> jsonschema.Draft202012Validator:
    group, _, version = api_version.rpartition("/")
    schema = _read(f"{kind.lower()}-{group.split('.')[0]}-{version}.json".replace("--", "-"))
    registry = Resource.from_contents(_definitions()) @ (Resource.from_contents(schema) @ Registry())
    return jsonschema.Draft202012Validator(schema, registry=registry)


def problems(document: dict[str, Any]) -> list[str]:
    """What the API server's types have against a document, unknown fields included."""
    found = _validator(document["kind"], document["apiVersion"]).iter_errors(document)
    return [f"{'/'.join(map(str, each.absolute_path))}: {each.message[:200]}" for each in found]


def problems_of_pod(pod: dict[str, Any]) -> list[str]:
    """The same, of a pod that does not say what it is."""
    return problems({"apiVersion": "v1", "kind": "Pod", **pod})


def definition(name: str) -> dict[str, Any]:
    """A type's schema, such as `Container` of core/v1."""
    found: dict[str, Any] = _definitions()["$defs"][f"io.k8s.api.core.v1.{name}"]
    return found
