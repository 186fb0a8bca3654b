"""The CustomResourceDefinitions: names and columns as Istio's own have them, so that people's habits and tools fit."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from control.api.kinds import KINDS, Kind
from remora.install.crds.schema import structural

Column = dict[str, Any]

AGE: Column = {
    "name": "Age",
    "type": "date",
    "jsonPath": ".metadata.creationTimestamp",
    "description": "Since when it is there.",
}
ACCEPTED: Column = {
    "name": "Accepted",
    "type": "string",
    "jsonPath": '.status.conditions[?(@.type=="Accepted")].status',
    "description": "Whether the mesh runs it; kubectl describe says why not.",
}


def _column(name: str, path: str, description: str) -> Column:
    return {"name": name, "type": "string", "jsonPath": path, "description": description}


@dataclass(frozen=True, slots=True)
class Shown:
    """What `kubectl get` shows of a kind, besides whether it is accepted and its age."""

    category: str
    columns: tuple[Column, ...] = ()


_SHOWN: Mapping[str, Shown] = {
    "VirtualService": Shown(
        "networking-istio-io",
        (
            _column("Gateways", ".spec.gateways", "The gateways and meshes on which it applies."),
            _column("Hosts", ".spec.hosts", "The hosts whose traffic it routes."),
        ),
    ),
    "DestinationRule": Shown("networking-istio-io", (_column("Host", ".spec.host", "The service that it is about."),)),
    "Gateway": Shown(
        "networking-istio-io",
        (
            _column("Address", ".status.addresses[0].value", "Where it is reached; there may be more."),
            _column("Programmed", '.status.conditions[?(@.type=="Programmed")].status', "Whether a gateway serves it."),
        ),
    ),
    "ServiceEntry": Shown(
        "networking-istio-io",
        (
            _column("Hosts", ".spec.hosts", "The hosts that it makes known."),
            _column("Location", ".spec.location", "Whether the service is in the mesh."),
            _column("Resolution", ".spec.resolution", "How its addresses are found."),
        ),
    ),
    "PeerAuthentication": Shown(
        "security-istio-io", (_column("Mode", ".spec.mtls.mode", "What connections are taken."),)
    ),
    "PythonFilter": Shown(
        "remora",
        (
            _column("Direction", ".spec.direction", "Which requests meet it."),
            _column("Class", ".spec.class", "The class that it runs."),
        ),
    ),
    "RequestAddon": Shown("remora", (_column("Script", ".spec.script", "The addon script that it runs."),)),
}

_STATUS: Mapping[str, Any] = {
    "type": "object",
    "description": "What the control plane found. Nobody else writes it.",
    "properties": {
        "observedGeneration": {
            "type": "integer",
            "format": "int64",
            "description": "The metadata.generation that the conditions are about.",
        },
        "conditions": {
            "type": "array",
            "description": "Accepted: whether the mesh runs the rule; if not, the message names the field.",
            "maxItems": 16,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
            "items": {
                "type": "object",
                "required": ["type", "status", "lastTransitionTime", "reason", "message"],
                "properties": {
                    "type": {"type": "string", "maxLength": 316, "description": "What it is about, as in Accepted."},
                    "status": {"type": "string", "enum": ["True", "False", "Unknown"], "description": "The answer."},
                    "reason": {"type": "string", "maxLength": 1024, "description": "One word for programs."},
                    "message": {"type": "string", "maxLength": 32768, "description": "The violations, one a line."},
                    "lastTransitionTime": {
                        "type": "string",
                        "format": "date-time",
                        "description": "When the status last changed.",
                    },
                    "observedGeneration": {
                        "type": "integer",
                        "format": "int64",
                        "description": "The metadata.generation that it is about.",
                    },
                },
            },
        },
    },
}


_ADDRESSES: Mapping[str, Any] = {
    "type": "array",
    "description": "Where it is reached: addresses of the Services that select the gateway's pods.",
    "maxItems": 16,
    "items": {
        "type": "object",
        "required": ["value"],
        "properties": {
            "type": {"type": "string", "maxLength": 253, "description": "IPAddress or Hostname."},
            "value": {"type": "string", "maxLength": 253, "description": "The address."},
        },
    },
}


def kinds() -> list[Kind]:
    """Kinds that a cluster does not have by itself."""
    return [kind for kind in KINDS.values() if "/" in kind.api_versions[0]]


def all_definitions() -> list[dict[str, Any]]:
    """One for each kind, in the order in which lists show them. Nobody changes them: they are made once."""
    return list(_made())


@cache
def _made() -> tuple[dict[str, Any], ...]:
    return tuple(definition(kind) for kind in kinds())


def definition(kind: Kind) -> dict[str, Any]:
    """The CustomResourceDefinition of `kind`: every version that the parser takes, of one schema, the first one
    stored."""
    group = kind.api_versions[0].partition("/")[0]
    shown, schema = _SHOWN[kind.name], object_schema(kind)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{kind.plural}.{group}",
            "labels": {"app.kubernetes.io/part-of": "remora", "app.kubernetes.io/managed-by": "remora-install"},
        },
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.name.lower(),
                "shortNames": [kind.short],
                "categories": [*(("istio-io",) if group.endswith("istio.io") else ()), shown.category],
            },
            "conversion": {"strategy": "None"},
            "versions": [
                _version(kind, version, schema, stored=index == 0) for index, version in enumerate(kind.api_versions)
            ],
        },
    }


def _version(kind: Kind, api_version: str, schema: Mapping[str, Any], *, stored: bool) -> dict[str, Any]:
    return {
        "name": api_version.partition("/")[2],
        "served": True,
        "storage": stored,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [*_SHOWN[kind.name].columns, ACCEPTED, AGE],
        "schema": {"openAPIV3Schema": schema},
    }


def _status(kind: Kind) -> dict[str, Any]:
    if kind.name != "Gateway":
        return dict(_STATUS)
    return {**_STATUS, "properties": {**_STATUS["properties"], "addresses": _ADDRESSES}}


def object_schema(kind: Kind) -> dict[str, Any]:
    """Of the whole object."""
    spec = structural(kind.spec)
    return {
        "type": "object",
        "description": spec["description"],
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": "The group and version of the kind."},
            "kind": {"type": "string", "description": f"{kind.name}."},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": _status(kind),
        },
    }
