"""A small API server for tests: what Kubernetes' own one does with resources, watches, writes, access and webhooks.

    async with FakeApiServer() as server:
        server.seed(pod)                    # put an object as it stands
        server.url, server.kubeconfig()     # for a client
        server.compact(); server.faults.cut_watches(); server.access.forbidden.add(("list", "", "pods"))

It keeps to the real one's answers, wording of refusals included, as far as clients tell them apart. Objects are judged
by their definition's schema and its rules in CEL, or by Kubernetes' published types. What else the real one validates
of built-in kinds, and what it estimates a rule in CEL to cost, is not here; and no controllers run: no EndpointSlice
appears by itself, no pod starts.
"""

import re
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import orjson
from aiohttp import web

from tests.kubernetes import discovery, failures, openapi, tables
from tests.kubernetes.access import ADMIN, Access, Asked, User
from tests.kubernetes.admission import Admission
from tests.kubernetes.faults import Faults
from tests.kubernetes.kubeconfigs import kubeconfig, serving_certificate
from tests.kubernetes.lists import Lists
from tests.kubernetes.storage import Object, Storage
from tests.kubernetes.types import REVIEWS, Types
from tests.kubernetes.watches import Watches
from tests.kubernetes.writes import Done, Target, Writes

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "GET": "get", "HEAD": "get"}
_ONE_NAME = re.compile(r"metadata\.name=([^,]+)\Z")
MAX_BODY_BYTES = 3 * 1024 * 1024


