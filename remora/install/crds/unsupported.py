"""Fields that Istio has and we do not: in the schema with their type, so that a rule can refuse them by name. A field
that the schema did not know would be dropped by the API server, and the rule would do less than it says."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

MARK = "x-unsupported"

_OPEN: dict[str, Any] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_STRING: dict[str, Any] = {"type": "string"}
_TYPES: Mapping[str, Mapping[str, Any]] = {
    "string": _STRING,
    "strings": {"type": "array", "items": _STRING},
    "integer": {"type": "integer"},
    "boolean": {"type": "boolean"},
    "objects": {"type": "array", "items": _OPEN},
}
_OTHER_THAN_OBJECTS = {
    "string": (
        "warmupDurationSecs", "maxConnectionDuration", "h2UpgradePolicy", "clientCertificate", "privateKey",
        "caCertificates", "caCrl", "credentialName", "derivePort", "exponentialDelay", "grpcStatus", "http2Error",
        "statPrefix", "bind", "defaultEndpoint", "maxProtocolVersion", "network", "locality", "sourceSubnet",
    ),
    "strings": (
        "credentialNames", "subjectAltNames", "verifyCertificateSpki", "verifyCertificateHash", "cipherSuites",
        "destinationSubnets", "addresses",
    ),
    "integer": ("consecutiveErrors", "maxConcurrentStreams", "targetPort", "mirrorPercent"),
    "boolean": (
        "useClientProtocol", "insecureSkipVerify", "httpsRedirect", "retryRemoteLocalities", "retryIgnorePreviousHosts",
    ),
    "objects": ("tlsCertificates",),
}  # fmt: skip
"""Istio's types, by field; all others are objects. `idleTimeout` is a text where connections have it."""


def message(schema: Mapping[str, Any]) -> str | None:
    """Why the field of this JSON schema is refused, or None if it is not."""
    found = schema.get(MARK)
    return found if isinstance(found, str) else None


def schema(cls: type[BaseModel], alias: str) -> dict[str, Any]:
    """What the field looks like where it is supported."""
    kind = next((kind for kind, names in _OTHER_THAN_OBJECTS.items() if alias in names), None)
    if cls.__name__ == "TcpPool" and alias == "idleTimeout":
        kind = "string"
    return {"description": "Not supported by Remora yet.", **(_OPEN if kind is None else _TYPES[kind])}
