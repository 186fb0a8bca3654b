"""What a cluster's console may ask of the control plane, and how it proves that it is the console.

It shows a token of its service account that is made for this alone (audience `remora-console`), which the API server
vouches for. It may read, and have rules analyzed; it changes rules only where the installation says so.
"""

import hashlib
import logging
from collections.abc import Awaitable, Callable

from control.ca.errors import CertificateError, Unauthenticated
from mesh.clock import Clock

_log = logging.getLogger("control.rest")

AUDIENCE = "remora-console"
REMEMBERED_S = 10.0
"""A page asks several times a second; a token that was good is believed for so long, as Kubernetes' own aggregated
servers do (DelegatingAuthenticationOptions.CacheTTL)."""
MAX_REMEMBERED = 16
"""The console has one token at a time."""

_READS, _READ_BELOW = ("/v1/status", "/v1/rules"), "/v1/resources/"
_ANALYZE = "/v1/analyze"
_WRITES = ("/v1/apply", "/v1/delete")

Account = tuple[str, str]
"""Namespace and name of a service account."""
Refused = tuple[int, str]
"""Status, and what the answer says."""


class ConsoleDoor:
    """Asked about calls that do not show the administrator's token."""

    def __init__(
        self, account: Callable[[str], Awaitable[Account]], wanted: Account, clock: Clock, *, may_edit: bool
    ) -> None:
        """`account` tells whose a token is, and raises CertificateError; `wanted` is the console's own."""
        self._account = account
        self._wanted = wanted
        self._clock = clock
        self._may_edit = may_edit
        self._known: dict[bytes, float] = {}
        """Digests of good tokens, and until when they are believed."""

    async def judge(self, token: str, method: str, path: str) -> Refused | None:
        """None to go on."""
        if (refused := await self._authenticate(token)) is not None:
            return refused
        if method in ("GET", "HEAD") and (path in _READS or path.startswith(_READ_BELOW)):
            return None
        if method == "POST" and path == _ANALYZE:
            return None
        if method == "POST" and path in _WRITES:
            if self._may_edit:
                return None
            return 403, "the console of this installation reads rules and does not write them: see console.editRules"
        return 403, "this is not for the console"

    async def _authenticate(self, token: str) -> Refused | None:
        now, digest = self._clock.monotonic(), hashlib.sha256(token.encode()).digest()
        if self._known.get(digest, now) > now:
            return None
        try:
            account = await self._account(token)
        except Unauthenticated as error:
            _log.warning("a call with a token that is not the console's: %s", error)
            return 401, "the token is not the administrator's (STATE/admin.token), nor the console's"
        except CertificateError as error:
            return 503, f"tokens cannot be checked now: {error}"
        if account != self._wanted:
            _log.warning("a call with a token of %s/%s, who is not the console", *account)
            return 401, "the token is not the administrator's (STATE/admin.token), nor the console's"
        if len(self._known) >= MAX_REMEMBERED:
            self._known.clear()
        self._known[digest] = now + REMEMBERED_S
        return None