class FakeApiServer:
    """One per test, or per session: `async with` it, in the loop that also runs what is tested, or beside a process."""

    def __init__(self, *, tls: bool = False, host: str = "127.0.0.1") -> None:
        self.storage = Storage()
        self.types = Types()
        self.access = Access(self.storage)
        self.faults = Faults()
        self.services: dict[tuple[str, str, int], tuple[str, int]] = {}
        """Where webhooks' Services are: (namespace, name, port) to (host, port)."""
        self.asked: list[Asked] = []
        """Every authenticated request, in order; kept for as long as the server."""
        self.lists = Lists(self.storage)
        self.watches = Watches(self.storage, self.faults)
        self._writes = Writes(self.storage, self.types, Admission(self.storage, self._service), _now)
        self._host = host
        self._port = 0
        self._runner: web.AppRunner | None = None
        self._certificate = serving_certificate(host) if tls else None
        for namespace in ("default", "kube-system", "kube-public", "kube-node-lease"):
            self.seed({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})

    # Where it is.

    @property
    def url(self) -> str:
        scheme = "https" if self._certificate is not None else "http"
        return f"{scheme}://{self._host}:{self._port}"

    @property
    def ca_pem(self) -> str:
        """What a client trusts; empty without TLS."""
        return self._certificate.authority_pem if self._certificate is not None else ""

    def kubeconfig(self, token: str = "admin") -> dict[str, Any]:
        """For that token's user; write it with `orjson.dumps`: JSON is YAML."""
        return kubeconfig(self.url, token, self.ca_pem)

    # What it holds.

    def seed(self, found: Object) -> Object:
        """Put an object as it stands, its status too, past every check; its namespace is made if it is missing."""
        return self._writes.seed(found)

    def get(self, api_version: str, kind: str, name: str, namespace: str = "") -> Object:
        """As stored. Raises LookupError."""
        stored = self.storage.get(self._kind(api_version, kind), (namespace, name))
        if stored is None:
            raise LookupError(f"{kind} {namespace}/{name}")
        return stored.object

    def remove(self, api_version: str, kind: str, name: str, namespace: str = "") -> None:
        """At once, without finalizers or grace."""
        self.storage.remove(self._kind(api_version, kind), (namespace, name))

    def compact(self) -> None:
        """Forget every change until now: watches and list pages from before are answered 410."""
        self.storage.compact()
        self.lists.forget()

    def used_by(self, user: str) -> set[tuple[str, str, str]]:
        """The (verb, group, resource) that a user asked for; `resource` with its subresource, as RBAC writes it."""
        return {asked.permission for asked in self.asked if asked.user == user}

    def _kind(self, api_version: str, kind: str) -> tuple[str, str]:
        found = self.types.of_kind(api_version, kind)
        if found is None:
            raise LookupError(f"the fake API server knows no {api_version} {kind}")
        return found.key

    def _service(self, namespace: str, name: str, port: int) -> tuple[str, int]:
        try:
            return self.services[namespace, name, port]
        except KeyError as error:
            raise OSError(f'service "{name}" not found') from error

    # Running.

    async def __aenter__(self) -> "FakeApiServer":
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; on the port of before if there was one."""
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        context: ssl.SSLContext | None = self._certificate.context if self._certificate is not None else None
        site = web.TCPSite(self._runner, self._host, self._port, ssl_context=context, reuse_address=True)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Refuse connections and end those that are; the data stays for `start`."""
        self.faults.cut_everything()
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    # Requests.

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        try:
            with self.faults.connection(request):
                return await self._answer(request)
        except failures.ApiError as error:
            headers = {"Retry-After": str(error.retry_after_s)} if error.retry_after_s is not None else {}
            return _json(error.body, error.code, headers)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path.rstrip("/")
        if path in ("/healthz", "/livez", "/readyz"):
            return web.Response(text="ok")
        user = self.access.who(request.headers.get("Authorization", ""))
        if user is None:
            raise failures.unauthorized()
        found = discovery.answer(path, self.types) or openapi.answer(path, self.types)
        if found is not None:
            return _json(found)
        group, version, rest = _split(path)
        if (group, rest[0] if len(rest) == 1 else "") in REVIEWS and request.method == "POST":
            return await self._review(request, user, group, version, rest[0])
        target = self._target(group, version, rest)
        verb = _verb(request, target)
        name = target.name
        if verb in ("list", "watch") and (match := _ONE_NAME.match(request.query.get("fieldSelector", ""))):
            name = match[1]  # what resourceNames of a role are compared with
        plural = target.type.plural + (f"/{target.subresource}" if target.subresource else "")
        asked = Asked(user.name, verb, group, plural, target.namespace, name)
        self.asked.append(asked)
        await self.faults.before(asked)
        self.access.check(user, asked)
        if target.subresource not in ("", "status", "token") or (
            target.subresource == "status" and not target.type.has_status
        ):
            raise failures.no_such_resource()
        if verb in ("get", "list", "watch"):
            return await self._read(request, target, verb)
        return await self._change(request, target, verb, user)

    async def _read(self, request: web.Request, target: Target, verb: str) -> web.StreamResponse:
        as_table = tables.wanted(request.headers.get("Accept", ""))
        if verb == "watch":
            return await self.watches.serve(request, target, as_table=as_table)
        if verb == "list":
            body = self.lists.page(target, request.query, as_table=as_table)
            return web.Response(body=body, content_type="application/json")
        found = self._writes.stored(target)
        if not as_table:
            return _json(_in_version(found, target))
        metadata = {"resourceVersion": found["metadata"]["resourceVersion"]}
        include = request.query.get("includeObject", "")
        return _json(tables.table(target.type, target.version, [found], metadata, include))

    async def _change(self, request: web.Request, target: Target, verb: str, user: User) -> web.StreamResponse:
        query = dict(request.query)
        query.setdefault("fieldManager", request.headers.get("User-Agent", "").partition("/")[0])
        body = await request.read()
        if verb in ("create", "update") and request.content_type != "application/json":
            raise failures.unsupported(request.content_type)
        if verb == "patch":
            form = request.content_type
            done = await self._writes.patch(target, body, form, user, dict(request.query) if "apply" in form else query)
        elif verb == "create" and target.subresource == "token":
            return self._token(target, _decoded(body))
        elif verb == "create":
            done = await self._writes.create(target, _decoded(body), user, query)
        elif verb == "update":
            done = await self._writes.update(target, _decoded(body), user, query)
        elif verb == "delete":
            done = await self._writes.delete(target, _decoded(body) if body else {}, user, query)
        else:
            return await self._delete_all(target, request, user, query)
        headers = [("Warning", f'299 - "{_quoted(text)}"') for text in done.warnings]
        return _json(_in_version(done.object, target), done.code, headers)

    async def _delete_all(
        self, target: Target, request: web.Request, user: User, query: Mapping[str, str]
    ) -> web.StreamResponse:
        last: list[Done] = []
        for stored in self.lists.selected(target, request.query):
            metadata = stored.object["metadata"]
            each = Target(target.type, target.version, metadata.get("namespace", ""), metadata["name"])
            last.append(await self._writes.delete(each, {}, user, query))
        return _json({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 200})

    async def _review(
        self, request: web.Request, user: User, group: str, version: str, plural: str
    ) -> web.StreamResponse:
        asked = Asked(user.name, "create", group, plural)
        self.asked.append(asked)
        await self.faults.before(asked)
        if not plural.startswith("self"):
            self.access.check(user, asked)
        found = _decoded(await request.read())
        spec = found.get("spec") or {}
        status = self.access.review_token(spec) if plural == "tokenreviews" else self.access.review_access(spec, user)
        return _json(
            {**found, "apiVersion": f"{group}/{version}", "kind": REVIEWS[group, plural], "status": status}, 201
        )

    def _token(self, target: Target, found: Mapping[str, Any]) -> web.StreamResponse:
        self._writes.stored(Target(target.type, target.version, target.namespace, target.name))
        spec = found.get("spec") or {}
        bound = spec.get("boundObjectRef") or {}
        audiences = spec.get("audiences") or None
        token = self.access.issue(
            target.namespace,
            target.name,
            **({"audiences": audiences} if audiences else {}),
            pod=bound.get("name", ""),
            pod_uid=bound.get("uid", ""),
        )
        return _json({**found, "status": {"token": token, "expirationTimestamp": "2099-01-01T00:00:00Z"}}, 201)

    def _target(self, group: str, version: str, rest: list[str]) -> Target:
        namespace = ""
        if len(rest) > 2 and rest[0] == "namespaces" and rest[2] not in ("status", "finalize"):
            namespace, rest = rest[1], rest[2:]
        kind = self.types.find(group, version, rest[0]) if rest else None
        if kind is None or len(rest) > 3 or (namespace and not kind.namespaced):
            raise failures.no_such_resource()
        name, subresource = (rest[1] if len(rest) > 1 else ""), (rest[2] if len(rest) > 2 else "")
        if kind.namespaced and name and not namespace:
            raise failures.no_such_resource()
        return Target(kind, version, namespace, name, subresource)


