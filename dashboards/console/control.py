"""The control plane's REST interface as the pages use it. Its token stays in this process; nothing of it is shown.

Address, root certificate and token are read from the state directory again whenever one of the files changed, so that
a control plane that comes back on another port or with another root is found without a restart.
"""

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx

from dashboards.console.answers import (
    Change,
    MalformedAnswer,
    MeshStatus,
    Resource,
    Violation,
    parse_changes,
    parse_resources,
    parse_status,
    parse_violations,
)
from mesh.files import NotPrivate, read_private

T = TypeVar("T")

TIMEOUT = httpx.Timeout(15.0, connect=3.0)
MAX_ANSWER_BYTES = 64 * 1024 * 1024

_FILES = ("control.json", "ca/root.pem", "admin.token")


class ControlUnavailable(Exception):
    """The control plane did not answer; the text tells the user why."""


class ControlRefused(Exception):
    """The control plane answered no, with what is wrong."""

    def __init__(self, violations: tuple[Violation, ...]) -> None:
        super().__init__(f"{len(violations)} violations")
        self.violations = violations


@dataclass(frozen=True, slots=True)
class Applied:
    """What an apply or delete did, or, as a dry run, would do."""

    changes: tuple[Change, ...]
    warnings: tuple[Violation, ...]
    version: str


@dataclass(frozen=True, slots=True)
class _Connection:
    client: httpx.AsyncClient = field(repr=False)
    """Holds the token."""
    stamp: tuple[tuple[int, int], ...]
    """Inode and modification time of the files that it was made of."""


class ControlPlane:
    """One connection pool to the control plane whose state directory this is."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._connection: _Connection | None = None

    async def status(self) -> MeshStatus:
        """Who is connected, and with which rules. Raises ControlUnavailable, as all of these do."""
        return self._parsed(parse_status, await self._call("GET", "/v1/status"))

    async def resources(self, kind: str = "all") -> tuple[Resource, ...]:
        """The stored documents of a kind."""
        return self._parsed(parse_resources, await self._call("GET", f"/v1/resources/{kind}"))

    async def apply(self, name: str, text: str, *, dry_run: bool) -> Applied:
        """Apply the documents in `text`, called `name` in violations. Raises ControlRefused with all that is wrong."""
        body = {"files": [{"name": name, "text": text}], "dry_run": dry_run}
        return self._parsed(_parse_applied, await self._call("POST", "/v1/apply", body))

    async def delete(self, kind: str, namespace: str, name: str) -> Applied:
        """Delete one stored document. Raises ControlRefused."""
        body = {"resources": [{"kind": kind, "namespace": namespace, "name": name}], "dry_run": False}
        return self._parsed(_parse_applied, await self._call("POST", "/v1/delete", body))

    async def close(self) -> None:
        """Close the connections."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.client.aclose()

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        client = await self._client()
        try:
            async with client.stream(method, path, json=body) as response:
                data = bytearray()
                async for chunk in response.aiter_bytes():
                    data += chunk
                    if len(data) > MAX_ANSWER_BYTES:
                        raise ControlUnavailable("The control plane's answer is too large.")
        except httpx.HTTPError as error:
            raise ControlUnavailable(f"The control plane is not reachable: {_reason(error)}.") from error
        answer = httpx.Response(response.status_code, content=bytes(data))
        if response.status_code == 200:
            return _json(answer)
        raise _refusal(answer)

    async def _client(self) -> httpx.AsyncClient:
        try:
            stamp = tuple((status.st_ino, status.st_mtime_ns) for status in map(self._stat, _FILES))
        except FileNotFoundError:
            raise ControlUnavailable("The control plane has not started yet.") from None
        except OSError as error:
            raise ControlUnavailable(f"The control plane's files cannot be read: {error}.") from error
        if self._connection is None or self._connection.stamp != stamp:
            await self.close()
            self._connection = _Connection(self._connect(), stamp)
        return self._connection.client

    def _stat(self, name: str) -> Any:
        return (self._state / name).stat()

    def _connect(self) -> httpx.AsyncClient:
        try:
            address = _json(httpx.Response(200, content=read_private(self._state / "control.json")))
            token = read_private(self._state / "admin.token").decode("ascii").strip()
            context = ssl.create_default_context(cafile=str(self._state / "ca" / "root.pem"))
            url = httpx.URL(address["rest"])
        except (OSError, NotPrivate, ssl.SSLError, UnicodeDecodeError) as error:
            raise ControlUnavailable(f"The control plane's files cannot be used: {error}.") from error
        except (KeyError, TypeError, httpx.InvalidURL) as error:
            raise ControlUnavailable("control.json does not say where the control plane is.") from error
        if url.scheme != "https":
            raise ControlUnavailable("control.json names an address that is not HTTPS; the token is not sent there.")
        return httpx.AsyncClient(
            base_url=url,
            headers={"authorization": f"Bearer {token}"},
            verify=context,
            timeout=TIMEOUT,
            # The environment's proxy is the user's mesh at best, and nobody who should see the token.
            trust_env=False,
            follow_redirects=False,
        )

    @staticmethod
    def _parsed(parse: Callable[[Any], T], answer: Any) -> T:
        try:
            return parse(answer)
        except MalformedAnswer as error:
            raise ControlUnavailable(f"The control plane's answer is not understood: {error}.") from error


def _parse_applied(answer: Any) -> Applied:
    changes = parse_changes(answer)
    warnings = parse_violations(answer.get("warnings", ()))
    return Applied(changes, warnings, str(answer.get("version") or ""))


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError as error:
        raise ControlUnavailable("The control plane's answer is not JSON.") from error


def _refusal(answer: httpx.Response) -> Exception:
    if answer.status_code in (400, 404, 409, 413, 422):
        try:
            violations = parse_violations(answer.json().get("violations", ()))
        except (ValueError, AttributeError, MalformedAnswer):
            violations = ()
        if violations:
            return ControlRefused(violations)
    reasons = {
        401: "it does not accept the token in admin.token",
        404: "it does not know what was asked for",
        413: "the document is too large",
    }
    return ControlUnavailable(
        f"The control plane refused: {reasons.get(answer.status_code, f'status {answer.status_code}')}."
    )


def _reason(error: httpx.HTTPError) -> str:
    text = str(error).rstrip(".")
    return {"All connection attempts failed": "connection refused"}.get(text, text) or type(error).__name__
