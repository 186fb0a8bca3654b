"""Kubernetes' own OpenAPI types, out of the package kubernetes-validate: what judges built-in objects."""

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Any

import jsonschema
from referencing import Registry, Resource

VERSION = "1.33"
"""Of Kubernetes. Native sidecars are stable in it."""
REFERENCE = "#/$defs/"
"""In front of a type's name, where a schema refers to it."""


@lru_cache(maxsize=1)
def definitions() -> Any:
    """Every type's schema by its name, such as `io.k8s.api.core.v1.Container`. Not to be changed."""
    return _document()["$defs"]


@lru_cache(maxsize=1)
def _document() -> Any:
    return _read("_definitions.json")


def _read(name: str) -> Any:
    place = files("kubernetes_validate").joinpath("kubernetes-json-schema", f"v{VERSION}.0-local-strict", name)
    return json.loads(place.read_text())


@lru_cache(maxsize=64)
def _validator(kind: str, api_version: str) -> jsonschema.Draft202012Validator:
    group, _, version = api_version.rpartition("/")
    schema = _read(f"{kind.lower()}-{group.split('.')[0]}-{version}.json".replace("--", "-"))
    registry = Resource.from_contents(_document()) @ (Resource.from_contents(schema) @ Registry())
    return jsonschema.Draft202012Validator(schema, registry=registry)


def errors(document: Mapping[str, Any]) -> Iterator[Any]:
    """What its type has against a document, unknown fields included, as jsonschema tells it."""
    found: Iterator[Any] = _validator(document["kind"], document["apiVersion"]).iter_errors(document)
    return found


def problems(document: Mapping[str, Any]) -> list[str]:
    """The same in words."""
    return [f"{'/'.join(map(str, each.absolute_path))}: {each.message[:200]}" for each in errors(document)]


def problems_of_pod(pod: dict[str, Any]) -> list[str]:
    """The same, of a pod that does not say what it is."""
    return problems({"apiVersion": "v1", "kind": "Pod", **pod})


def definition(name: str) -> dict[str, Any]:
    """A type's schema, such as `Container` of core/v1."""
    found: dict[str, Any] = definitions()[f"io.k8s.api.core.v1.{name}"]
    return found
