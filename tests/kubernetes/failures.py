"""What the API server says when it refuses: Kubernetes' `Status` objects, worded as the real one words them."""

from typing import Any


class ApiError(Exception):
    """Becomes the response's status and body."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        details: dict[str, Any] | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after_s = retry_after_s
        self.body: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "code": code,
        }
        details = dict(details or {})
        if retry_after_s is not None:
            details["retryAfterSeconds"] = retry_after_s
        if details:
            self.body["details"] = details


def _qualified(plural: str, group: str) -> str:
    return f"{plural}.{group}" if group else plural


def not_found(plural: str, group: str, name: str) -> ApiError:
    details = {"name": name, "group": group, "kind": plural}
    return ApiError(404, "NotFound", f'{_qualified(plural, group)} "{name}" not found', details=details)


def no_such_resource() -> ApiError:
    """What a missing CRD looks like."""
    return ApiError(404, "NotFound", "the server could not find the requested resource")


def already_exists(plural: str, group: str, name: str) -> ApiError:
    details = {"name": name, "group": group, "kind": plural}
    return ApiError(409, "AlreadyExists", f'{_qualified(plural, group)} "{name}" already exists', details=details)


def conflict(plural: str, group: str, name: str, why: str = "") -> ApiError:
    why = why or "the object has been modified; please apply your changes to the latest version and try again"
    message = f'Operation cannot be fulfilled on {_qualified(plural, group)} "{name}": {why}'
    return ApiError(409, "Conflict", message, details={"name": name, "group": group, "kind": plural})


def apply_conflict(found: list[tuple[str, str]]) -> ApiError:
    """`found`: (manager, field) of every conflict."""
    causes = [
        {"reason": "FieldManagerConflict", "message": f'conflict with "{manager}"', "field": field}
        for manager, field in found
    ]
    plural = "s" if len(found) > 1 else ""
    what = "; ".join(f'conflict with "{manager}": {field}' for manager, field in found)
    message = f"Apply failed with {len(found)} conflict{plural}: {what}"
    return ApiError(409, "Conflict", message, details={"causes": causes})


def forbidden(user: str, verb: str, group: str, plural: str, namespace: str, name: str = "") -> ApiError:
    where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    what = f'{_qualified(plural, group)} "{name}"' if name else _qualified(plural, group)
    resource = f'cannot {verb} resource "{plural}" in API group "{group}" {where}'
    details = {"name": name, "group": group, "kind": plural} if name else {"group": group, "kind": plural}
    return ApiError(403, "Forbidden", f'{what} is forbidden: User "{user}" {resource}', details=details)


def unauthorized() -> ApiError:
    return ApiError(401, "Unauthorized", "Unauthorized")


def expired(message: str) -> ApiError:
    return ApiError(410, "Expired", message)


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def unsupported(form: str) -> ApiError:
    return ApiError(415, "UnsupportedMediaType", f"the body of the request was in an unknown format: {form}")


def invalid(kind: str, group: str, name: str, causes: list[tuple[str, str]]) -> ApiError:
    """`causes`: (field, message)."""
    joined = ", ".join(f"{field}: {message}" for field, message in causes)
    message = f'{kind}{"." + group if group else ""} "{name}" is invalid: '
    message += f"[{joined}]" if len(causes) > 1 else joined
    details = {
        "name": name,
        "group": group,
        "kind": kind,
        "causes": [{"reason": "FieldValueInvalid", "message": text, "field": field} for field, text in causes],
    }
    return ApiError(422, "Invalid", message, details=details)
