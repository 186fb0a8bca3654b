"""What an object's type says of it, whether the type is built in or by a CustomResourceDefinition; and what becomes of
that: a refusal, in the API server's words, or warnings."""

from collections.abc import Mapping
from typing import Any

from tests.kubernetes import built_in, custom_resources
from tests.kubernetes.failures import ApiError, invalid
from tests.kubernetes.findings import Findings
from tests.kubernetes.types import ResourceType

Object = dict[str, Any]


def admit(
    kind: ResourceType, version: str, found: Object, strictness: str, before: Object | None = None
) -> tuple[Object, list[str]]:
    """The object with defaults and without unknown fields, and warnings. Raises ApiError.

    `strictness` is the query's fieldValidation: Strict refuses unknown fields, Warn tells of them, Ignore drops them.
    What `before` was guilty of already is no reason to refuse a change.
    """
    admitted, findings = _judge(kind, version, found)
    unknown = [f'unknown field "{path}"' for path in findings.unknown]
    if unknown and strictness == "Strict":
        raise _undecodable(kind, version, f"strict decoding error: {', '.join(unknown)}")
    if kind.built_in and findings.mistyped:
        path, message = findings.mistyped[0]
        raise _undecodable(kind, version, f"json: cannot unmarshal {path}: {message}")
    if causes := findings.causes:
        known = _judge(kind, version, before)[1].causes if before is not None else []
        if causes := [each for each in causes if each not in known]:
            raise invalid(kind.kind, kind.group, found.get("metadata", {}).get("name", ""), causes)
    return admitted, unknown if strictness == "Warn" else []


def _undecodable(kind: ResourceType, version: str, why: str) -> ApiError:
    what = f'{kind.kind} in version "{version}" cannot be handled as a {kind.kind}'
    return ApiError(400, "BadRequest", f"{what}: {why}")


def check_applied(kind: ResourceType, version: str, wanted: Mapping[str, Any]) -> None:
    """Whether a document, whole or in part, can be merged by server-side apply. Raises ApiError."""
    _, findings = _judge(kind, version, wanted)
    said = [f".{path}: field not declared in schema" for path in findings.unknown]
    said += [f".{path}: {message}" for path, message in (*findings.mistyped, *findings.doubled)]
    if said:
        metadata = wanted["metadata"]
        name = "/".join(filter(None, (metadata.get("namespace"), metadata["name"])))
        what = f"{name}; {kind.group}/{version}, Kind={kind.kind}"
        raise ApiError(500, "", f"failed to create typed patch object ({what}): {'; '.join(said)}")


def _judge(kind: ResourceType, version: str, found: Mapping[str, Any]) -> tuple[Object, Findings]:
    if kind.built_in:
        return built_in.judge(found)
    schema = kind.schemas.get(version)
    return custom_resources.judge(found, schema) if schema is not None else (dict(found), Findings())
