"""The ASGI application with Jaeger's HTTP API (the one of its user interface and of Grafana's data source).

https://www.jaegertracing.io/docs/latest/architecture/apis/#internal-http-json; shapes and statuses are those of
jaegertracing/jaeger, cmd/query/app/http_handler.go.
"""

import hmac
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, unquote

from collectors.query import parameters, render
from collectors.query.backend import Backend, BackendError
from collectors.query.parameters import BadParameter, Parameters
from collectors.query.telemetry import QueryTelemetry
from mesh.asgi import Receive, Scope, Send, refuse, respond
from mesh.clock import Clock

_log = logging.getLogger("remora.query")

MAX_QUERY_BYTES = 16 * 1024
_JSON = "application/json"
_MAX_FIELDS = 200

Answer = tuple[int, bytes, str]
"""Status, body, content type."""


class QueryApi:
    """Answers GET and HEAD."""

    def __init__(
        self,
        backend: Backend,
        clock: Clock,
        telemetry: QueryTelemetry,
        *,
        hosts: frozenset[str],
        token: Callable[[], str] | None = None,
    ) -> None:
        """`hosts`: values of Host that are meant for us; empty: any. `token`: what a client must show as a bearer."""
        self._backend = backend
        self._clock = clock
        self._telemetry = telemetry
        self._hosts = hosts
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        status, body, content_type = await self._answer(scope)
        self._telemetry.answered.labels(_route(scope["path"]), str(status)).inc()
        headers: tuple[tuple[bytes, bytes], ...] = (
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
        )
        if status == 401:
            headers += ((b"www-authenticate", b"Bearer"),)
        if status == 405:
            headers += ((b"allow", b"GET, HEAD"),)
        if scope["method"] in ("GET", "HEAD"):
            await respond(send, status, body, content_type, headers)
        else:
            await refuse(scope, receive, send, status, body, content_type, headers)

    async def _answer(self, scope: Scope) -> Answer:
        headers = dict(scope["headers"])
        # A page of another site that had its name resolve to us would be let in by the browser: not by us.
        if self._hosts and headers.get(b"host", b"").decode("latin-1").lower() not in self._hosts:
            return _error(403, "this address is not served: ask by the one that was configured (--allow-host adds one)")
        if self._token is not None:
            try:
                expected = f"Bearer {self._token()}".encode()
            except (OSError, ValueError) as error:
                _log.error("nobody is let in: %s", error)
                return _error(503, "the service cannot check tokens at present")
            if not hmac.compare_digest(headers.get(b"authorization", b""), expected):
                return _error(401, "a bearer token is required")
        if scope["method"] not in ("GET", "HEAD"):
            return 405, b"", "text/plain"
        if len(scope["query_string"]) > MAX_QUERY_BYTES:
            return _error(414, f"the query has more than {MAX_QUERY_BYTES} bytes")
        try:
            asked = parse_qs(
                scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=_MAX_FIELDS
            )
            raw_path = scope.get("raw_path") or scope["path"].encode()
            return await self._route(raw_path.decode("latin-1").partition("?")[0], asked)
        except BadParameter as error:
            return _error(400, str(error))
        except ValueError as error:
            return _error(400, f"the query cannot be read: {error}")
        except BackendError as error:
            _log.error("no answer to %s: %s", _route(scope["path"]), error)
            return _error(500, str(error))

    async def _route(self, path: str, asked: Parameters) -> Answer:
        handler: Callable[[Parameters], Awaitable[Answer]]
        match [unquote(part) for part in path.strip("/").split("/")]:
            case ["api", "services"]:
                handler = self._services
            case ["api", "operations"]:
                handler = self._operations
            case ["api", "services", service, "operations"]:
                return await self._operation_names(service, asked)
            case ["api", "traces"]:
                handler = self._search
            case ["api", "traces", trace_id]:
                return await self._trace(trace_id, asked)
            case ["api", "dependencies"]:
                handler = self._dependencies
            case ["api", "metrics", _]:
                return _error(501, "metrics querying is currently disabled")
            case ["healthz"]:
                return 200, b'{"ready": true}', _JSON
            case ["metrics"]:
                return 200, self._telemetry.render(), "text/plain; version=0.0.4; charset=utf-8"
            case _:
                return 404, b"404 page not found\n", "text/plain; charset=utf-8"
        return await handler(asked)

    async def _services(self, asked: Parameters) -> Answer:
        names = await self._backend.services()
        return _data(asked, names, total=len(names))

    async def _operation_names(self, service: str, asked: Parameters) -> Answer:
        names = sorted({operation.name for operation in await self._backend.operations(service, "")})
        return _data(asked, names, total=len(names))

    async def _operations(self, asked: Parameters) -> Answer:
        service = parameters.first(asked, "service")
        if not service:
            raise BadParameter("parameter 'service' is required")
        found = await self._backend.operations(service, parameters.first(asked, "spanKind"))
        shown = [{"name": name, "spanKind": kind} for name, kind in found]
        return _data(asked, shown, total=len(shown))

    async def _search(self, asked: Parameters) -> Answer:
        wanted = parameters.search(asked, int(self._clock.now() * 1e6))
        errors: list[dict[str, Any]] = []
        traces = []
        if wanted.trace_ids:
            for trace_id in wanted.trace_ids:
                documents = await self._backend.trace(trace_id)
                if documents:
                    traces.append(documents)
                else:
                    errors.append({"msg": "trace not found", "traceID": trace_id.removeprefix("0" * 16)})
        else:
            found = await self._backend.find(wanted.query)
            traces = found.traces
            errors = [{"msg": "left out: the answer is too large", "traceID": each} for each in found.left_out]
        return _data(asked, [render.trace(documents) for documents in traces], errors=errors or None)

    async def _trace(self, text: str, asked: Parameters) -> Answer:
        documents = await self._backend.trace(parameters.trace_id(text))
        if not documents:
            return _error(404, "trace not found")
        return _data(asked, [render.trace(documents)])

    async def _dependencies(self, asked: Parameters) -> Answer:
        end_us, lookback_us = parameters.dependencies(asked, int(self._clock.now() * 1e6))
        found = await self._backend.dependencies(end_us, lookback_us)
        return _data(asked, render.links(found, parameters.first(asked, "service")))


def _data(asked: Parameters, data: Any, *, total: int = 0, errors: list[dict[str, Any]] | None = None) -> Answer:
    # Jaeger counts services and operations, and leaves traces and dependencies at 0.
    answer = {"data": data, "total": total, "limit": 0, "offset": 0, "errors": errors}
    pretty = parameters.is_true(asked, "prettyPrint")
    return 200, _render(answer, indent=4 if pretty else None), _JSON


def _error(status: int, message: str) -> Answer:
    errors = [{"code": status, "msg": message}]
    return status, _render({"data": None, "total": 0, "limit": 0, "offset": 0, "errors": errors}), _JSON


def _render(answer: Any, indent: int | None = None) -> bytes:
    separators = None if indent else (",", ":")
    # Lone surrogates of hostile names become question marks.
    return json.dumps(answer, ensure_ascii=False, indent=indent, separators=separators).encode("utf-8", "replace")


def _route(path: str) -> str:
    """For the metric: what is asked for, without ids and names."""
    parts = path.strip("/").split("/")
    if len(parts) >= 2 and parts[0] == "api" and parts[1] in ("services", "operations", "traces", "dependencies"):
        return {1: "trace", 2: "operations"}.get(len(parts) - 2, "other") if len(parts) > 2 else parts[1]
    return "other"
