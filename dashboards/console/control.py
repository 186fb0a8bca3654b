"""The control plane's REST interface as the pages use it. Its token stays in this process; nothing of it is shown.

Address, root certificate and token are read again whenever one of their files changed, so that a control plane that
comes back on another port or with another root, and a token that was renewed, are found without a restart.
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote

import httpx

from dashboards.console.answers import (
    Change,
    Key,
    MalformedAnswer,
    MeshStatus,
    Resource,
    RuleList,
    Violation,
    joined,
    parse_changes,
    parse_resource,
    parse_resources,
    parse_rules,
    parse_status,
    parse_violations,
)
from dashboards.console.doors import Door, DoorUnusable

T = TypeVar("T")

TIMEOUT = httpx.Timeout(15.0, connect=3.0)
MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_REPLICAS = 16
"""Control planes that are asked who is connected; autoscaling makes five."""
MAX_REASON_CHARACTERS = 600
"""Of what the control plane says, in a page."""


class ControlUnavailable(Exception):
    """The control plane did not answer; the text tells the user why."""


class ControlRefused(Exception):
    """The control plane answered no, with what is wrong."""

    def __init__(self, violations: tuple[Violation, ...]) -> None:
        super().__init__(f"{len(violations)} violations")
        self.violations = violations


class ControlConflict(ControlRefused):
    """What was to be changed is not any more what was read."""


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


@dataclass(frozen=True, slots=True)
class _Addressed:
    """What a request by an address says of whom it wants to speak to."""

    headers: Mapping[str, str] = field(default_factory=dict)
    tls: dict[str, str] = field(default_factory=dict)


class ControlPlane:
    """One connection pool to the control plane behind a door."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._connection: _Connection | None = None

    async def status(self) -> MeshStatus:
        """Who is connected, and with which rules; in a cluster by the word of every control plane, each of which knows
        the sidecars that came to it. Raises ControlUnavailable, as all of these do."""
        status = self._parsed(parse_status, await self._call("GET", "/v1/status"))
        if len(status.replicas) < 2:
            return status
        found = await asyncio.gather(*map(self._status_of, status.replicas[:MAX_REPLICAS]))
        answered = [each for each in found if each is not None]
        return joined(status, answered, silent=len(found) - len(answered))

    async def resources(self, kind: str, namespace: str) -> tuple[Resource, ...]:
        """The documents of a kind in a namespace."""
        path = f"/v1/resources/{quote(kind, safe='')}?namespace={quote(namespace, safe='')}"
        return self._parsed(parse_resources, await self._call("GET", path))

    async def rules(self) -> RuleList:
        """Every stored rule, without what it says, and whether rules may be changed from here."""
        return self._parsed(parse_rules, await self._call("GET", "/v1/rules"))

    async def rule(self, key: Key) -> Resource:
        """One of them, with what it says. ControlUnavailable, too, if there is none any more."""
        path = "/".join(quote(step, safe="") for step in key)
        return self._parsed(parse_resource, await self._call("GET", f"/v1/resources/{path}"))

    async def analyze(self, name: str, text: str) -> tuple[Violation, ...]:
        """Everything to be said of the documents in `text`, called `name`, beside what is stored."""
        body = {"files": [{"name": name, "text": text}]}
        return self._parsed(_parse_findings, await self._call("POST", "/v1/analyze", body))

    async def apply(self, name: str, text: str, expected: Mapping[Key, str], *, dry_run: bool) -> Applied:
        """Apply the documents in `text`, called `name` in violations, if the rules of `expected` still have those
        etags. Raises ControlRefused with all that is wrong, ControlConflict."""
        body = {"files": [{"name": name, "text": text}], "expect": _expect(expected), "dry_run": dry_run}
        return self._parsed(_parse_applied, await self._call("POST", "/v1/apply", body))

    async def delete(self, key: Key, etag: str) -> Applied:
        """Delete one stored rule, if it still has this etag. Raises ControlRefused, ControlConflict."""
        kind, namespace, name = key
        body = {
            "resources": [{"kind": kind, "namespace": namespace, "name": name}],
            "expect": _expect({key: etag}),
            "dry_run": False,
        }
        return self._parsed(_parse_applied, await self._call("POST", "/v1/delete", body))

    async def close(self) -> None:
        """Close the connections."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.client.aclose()

    async def _status_of(self, replica: str) -> MeshStatus | None:
        """None where it does not answer. It is called by its address, and has to be who the Service's name says."""
        try:
            found = await self._call("GET", "/v1/status?connected=true", at=replica)
            return self._parsed(parse_status, found)
        except ControlUnavailable:
            return None

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None, *, at: str = "") -> Any:
        """`at` is HOST:PORT of one of several that go by the same name."""
        client = await self._client()
        url, more = httpx.URL(path), _Addressed()
        try:
            if at:
                url = httpx.URL(f"https://{at}{path}")
                more = _Addressed({"host": client.base_url.netloc.decode()}, {"sni_hostname": client.base_url.host})
            async with client.stream(method, url, json=body, headers=more.headers, extensions=more.tls) as response:
                data = bytearray()
                async for chunk in response.aiter_bytes():
                    data += chunk
                    if len(data) > MAX_ANSWER_BYTES:
                        raise ControlUnavailable("The control plane's answer is too large.")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ControlUnavailable(f"The control plane is not reachable: {_reason(error)}.") from error
        answer = httpx.Response(response.status_code, content=bytes(data))
        if response.status_code == 200:
            return _json(answer)
        raise _refusal(answer)

    async def _client(self) -> httpx.AsyncClient:
        try:
            found = [path.stat() for path in self._door.files]
        except FileNotFoundError:
            raise ControlUnavailable(self._door.absent) from None
        except OSError as error:
            raise ControlUnavailable(f"The control plane's files cannot be read: {error}.") from error
        stamp = tuple((each.st_ino, each.st_mtime_ns) for each in found)
        connection = self._connection
        if connection is None or connection.stamp != stamp:
            # In the former's place before that one is waited for: another call that comes meanwhile makes no third.
            former, connection = connection, _Connection(self._connect(), stamp)
            self._connection = connection
            if former is not None:
                await former.client.aclose()
        return connection.client

    def _connect(self) -> httpx.AsyncClient:
        try:
            reach = self._door.open()
            context = ssl.create_default_context(cafile=str(reach.root))
            url = httpx.URL(reach.url)
        except DoorUnusable as error:
            raise ControlUnavailable(str(error)) from error
        except (OSError, ssl.SSLError) as error:
            raise ControlUnavailable(f"The control plane's files cannot be used: {error}.") from error
        except httpx.InvalidURL as error:
            raise ControlUnavailable("The control plane's address is none.") from error
        if url.scheme != "https":
            raise ControlUnavailable("The control plane's address is not HTTPS; the token is not sent there.")
        return httpx.AsyncClient(
            base_url=url,
            headers={"authorization": f"Bearer {reach.token}"},
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


def _parse_findings(answer: Any) -> tuple[Violation, ...]:
    return parse_violations(answer.get("violations") if isinstance(answer, Mapping) else None)


def _expect(expected: Mapping[Key, str]) -> list[dict[str, str]]:
    return [
        {"kind": kind, "namespace": namespace, "name": name, "etag": etag}
        for (kind, namespace, name), etag in expected.items()
    ]


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError as error:
        raise ControlUnavailable("The control plane's answer is not JSON.") from error


def _refusal(answer: httpx.Response) -> Exception:
    said = ""
    try:
        body = answer.json()
        violations = parse_violations(body.get("violations", ()))
        said = str(body.get("error") or "")[:MAX_REASON_CHARACTERS].rstrip(".")
    except (ValueError, AttributeError, MalformedAnswer):
        violations = ()
    if violations:
        return (ControlConflict if answer.status_code == 409 else ControlRefused)(violations)
    reasons = {401: "it does not accept our token", 413: "the document is too large"}
    reason = reasons.get(answer.status_code) or said or f"status {answer.status_code}"
    return ControlUnavailable(f"The control plane refused: {reason}.")


def _reason(error: httpx.HTTPError | httpx.InvalidURL) -> str:
    text = str(error).rstrip(".")
    return {"All connection attempts failed": "connection refused"}.get(text, text) or type(error).__name__
