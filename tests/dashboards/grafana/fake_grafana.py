"""A Grafana as its HTTP API's documentation describes it, as far as pushing needs it: strict about what it is sent, and
with the answers of the documentation for what goes wrong. https://grafana.com/docs/grafana/latest/developers/http_api/"""

import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

Json = dict[str, Any]

TOKEN = "glsa_fakeFakeFakeFakeFakeFakeFakeFa_0a1b2c3d"

_UID = re.compile(r"[a-zA-Z0-9_-]{1,40}\Z")
_SAVE = {"dashboard", "folderUid", "folderId", "message", "overwrite"}
_SOURCE = {"id", "uid", "orgId", "name", "type", "access", "url", "isDefault", "basicAuth", "jsonData", "version"}


class Refusal(Exception):
    """An answer that is no."""

    def __init__(self, status: int, message: str, /, **more: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"message": message, **more}


@dataclass
class Saved:
    """A dashboard with all its versions."""

    content: Json
    folder_uid: str
    provisioned: bool = False
    messages: list[str] = field(default_factory=list)
    by: str = "sa-remora"

    @property
    def version(self) -> int:
        return len(self.messages)


@dataclass
class FakeGrafana:
    """Its state, and what it was asked."""

    folders: dict[str, str] = field(default_factory=dict)
    """Titles by uid."""
    dashboards: dict[str, Saved] = field(default_factory=dict)
    sources: dict[str, Json] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Method and path."""
    users: list[str | None] = field(default_factory=list)
    """The authorization header of each request."""
    versions_as_object: bool = False
    """As since Grafana 11.5."""
    role: str = "Admin"
    prefix: str = ""
    redirect_to: str | None = None
    ahead: dict[str, Json] = field(default_factory=dict)
    """Dashboards that somebody saves between our look and our writing."""

    @property
    def writes(self) -> list[tuple[str, str]]:
        return [(method, path) for method, path in self.asked if method != "GET"]

    def edit(self, uid: str, **changes: Any) -> None:
        """Somebody changes a dashboard in the browser."""
        saved = self.dashboards[uid]
        saved.content = {**saved.content, **changes}
        saved.messages.append("")
        saved.by = "ada"

    # The API

    def answer(self, method: str, path: str, body: Any) -> Any:
        if not path.startswith(f"{self.prefix}/api/"):
            raise Refusal(404, "Not found")
        parts = path.removeprefix(f"{self.prefix}/api/").split("/")
        match method, parts:
            case "GET", ["health"]:
                return {"database": "ok", "version": "12.1.0", "commit": "unknown"}
            case "GET", ["folders", uid]:
                if uid not in self.folders:
                    raise Refusal(404, "folder not found")
                return {"id": 1, "uid": uid, "title": self.folders[uid], "version": 1}
            case "POST", ["folders"]:
                return self._create_folder(body)
            case "GET", ["dashboards", "uid", uid]:
                return self._dashboard(uid)
            case "GET", ["dashboards", "uid", uid, "versions"]:
                return self._versions(uid)
            case "POST", ["dashboards", "db"]:
                return self._save(body)
            case "GET", ["datasources", "uid", uid]:
                if uid not in self.sources:
                    raise Refusal(404, "Data source not found")
                return self.sources[uid]
            case "POST", ["datasources"]:
                return self._create_source(body)
            case "PUT", ["datasources", "uid", uid]:
                return self._update_source(uid, body)
        raise Refusal(404, f"no such address: {method} {path}")

    def _need(self, role: str) -> None:
        ranks = ("Viewer", "Editor", "Admin")
        if ranks.index(self.role) < ranks.index(role):
            raise Refusal(403, "You'll need additional permissions to perform this action")

    def _create_folder(self, body: Json) -> Json:
        self._need("Editor")
        _only(body, {"title", "uid", "parentUid"})
        title, uid = body.get("title"), body.get("uid")
        if not title or not _UID.match(str(uid)):
            raise Refusal(400, "bad request data")
        if uid in self.folders:
            raise Refusal(409, "a folder with the same uid already exists")
        if title in self.folders.values():
            raise Refusal(409, "a folder with the same name already exists in the current location")
        self.folders[str(uid)] = str(title)
        return {"id": 1, "uid": uid, "title": title, "version": 1}

    def _dashboard(self, uid: str) -> Json:
        saved = self.dashboards.get(uid)
        if saved is None:
            raise Refusal(404, "Dashboard not found")
        meta = {
            "isStarred": False,
            "url": f"/d/{uid}/x",
            "folderUid": saved.folder_uid,
            "provisioned": saved.provisioned,
            "updated": "2026-01-02T03:04:05Z",
            "updatedBy": saved.by,
            "version": saved.version,
        }
        return {"dashboard": {**saved.content, "id": 7, "version": saved.version}, "meta": meta}

    def _versions(self, uid: str) -> Any:
        saved = self.dashboards[uid]
        found = [
            {"id": number, "uid": uid, "version": number, "parentVersion": number - 1, "message": said}
            for number, said in enumerate(saved.messages, 1)
        ]
        found.reverse()
        return {"continueToken": "", "versions": found} if self.versions_as_object else found

    def _save(self, body: Json) -> Json:
        self._need("Editor")
        _only(body, _SAVE)
        content = body.get("dashboard")
        if not isinstance(content, dict) or not content.get("title"):
            raise Refusal(400, "Dashboard title cannot be empty")
        if not isinstance(content.get("schemaVersion"), int) or not isinstance(content.get("panels"), list):
            raise Refusal(400, "bad request data")
        uid, place = str(content.get("uid")), str(body.get("folderUid") or "")
        if not _UID.match(uid):
            raise Refusal(400, "uid contains illegal characters")
        if place and place not in self.folders:
            raise Refusal(400, "folder not found")
        if uid in self.ahead:
            self.edit(uid, **self.ahead.pop(uid))
        there = self.dashboards.get(uid)
        if there is None:
            if content.get("id") is not None:
                raise Refusal(404, "Dashboard not found")
            self.dashboards[uid] = Saved({}, place)
        elif there.provisioned:
            raise Refusal(400, "Cannot save provisioned dashboard")
        elif not body.get("overwrite"):
            if content.get("id") is None:
                raise Refusal(412, "A dashboard with the same uid already exists", status="name-exists")
            if content.get("version") != there.version:
                raise Refusal(412, "The dashboard has been changed by someone else", status="version-mismatch")
        saved = self.dashboards[uid]
        saved.content = {key: value for key, value in content.items() if key not in ("id", "version")}
        saved.folder_uid = place
        saved.messages.append(str(body.get("message") or ""))
        saved.by = "sa-remora"
        return {"id": 7, "uid": uid, "url": f"/d/{uid}/x", "status": "success", "version": saved.version, "slug": "x"}

    def _check_source(self, body: Json) -> None:
        self._need("Admin")
        _only(body, _SOURCE)
        if not body.get("name") or not body.get("type") or body.get("access") not in ("proxy", "direct"):
            raise Refusal(400, "bad request data")
        if not str(body.get("url", "")).startswith(("http://", "https://")):
            raise Refusal(400, "Validation error, invalid URL")

    def _create_source(self, body: Json) -> Json:
        self._check_source(body)
        if any(source["name"] == body["name"] for source in self.sources.values()):
            raise Refusal(409, "data source with the same name already exists")
        stored = {**body, "id": len(self.sources) + 1, "version": 1, "readOnly": False, "secureJsonFields": {}}
        self.sources[str(body["uid"])] = stored
        return {"datasource": stored, "id": stored["id"], "message": "Datasource added", "name": body["name"]}

    def _update_source(self, uid: str, body: Json) -> Json:
        self._check_source(body)
        there = self.sources.get(uid)
        if there is None:
            raise Refusal(404, "Data source not found")
        if there["readOnly"]:
            raise Refusal(403, "Cannot update read-only data source")
        if body.get("version", there["version"]) < there["version"]:
            raise Refusal(409, "Datasource has already been updated by someone else. Please reload and try again")
        self.sources[uid] = {**there, **body, "version": there["version"] + 1}
        return {"datasource": self.sources[uid], "id": there["id"], "message": "Datasource updated"}


def _only(body: object, known: set[str]) -> None:
    if not isinstance(body, dict):
        raise Refusal(400, "bad request data")
    if unknown := body.keys() - known:
        raise Refusal(400, f"unknown fields: {sorted(unknown)}")


class RunningGrafana:
    """The fake behind a socket of the loopback."""

    def __init__(self, state: FakeGrafana) -> None:
        self.state = state
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(state))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}{self.state.prefix}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


def _handler(state: FakeGrafana) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def do_PUT(self) -> None:
            self._serve()

        def log_message(self, format: str, *args: object) -> None:
            pass

        def _serve(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = urlsplit(self.path).path
            state.asked.append((self.command, path.removeprefix(f"{state.prefix}/api")))
            state.users.append(self.headers.get("Authorization"))
            if state.redirect_to is not None:
                self._send(302, b"", location=state.redirect_to)
                return
            try:
                if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                    raise Refusal(401, "Invalid API key")
                if raw and self.headers.get("Content-Type") != "application/json":
                    raise Refusal(415, "not JSON")
                answer = state.answer(self.command, path, json.loads(raw) if raw else None)
                self._send(200, json.dumps(answer).encode())
            except Refusal as refusal:
                self._send(refusal.status, json.dumps(refusal.body).encode())

        def _send(self, status: int, body: bytes, *, location: str | None = None) -> None:
            self.send_response(status)
            if location is not None:
                self.send_header("Location", location)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler
