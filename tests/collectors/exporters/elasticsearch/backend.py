"""A back end that answers as Elasticsearch or OpenSearch does, or as it was told to. The shapes are those of a real
Elasticsearch 8.19 and of OpenSearch 2.19."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import orjson
from aiohttp import web

from collectors.exporters.elasticsearch.engine import Engine

HEADERS = {"x-elastic-product": "Elasticsearch"}


@dataclass
class Call:
    """One request that came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def lines(self) -> list[Any]:
        return [orjson.loads(line) for line in self.body.splitlines()]


Answer = Callable[[Call], web.Response | None]


def error(status: int, kind: str, why: str, **headers: str) -> web.Response:
    """As Elasticsearch says that a request failed."""
    cause = {"type": kind, "reason": why}
    return said({"error": {"root_cause": [cause], **cause}, "status": status}, status, **headers)


def said(body: Any, status: int = 200, **headers: str) -> web.Response:
    text = headers | {"content-type": "application/json"}
    return web.Response(body=orjson.dumps(body), status=status, headers={**HEADERS, **text})


@dataclass
class Backend:
    """Keeps templates and documents, and every call. `answers` are asked first, in turn, each until it returns None."""

    tls: ssl.SSLContext | None = None
    engine: Engine = "elasticsearch"
    calls: list[Call] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    installed: dict[str, Any] = field(default_factory=dict)
    documents: dict[tuple[str, str], Any] = field(default_factory=dict)
    item: Callable[[str, str, Any], tuple[int, str, str] | None] = lambda index, id_, source: None
    """Status, type and reason for a document that is not taken."""
    url: str = ""

    async def __aenter__(self) -> Self:
        application = web.Application(client_max_size=256 << 20)
        application.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(application, access_log=None, handle_signals=False)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self.tls)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"{'https' if self.tls else 'http'}://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    def sent(self, path: str) -> list[Call]:
        return [call for call in self.calls if call.path == path]

    async def _serve(self, request: web.Request) -> web.Response:
        response = await self._answer(request)
        if self.engine == "opensearch":
            for name in HEADERS:
                response.headers.popall(name, None)
        return response

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        # aiohttp's server unpacks gzip by itself.
        headers = {name.lower(): value for name, value in request.headers.items()}
        call = Call(request.method, request.path, dict(request.query), headers, body)
        self.calls.append(call)
        kind = headers.get("content-type", "")
        if self.engine == "opensearch" and "vnd.elasticsearch" in kind:
            body = {"error": f"Content-Type header [{kind}] is not supported", "status": 406}
            return said(body, 406)
        for answer in self.answers:
            if (response := answer(call)) is not None:
                return response
        if call.path == "/_bulk":
            if self.engine == "opensearch" and "require_data_stream" in call.query:
                why = "request [/_bulk] contains unrecognized parameter: [require_data_stream]"
                return error(400, "illegal_argument_exception", why)
            return said({"items": self._bulk(call.lines)})
        if call.path.endswith("/_settings/index.creation_date"):
            index = call.path.split("/")[1]
            return said({f".ds-{index}-000001": {"settings": {"index": {"creation_date": "1000"}}}})
        if call.path.startswith("/_data_stream/"):
            return self._make_stream(call.path)
        if call.method == "PUT":
            self.installed[call.path] = orjson.loads(body)
            return said({"acknowledged": True})
        if call.method == "GET" and call.path in self.installed:
            return said(_shown(call.path, self.installed[call.path]))
        return error(404, "resource_not_found_exception", f"{call.path} not found")

    def _make_stream(self, path: str) -> web.Response:
        name = path.rpartition("/")[2]
        if path in self.installed:
            return error(400, "resource_already_exists_exception", f"data_stream [{name}] already exists")
        if not any(each.startswith("/_index_template/") for each in self.installed):
            why = f"no matching index template found for data stream [{name}]"
            return error(400, "illegal_argument_exception", why)
        self.installed[path] = {}
        return said({"acknowledged": True})

    def _bulk(self, lines: list[Any]) -> list[Any]:
        items = []
        for action, source in zip(lines[::2], lines[1::2], strict=True):
            index, id_ = action["create"]["_index"], action["create"]["_id"]
            backing = f".ds-{index}-000001"
            entry: dict[str, Any] = {"_index": backing, "status": 201}
            if (problem := self.item(index, id_, source)) is not None:
                status, kind, why = problem
                entry = {"_index": backing, "status": status, "error": {"type": kind, "reason": why}}
            elif (index, id_) in self.documents:
                entry = {"_index": backing, "status": 409, "error": {"type": "version_conflict_engine_exception"}}
            else:
                self.documents[index, id_] = source
            items.append({"create": entry})
        return items


def _shown(path: str, body: Any) -> Any:
    name = path.rpartition("/")[2]
    if path.startswith("/_ilm"):
        return {name: {"version": 1, "modified_date": "2026-01-31T12:00:00.000Z", "policy": body["policy"]}}
    kind = "component_template" if path.startswith("/_component") else "index_template"
    return {f"{kind}s": [{"name": name, kind: body}]}
