"""JSON calls of a Kubernetes API server: every one bounded in time and size, every failure an ApiError.

It speaks aiohttp, which kubernetes-asyncio speaks too, without that package's thousand generated types: what is read
here is read by the thousand objects, and a library that logs bodies must not see Secrets.
"""

import contextlib
import json
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from control.kubernetes.errors import ApiError, ClusterUnusable
from control.kubernetes.resources import ApiResource, Call
from mesh.clock import Clock

_log = logging.getLogger("control.kubernetes")

CALL_TIMEOUT_S = 10.0
"""For an answer with all its bytes; a list's page may be given more."""
CONNECT_TIMEOUT_S = 5.0
MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""A page of 500 pods has about 5 MB; a server that ignores `limit` is refused rather than believed."""
MAX_CONNECTIONS = 64
RELOAD_EVERY_S = 5.0
"""Credentials that are refused are read again, but not at every refusal."""

JSON = "application/json"
APPLY_PATCH = "application/apply-patch+yaml"
MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"

Json = dict[str, Any]
Params = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Cluster:
    """An API server and our credentials."""

    host: str
    """`https://HOST:PORT`, perhaps with a path."""
    tls: ssl.SSLContext | None
    authorization: Callable[[], Awaitable[str]]
    """The header's value, empty for none."""
    server_name: str | None = None
    proxy: str | None = None


