"""The admin endpoints, loopback only, and the ones for the kubelet and Prometheus: paths and methods as Envoy's."""

import json
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Protocol

from sidecar.agent import openmetrics
from sidecar.agent.exposition import CONTENT_TYPE, Labels, number
from sidecar.agent.guard import refuse_strangers
from sidecar.agent.http_server import Handler, Request, Response, Stream, text
from sidecar.agent.inspection import clusters_as_text, join_clusters, join_listeners, listeners_as_text
from sidecar.agent.supervisor import CannotReplace

LEVELS = ("debug", "info", "warning", "error")

_JSON = "application/json; charset=utf-8"

Page = Callable[[Request], Awaitable[Response | Stream]]
Pages = Mapping[tuple[str, str], Page]
"""By method and path."""


class Views(Protocol):
    """What the pages show and do; the agent."""

    def state(self) -> str:
        """Envoy's word: LIVE, DRAINING, PRE_INITIALIZING."""

    def config_dump(self) -> str: ...
    async def inspect(self, what: str) -> list[str]: ...
    async def metrics(self, *, openmetrics: bool) -> bytes: ...
    def totals(self) -> Iterable[tuple[str, Labels, float]]: ...
    def stop(self, why: str) -> None: ...
    async def replace_workers(self) -> int:
        """How many were replaced. Raises CannotReplace."""


def admin_pages(views: Views, more: Pages | None = None) -> Handler:
    """Everything, and `more` pages; for loopback."""

    async def ready(request: Request) -> Response:
        return _readiness(views)

    async def config_dump(request: Request) -> Response:
        return Response(body=views.config_dump().encode(), content_type=_JSON)

    async def clusters(request: Request) -> Response:
        joined = join_clusters(await views.inspect("clusters"))
        return _as_json(joined) if _wants_json(request) else text(clusters_as_text(joined))

    async def listeners(request: Request) -> Response:
        joined = join_listeners(await views.inspect("listeners"))
        return _as_json(joined) if _wants_json(request) else text(listeners_as_text(joined))

    async def stats(request: Request) -> Response:
        kind = dict(request.query).get("format", "text")
        if kind == "prometheus":
            return await prometheus(request)
        if kind != "text":
            return text("format must be text or prometheus\n", 400)
        return text("".join(f"{_dotted(name, labels)}: {number(value)}\n" for name, labels, value in views.totals()))

    async def prometheus(request: Request) -> Response:
        return await _metrics(views, request)

    async def show_level(request: Request) -> Response:
        return text(f"level: {logging.getLevelName(logging.getLogger().level).lower()}\n")

    async def set_level(request: Request) -> Response:
        level = dict(request.query).get("level", "")
        if level not in LEVELS:
            return text(f"use ?level= with one of {', '.join(LEVELS)}\n", 400)
        logging.getLogger().setLevel(level.upper())
        return text(f"level: {level}\n")

    async def drain(request: Request) -> Response:
        views.stop(f"POST {request.path}")
        return text("OK\n")

    async def replace(request: Request) -> Response:
        try:
            count = await views.replace_workers()
        except CannotReplace as error:
            return text(f"{error}\n", 503)
        return text(f"{count} replaced\n")

    pages: dict[tuple[str, str], Page] = {
        ("GET", "/ready"): ready,
        ("GET", "/config_dump"): config_dump,
        ("GET", "/clusters"): clusters,
        ("GET", "/listeners"): listeners,
        ("GET", "/stats"): stats,
        ("GET", "/stats/prometheus"): prometheus,
        ("GET", "/metrics"): prometheus,
        ("GET", "/logging"): show_level,
        ("POST", "/logging"): set_level,
        ("POST", "/drain"): drain,
        ("POST", "/quitquitquit"): drain,
        ("POST", "/workers/replace"): replace,
        **(more or {}),
    }
    return _guarded(
        _routed(pages, {"/stats": {"format"}, "/clusters": {"format"}, "/listeners": {"format"}, "/logging": {"level"}})
    )


def metrics_pages(views: Views, more: Pages | None = None, untold: Collection[str] = ()) -> Handler:
    """For Prometheus, and `more` pages. Who does not know the `untold` paths does not learn them here."""

    async def prometheus(request: Request) -> Response:
        return await _metrics(views, request)

    return _routed(
        {("GET", "/metrics"): prometheus, ("GET", "/stats/prometheus"): prometheus, **(more or {})}, {}, untold
    )


def readiness_pages(views: Views) -> Handler:
    """For the kubelet; Istio's path and Envoy's."""

    async def ready(request: Request) -> Response:
        return _readiness(views)

    return _routed({("GET", "/healthz/ready"): ready, ("GET", "/ready"): ready}, {})


async def _metrics(views: Views, request: Request) -> Response:
    """In the format that the scraper prefers."""
    wanted = openmetrics.is_preferred(request.headers.get("accept", ""))
    body = await views.metrics(openmetrics=wanted)
    return Response(body=body, content_type=openmetrics.CONTENT_TYPE if wanted else CONTENT_TYPE)


def _readiness(views: Views) -> Response:
    state = views.state()
    return text(f"{state}\n", 200 if state == "LIVE" else 503)


def _routed(pages: Pages, parameters: Mapping[str, set[str]], untold: Collection[str] = ()) -> Handler:
    """Find the page; what it does not understand is refused, not ignored."""

    async def handle(request: Request) -> Response | Stream:
        methods = [method for method, path in pages if path == request.path]
        if not methods:
            told = sorted((path, method) for method, path in pages if path not in untold)
            known = "".join(f"{method} {path}\n" for path, method in told)
            return text(f"no such page; there are\n{known}", 404)
        page = pages.get((request.method, request.path))
        if page is None:
            return Response(405, b"method not allowed\n", headers=(("allow", ", ".join(methods)),))
        for name, _ in request.query:
            if name not in parameters.get(request.path, set()):
                return text(f"unknown parameter {name[:100]!r}\n", 400)
        return await page(request)

    return handle


def _guarded(handler: Handler) -> Handler:
    async def handle(request: Request) -> Response | Stream:
        return refuse_strangers(request) or await handler(request)

    return handle


def _wants_json(request: Request) -> bool:
    return dict(request.query).get("format") == "json"


def _as_json(value: object) -> Response:
    return Response(body=(json.dumps(value, indent=1) + "\n").encode(), content_type=_JSON)


def _dotted(name: str, labels: Labels) -> str:
    """Envoy's way to write a statistic: `cluster.NAME.upstream_cx_total`; Prometheus's for all that is not Envoy's."""
    by_name = dict(labels)
    for scope in ("cluster", "listener", "http"):
        owner = by_name.get(f"envoy_{scope}_name") or by_name.get(f"envoy_{scope}_address")
        if owner is not None and name.startswith(f"envoy_{scope}_") and len(labels) == 1:
            return f"{scope}.{owner}.{name.removeprefix(f'envoy_{scope}_')}"
    shown = ",".join(f"{key}={value}" for key, value in labels)
    return f"{name}{{{shown}}}" if shown else name
