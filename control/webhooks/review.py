"""An AdmissionReview, read strictly, and its answer. Pure.

https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#request
"""

import base64
from dataclasses import dataclass
from typing import Any

import orjson

API_VERSION = "admission.k8s.io/v1"
MAX_UID_CHARACTERS = 128
MAX_WARNINGS = 20
"""The API server drops what is beyond 4,096 characters in all."""
MAX_WARNING_CHARACTERS = 250
MAX_REASON_CHARACTERS = 4_000
MAX_DEPTH = 100
"""Of nesting in an object. A pod has fifteen levels; who copies or compares much deeper ones runs out of stack."""

Json = dict[str, Any]
_OPERATIONS = frozenset({"CREATE", "UPDATE", "DELETE", "CONNECT"})


class Malformed(ValueError):
    """The body is no AdmissionReview that can be answered; the message says where not."""


@dataclass(frozen=True, slots=True)
class Review:
    """What the API server asks about."""

    uid: str
    operation: str
    group: str
    kind: str
    namespace: str
    """Empty for a cluster's own objects."""
    name: str
    """As well as it is known: of an object with `generateName` that, with a star."""
    found: Json | None
    """The object as it is to be; None for DELETE."""
    before: Json | None
    """The object as it is stored; None for CREATE."""
    dry_run: bool
    size_bytes: int
    """Of the whole review."""
    user: str = ""

    def __str__(self) -> str:
        where = f"{self.namespace}/" if self.namespace else ""
        return f"{self.operation} {self.kind} {where}{self.name or '?'}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer. A refusal has a reason; a patch is only given with an allowance."""

    allowed: bool
    reason: str = ""
    patch: tuple[Json, ...] = ()
    warnings: tuple[str, ...] = ()


def parse_review(data: bytes) -> Review:
    """Raises Malformed."""
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"the body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise Malformed("the body is no JSON object")
    if document.get("apiVersion") != API_VERSION or document.get("kind") != "AdmissionReview":
        raise Malformed(f"the body is no AdmissionReview of {API_VERSION}")
    request = _mapping(document, "request")
    uid = _text(request, "uid")
    if not 0 < len(uid) <= MAX_UID_CHARACTERS or not uid.isprintable():
        raise Malformed(f"request.uid must have 1 to {MAX_UID_CHARACTERS} printable characters")
    operation = _text(request, "operation")
    if operation not in _OPERATIONS:
        raise Malformed(f"request.operation must be one of {', '.join(sorted(_OPERATIONS))}")
    kind = _mapping(request, "kind")
    found, before = _object(request, "object"), _object(request, "oldObject")
    if operation in ("CREATE", "UPDATE") and found is None:
        raise Malformed(f"request.object is missing; a {operation} has one")
    dry_run = request.get("dryRun")
    if not isinstance(dry_run, bool | None):
        raise Malformed("request.dryRun must be true or false")
    user = request.get("userInfo")
    return Review(
        uid=uid,
        operation=operation,
        group=_text(kind, "group", "request.kind"),
        kind=_text(kind, "kind", "request.kind"),
        namespace=_text(request, "namespace"),
        name=_text(request, "name") or _name_of(found or before),
        found=found,
        before=before,
        dry_run=bool(dry_run),
        size_bytes=len(data),
        user=str(user.get("username", ""))[:253] if isinstance(user, dict) else "",
    )


def render(review: Review, verdict: Verdict) -> bytes:
    """The AdmissionReview that answers `review`."""
    response: Json = {"uid": review.uid, "allowed": verdict.allowed}
    if not verdict.allowed:
        message = verdict.reason[:MAX_REASON_CHARACTERS]
        response["status"] = {"code": 403, "reason": "Forbidden", "message": message}
    elif verdict.patch:
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(orjson.dumps(verdict.patch)).decode()
    if verdict.warnings:
        response["warnings"] = [_one_line(each) for each in verdict.warnings[:MAX_WARNINGS]]
    return orjson.dumps({"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response})


def _one_line(text: str) -> str:
    """The API server sends warnings as a header's value."""
    text = " ".join(text.split())
    return text if len(text) <= MAX_WARNING_CHARACTERS else text[: MAX_WARNING_CHARACTERS - 3] + "..."


def _mapping(holder: Json, name: str) -> Json:
    value = holder.get(name)
    if not isinstance(value, dict):
        raise Malformed(f"{name} is missing or no object")
    return value


def _text(holder: Json, name: str, at: str = "request") -> str:
    value = holder.get(name)
    if not isinstance(value, str | None):
        raise Malformed(f"{at}.{name} must be text")
    return value or ""


def _object(request: Json, name: str) -> Json | None:
    value = request.get(name)
    if not isinstance(value, dict | None):
        raise Malformed(f"request.{name} must be an object")
    if value is not None:
        if not isinstance(value.get("metadata"), dict | None):
            raise Malformed(f"request.{name}.metadata must be an object")
        if _too_deep(value):
            raise Malformed(f"request.{name} is nested more than {MAX_DEPTH} levels deep")
    return value


def _too_deep(value: Json) -> bool:
    """Level by level: what is looked for is what recursion would die of."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for each in level
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _name_of(found: Json | None) -> str:
    metadata = found.get("metadata") if found is not None else None
    if not isinstance(metadata, dict):
        return ""
    name, prefix = metadata.get("name"), metadata.get("generateName")
    if isinstance(name, str) and name:
        return name[:253]
    return f"{prefix[:253]}*" if isinstance(prefix, str) and prefix else ""