class KubeClient:
    """One per cluster. Made within the event loop; `close` it."""

    def __init__(
        self,
        cluster: Cluster,
        clock: Clock,
        reload: Callable[[], Awaitable[Cluster]] | None = None,
        *,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        """`reload` reads the credentials anew, after a 401."""
        self._max_answer_bytes = max_answer_bytes
        self._cluster = cluster
        self._clock = clock
        self._reload = reload
        self._reloaded_at = float("-inf")
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS),
            timeout=aiohttp.ClientTimeout(total=CALL_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            auto_decompress=True,
            read_bufsize=2**18,
        )

    @property
    def host(self) -> str:
        return self._cluster.host

    @property
    def server_name(self) -> str | None:
        """Whom its certificate has to name, where that is not the host."""
        return self._cluster.server_name

    async def close(self) -> None:
        await self._session.close()

    async def get(self, resource: ApiResource, name: str, namespace: str = "", *, subresource: str = "") -> Json:
        """Raises ApiError; `not_found` where there is none."""
        return await self.call("GET", Call("get", resource, namespace, name, subresource))

    async def find(self, resource: ApiResource, name: str, namespace: str = "") -> Json | None:
        """As `get`, None where there is none."""
        try:
            return await self.get(resource, name, namespace)
        except ApiError as error:
            if error.not_found:
                return None
            raise

    async def list(
        self, resource: ApiResource, namespace: str = "", *, params: Params | None = None, timeout_s: float = 30.0
    ) -> Json:
        """One page: `items` and `metadata` as the server wrote them. Raises ApiError."""
        return await self.call("GET", Call("list", resource, namespace), params=params, timeout_s=timeout_s)

    async def create(self, resource: ApiResource, body: Json, namespace: str = "", *, name: str = "") -> Json:
        """Raises ApiError; `exists` where there is one. `name` is for the message alone."""
        name = name or str(body.get("metadata", {}).get("name", ""))
        return await self.call("POST", Call("create", resource, namespace, name), body=body)

    async def update(
        self, resource: ApiResource, name: str, body: Json, namespace: str = "", *, subresource: str = ""
    ) -> Json:
        """Replace. With `metadata.resourceVersion` only what was read; `conflict` if it is another meanwhile."""
        return await self.call("PUT", Call("update", resource, namespace, name, subresource), body=body)

    async def patch(
        self,
        resource: ApiResource,
        name: str,
        body: object,
        namespace: str = "",
        *,
        content_type: str = MERGE_PATCH,
        subresource: str = "",
        params: Params | None = None,
    ) -> Json:
        """Raises ApiError."""
        call = Call("patch", resource, namespace, name, subresource)
        return await self.call("PATCH", call, body=body, content_type=content_type, params=params)

    async def delete(
        self, resource: ApiResource, name: str, namespace: str = "", *, resource_version: str = ""
    ) -> Json:
        """With `resource_version` only that version; `conflict` if it is another meanwhile. Raises ApiError;
        `not_found` where there is none."""
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"resourceVersion": resource_version},
        }
        body = options if resource_version else None
        return await self.call("DELETE", Call("delete", resource, namespace, name), body=body)

    async def call(
        self,
        method: str,
        call: Call,
        *,
        body: object = None,
        content_type: str = JSON,
        params: Params | None = None,
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> Json:
        """Any call whose answer is one JSON object. Raises ApiError."""
        data = None if body is None else orjson.dumps(body)
        limits = aiohttp.ClientTimeout(total=timeout_s, connect=CONNECT_TIMEOUT_S)
        again = self._reload is not None
        while True:
            async with self._sent(method, call, data, content_type, params, limits) as response:
                if response.status == 401 and again:
                    again = False
                    if await self._read_credentials():
                        continue
                text = await _read(response, call, self._max_answer_bytes)
                if response.status >= 300:
                    raise _refused(call, response, text)
                try:
                    answer = orjson.loads(text)
                except orjson.JSONDecodeError as error:
                    raise ApiError(call, response.status, "NotJson", "the answer is not JSON") from error
                if not isinstance(answer, dict):
                    raise ApiError(call, response.status, "NotJson", "the answer is not a JSON object")
                return answer

    @contextlib.asynccontextmanager
    async def stream(
        self, call: Call, *, params: Params | None = None, idle_timeout_s: float = 60.0
    ) -> AsyncIterator[aiohttp.StreamReader]:
        """A watch's bytes: one JSON object a line. Ends by itself when the server ends it.

        Raises ApiError for a refusal, when nothing comes for `idle_timeout_s`, and when the connection breaks.
        """
        limits = aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT_S, sock_read=idle_timeout_s)
        async with self._sent("GET", call, None, JSON, params, limits) as response:
            if response.status >= 300:
                if response.status == 401:
                    await self._read_credentials()
                raise _refused(call, response, await _read(response, call, self._max_answer_bytes))
            yield response.content

    @contextlib.asynccontextmanager
    async def _sent(
        self,
        method: str,
        call: Call,
        data: bytes | None,
        content_type: str,
        params: Params | None,
        limits: aiohttp.ClientTimeout,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        cluster = self._cluster
        if self._session.closed:
            raise ApiError(call, 0, "Unreachable", f"{cluster.host} is asked no more")
        headers = {"accept": JSON, "user-agent": "remora-control"}
        if data is not None:
            headers["content-type"] = content_type
        try:
            authorization = await cluster.authorization()
            if authorization:
                headers["authorization"] = authorization
            async with self._session.request(
                method,
                cluster.host + call.resource.path(*_address(method, call)),
                params=params,
                data=data,
                headers=headers,
                ssl=cluster.tls if cluster.tls is not None else True,
                server_hostname=cluster.server_name,
                proxy=cluster.proxy,
                timeout=limits,
                allow_redirects=False,
            ) as response:
                yield response
        except TimeoutError as error:  # aiohttp's ServerTimeoutError is one
            raise ApiError(call, 0, "Timeout", f"no answer of {cluster.host} in time") from error
        except (aiohttp.ClientError, OSError, ssl.SSLError) as error:
            raise ApiError(call, 0, "Unreachable", f"{cluster.host}: {_why(error)}") from error

    async def _read_credentials(self) -> bool:
        """Whether there are new ones to try."""
        now = self._clock.monotonic()
        if self._reload is None or now - self._reloaded_at < RELOAD_EVERY_S:
            return False
        self._reloaded_at = now
        try:
            self._cluster = await self._reload()
        except ClusterUnusable as error:
            _log.error("the API server refuses our credentials, and there are no others: %s", error)
            return False
        _log.info("the API server refused our credentials; they were read again")
        return True


def _why(error: aiohttp.ClientError | OSError) -> str:
    """Without aiohttp's representation of the TLS context."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return str(error.certificate_error)
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    return str(cause) or type(error).__name__


def _address(method: str, call: Call) -> tuple[str, str, str]:
    """A create names its object in the body; a subresource's (a token's) in the path."""
    name = "" if method == "POST" and not call.subresource else call.name
    return call.namespace, name, call.subresource


async def _read(response: aiohttp.ClientResponse, call: Call, max_bytes: int) -> bytes:
    """Raises ApiError where it is too large."""
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > max_bytes:
            response.close()
            raise ApiError(call, response.status, "TooLarge", f"the answer has more than {max_bytes} bytes")
        parts.append(part)
    return b"".join(parts)


def _refused(call: Call, response: aiohttp.ClientResponse, text: bytes) -> ApiError:
    """From a Kubernetes Status, or what else a proxy in between may have said."""
    status: Json = {}
    with contextlib.suppress(json.JSONDecodeError, UnicodeDecodeError):
        said = json.loads(text[:1_000_000])
        status = said if isinstance(said, dict) else {}
    reason = str(status.get("reason") or response.reason or "Refused")
    message = str(status.get("message") or text[:200].decode("utf-8", "replace"))
    details = status.get("details")
    return ApiError(
        call, response.status, reason, message, _retry_after(response), details if isinstance(details, dict) else {}
    )


def _retry_after(response: aiohttp.ClientResponse) -> float:
    value = response.headers.get("retry-after", "")
    return min(float(value), 300.0) if value.isascii() and value.isdigit() else 0.0
