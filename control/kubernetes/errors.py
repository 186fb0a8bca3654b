"""What can go wrong in a call of the API server: one type, which names the call and the missing permission."""

from collections.abc import Mapping
from typing import Any

from control.kubernetes.resources import Call

MAX_MESSAGE_CHARACTERS = 500
"""Of the server's own words; admission webhooks of others may send pages."""


class ClusterUnusable(Exception):
    """There is no API server to speak to: no kubeconfig, no such context, not in a pod. One line for the operator."""


class ApiError(Exception):
    """A call that did not succeed.

    `status` is HTTP's, 0 where there was no answer; `reason` is the machine's word of a Kubernetes Status
    (`AlreadyExists`, `Expired`), or ours (`Timeout`, `Unreachable`, `TooLarge`) where the server gave none.
    """

    def __init__(
        self,
        call: Call,
        status: int,
        reason: str,
        message: str,
        retry_after_s: float = 0.0,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """`retry_after_s` is what the server asks for, 0 where it does not; `details` are the Status' own."""
        super().__init__(call, status, reason, message)
        self.call = call
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after_s = retry_after_s
        self.details: Mapping[str, Any] = details or {}

    def __str__(self) -> str:
        """One line: the call, what came of it, and for a refused one what to grant."""
        if self.forbidden:
            return f"{self.call} is forbidden; grant {self.call.permission}"
        status = f"{self.status} " if self.status else ""
        message = " ".join(self.message.split())[:MAX_MESSAGE_CHARACTERS]
        return f"{self.call}: {status}{self.reason}{': ' if message else ''}{message}"

    @property
    def forbidden(self) -> bool:
        """RBAC says no; `call.permission` is what it would take."""
        return self.status == 403 and self.reason == "Forbidden" and not self.admission

    @property
    def admission(self) -> bool:
        """A webhook or policy of the cluster said no, which no permission changes."""
        return "admission" in self.message or "denied the request" in self.message

    @property
    def not_found(self) -> bool:
        return self.status == 404

    @property
    def exists(self) -> bool:
        """A create met what is there already."""
        return self.status == 409 and self.reason == "AlreadyExists"

    @property
    def conflict(self) -> bool:
        """Somebody else wrote in between (resourceVersion), or owns the field (server-side apply)."""
        return self.status == 409 and self.reason != "AlreadyExists"

    @property
    def expired(self) -> bool:
        """410: the resourceVersion or continue token is too old; list again."""
        return self.status == 410

    @property
    def unreachable(self) -> bool:
        """No answer at all, in time."""
        return self.status == 0

    @property
    def passing(self) -> bool:
        """Worth trying again as it is: no answer, or one that says later."""
        return self.status in (0, 408, 429, 500, 502, 503, 504)
