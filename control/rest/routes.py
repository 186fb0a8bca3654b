"""The endpoints of docs/interfaces.md. Each one only reads its arguments, calls one thing, and writes the answer."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from control.api.kinds import find_kind
from control.api.resource import Key
from control.api.workload import Workload
from control.debug.dump import SECTIONS, dump
from control.debug.status import sync_status
from control.rest.bodies import AnalyzeBody, ApplyBody, ComponentBody, DeleteBody, Expectation
from control.rest.listing import listed, one, summaries
from control.rest.refusals import BadCall, NotFound, Refusal
from control.rest.rules import Outcome, Rules
from control.rest.workloads import Registration
from control.xds.publisher import Publisher

TARGETS_PATH = "/v1/prometheus/targets"
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Parts:
    """What the endpoints speak to."""

    rules: Rules
    registration: Registration
    publisher: Publisher
    trust_domain: str
    root_expires_at: Callable[[], float]
    metrics: Callable[[], bytes]
    targets: Callable[[], list[dict[str, Any]]]
    """For Prometheus' service discovery by HTTP."""
    clusters: Callable[[], list[dict[str, Any]]] = list
    """The other clusters of the mesh."""
    replicas: Callable[[], list[str]] = list
    """HOST:PORT of this interface of every control plane of a cluster, this one among them."""
    console_edits_rules: bool = True
    """Whether the console may change what it lists."""


def make_routes(parts: Parts) -> FastAPI:
    """The application, without the guard."""
    app = FastAPI(title="Remora control plane", openapi_url=None, docs_url=None, redoc_url=None)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(RequestValidationError, _malformed)
    _add_rules(app, parts)
    _add_workloads(app, parts)
    _add_insight(app, parts)
    return app


def _add_rules(app: FastAPI, parts: Parts) -> None:
    @app.post("/v1/apply")
    async def apply(body: ApplyBody) -> dict[str, Any]:
        if not body.files:
            raise BadCall("no files")
        files = [each.source() for each in body.files]
        return _outcome(await parts.rules.apply(files, _expected(body.expect), dry_run=body.dry_run))

    @app.post("/v1/delete")
    async def delete(body: DeleteBody) -> dict[str, Any]:
        if bool(body.files) == bool(body.resources):
            raise BadCall("give either files or resources")
        if body.files:
            if body.expect:
                raise BadCall("expect goes with resources, not with files")
            files = [each.source() for each in body.files]
            return _outcome(await parts.rules.delete_files(files, dry_run=body.dry_run))
        keys = tuple(dict.fromkeys(_key(each.kind, each.namespace, each.name) for each in body.resources))
        return _outcome(await parts.rules.delete(keys, _expected(body.expect), dry_run=body.dry_run))

    @app.post("/v1/analyze")
    async def analyze(body: AnalyzeBody) -> dict[str, Any]:
        found = await parts.rules.analyze([each.source() for each in body.files])
        return {"violations": [violation.to_json() for violation in found]}

    @app.get("/v1/rules")
    async def rules() -> dict[str, Any]:
        found = await asyncio.to_thread(summaries, parts.rules.stored())
        return {"rules": found, "console_edits_rules": parts.console_edits_rules}

    @app.get("/v1/resources/{kind}")
    async def resources(kind: str, namespace: str | None = None) -> dict[str, Any]:
        world, stored = parts.publisher.world, parts.rules.stored()
        return {"resources": await asyncio.to_thread(listed, world, stored, kind, namespace)}

    @app.get("/v1/resources/{kind}/{namespace}/{name}")
    async def resource(kind: str, namespace: str, name: str) -> dict[str, Any]:
        return await asyncio.to_thread(one, parts.publisher.world, parts.rules.stored(), kind, namespace, name)


def _add_workloads(app: FastAPI, parts: Parts) -> None:
    @app.post("/v1/workloads", status_code=201)
    async def register(body: Workload) -> dict[str, Any]:
        return asdict(await parts.registration.register(body, parts.trust_domain))

    @app.delete("/v1/workloads/{namespace}/{name}", status_code=204)
    async def forget(namespace: str, name: str) -> None:
        await parts.registration.forget(namespace, name)

    @app.post("/v1/tokens", status_code=201)
    async def token(body: ComponentBody) -> dict[str, Any]:
        made = parts.registration.component(body.namespace, body.service_account, parts.trust_domain)
        return {name: value for name, value in asdict(made).items() if value is not None}


def _add_insight(app: FastAPI, parts: Parts) -> None:
    @app.get("/v1/status")
    async def status(connected: bool = False) -> dict[str, Any]:
        return {
            "version": parts.publisher.version,
            "root_expires_at": parts.root_expires_at(),
            "proxies": sync_status(parts.publisher, connected=connected),
            "clusters": parts.clusters(),
            "replicas": parts.replicas(),
        }

    @app.get("/v1/config/{namespace}/{workload}/{section}")
    async def config(namespace: str, workload: str, section: str) -> dict[str, Any]:
        if section not in SECTIONS:
            raise NotFound(f"{section[:100]!r} is no section; there are {', '.join(SECTIONS)}")
        registered = parts.publisher.world.workloads.get((namespace, workload))
        plan = parts.publisher.plan
        snapshot = plan.snapshots.get(registered.node_id) if registered is not None else None
        if snapshot is None:
            raise NotFound(f"workload {namespace}/{workload} is not registered")
        return {"version": plan.version, "resources": dump(snapshot, section)}

    @app.get(TARGETS_PATH)
    async def prometheus_targets() -> JSONResponse:
        return JSONResponse(parts.targets())

    @app.get("/healthz")
    async def healthz() -> dict[str, Any]:
        return {"ready": True}

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(parts.metrics(), media_type=METRICS_TYPE)


def _expected(expect: Sequence[Expectation]) -> dict[Key, str]:
    return {_key(each.kind, each.namespace, each.name): each.etag for each in expect}


def _key(word: str, namespace: str, name: str) -> Key:
    kind = find_kind(word)
    if kind is None:
        raise NotFound(f"{word!r} is no kind of rule that Remora knows")
    return Key(kind.name, namespace, name)


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "changes": [
            {
                "action": change.action,
                "kind": change.key.kind,
                "namespace": change.key.namespace,
                "name": change.key.name,
                "before": change.before,
                "after": change.after,
                "etag": change.etag,
            }
            for change in outcome.changes
        ],
        "warnings": [violation.to_json() for violation in outcome.warnings],
        "version": outcome.version,
    }


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return JSONResponse(error.body(), status_code=error.status)


async def _malformed(_request: Request, error: Exception) -> Response:
    """What pydantic found, in a line."""
    assert isinstance(error, RequestValidationError)
    found = [f"{'.'.join(str(step) for step in each['loc'][1:]) or 'body'}: {each['msg']}" for each in error.errors()]
    return JSONResponse({"error": "; ".join(found[:20])}, status_code=422)