def _verb(request: web.Request, target: Target) -> str:
    verb = _VERBS.get(request.method)
    if verb is None:
        raise failures.ApiError(
            405, "MethodNotAllowed", "the server does not allow this method on the requested resource"
        )
    if verb == "get" and not target.name:
        return "watch" if request.query.get("watch") in ("1", "true") else "list"
    if verb == "delete" and not target.name:
        return "deletecollection"
    if (verb in ("update", "patch") and not target.name) or (
        verb == "create" and bool(target.name) != bool(target.subresource)
    ):
        raise failures.ApiError(
            405, "MethodNotAllowed", "the server does not allow this method on the requested resource"
        )
    return verb


def _split(path: str) -> tuple[str, str, list[str]]:
    """Group, version and the rest of a path. Raises ApiError."""
    parts = path.split("/")[1:]
    if parts[0] == "api" and len(parts) > 2:
        return "", parts[1], parts[2:]
    if parts[0] == "apis" and len(parts) > 3:
        return parts[1], parts[2], parts[3:]
    raise failures.no_such_resource()


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(body)
    except ValueError as error:
        raise failures.bad_request(f"the object provided is unrecognized: {error}") from error
    if not isinstance(found, dict):
        raise failures.bad_request("the object provided is unrecognized (must be a mapping)")
    return found


def _in_version(found: Object, target: Target) -> Object:
    version = target.type.api_version(target.version)
    return found if found.get("apiVersion") == version else {**found, "apiVersion": version}


def _json(body: Any, code: int = 200, headers: Any = ()) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=code, content_type="application/json", headers=headers)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


__all__ = ["ADMIN", "FakeApiServer"]
