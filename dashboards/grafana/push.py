"""Brings folder, dashboards and data sources into a Grafana so that doing it again changes nothing, and nothing that
somebody changed there by hand is lost: a version of ours is known by the message that it was saved with, and whoever
saved after it has the last word unless the user says otherwise.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from dashboards.grafana.datasources import FINGERPRINT, fingerprint
from dashboards.grafana.folder import Folder
from dashboards.grafana.server import Json, Precondition

_MARK = re.compile(r"remora dashboards push ([0-9a-f]{32})\Z")


class Action(StrEnum):
    """What became of one thing."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    KEPT = "kept"
    """Somebody changed it; we have nothing newer to say."""
    CONFLICT = "conflict"
    """Somebody changed it, and so did we: nothing was written."""


class Result(NamedTuple):
    """Of one folder, dashboard or data source."""

    kind: str
    name: str
    uid: str
    action: Action
    why: str = ""


class Server(Protocol):
    """The part of server.Grafana that is used."""

    def folder(self, uid: str) -> Json | None: ...
    def create_folder(self, title: str, uid: str) -> None: ...
    def dashboard(self, uid: str) -> Json | None: ...
    def messages(self, uid: str) -> list[str]: ...
    def save_dashboard(self, content: Json, folder_uid: str, message: str, *, overwrite: bool) -> None: ...
    def data_source(self, uid: str) -> Json | None: ...
    def create_data_source(self, payload: Json) -> None: ...
    def update_data_source(self, uid: str, payload: Json) -> None: ...


def push(
    server: Server, folder: Folder, dashboards: Sequence[Json], sources: Sequence[Json], *, overwrite: bool = False
) -> Iterator[Result]:
    """Everything in turn; a conflict of one does not hold up the others. Raises GrafanaError where nothing goes on."""
    # First, so that a dashboard that is opened at once finds what it asks.
    for payload in sources:
        yield _push_source(server, payload, overwrite)
    yield _push_folder(server, folder)
    for content in dashboards:
        yield _push_dashboard(server, folder, content, overwrite)


def _push_folder(server: Server, folder: Folder) -> Result:
    found = server.folder(folder.uid)
    if found is not None:
        renamed = "" if found.get("title") == folder.title else f"it is called {found.get('title')!r} there"
        return Result("folder", folder.title, folder.uid, Action.UNCHANGED, renamed)
    server.create_folder(folder.title, folder.uid)
    return Result("folder", folder.title, folder.uid, Action.CREATED)


def message(content: Mapping[str, Any]) -> str:
    """What a dashboard's version is saved with."""
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
    return f"remora dashboards push {digest}"


def _push_dashboard(server: Server, folder: Folder, content: Json, overwrite: bool) -> Result:
    title, uid, said = str(content["title"]), str(content["uid"]), message(content)

    def result(action: Action, why: str = "") -> Result:
        return Result("dashboard", title, uid, action, why)

    found = server.dashboard(uid)
    try:
        if found is None:
            server.save_dashboard({**content, "id": None}, folder.uid, said, overwrite=False)
            return result(Action.CREATED)
        meta, there = found.get("meta") or {}, found["dashboard"]
        if meta.get("provisioned"):
            return result(Action.CONFLICT, "it comes from a file of Grafana's provisioning: change it there")
        history = server.messages(uid)
        if history and history[0] == said:
            return result(Action.UNCHANGED)
        if not overwrite and not (history and _MARK.match(history[0])):
            if said in history:
                return result(Action.KEPT, f"changed there by {_who(meta)}; --overwrite takes it back")
            return result(Action.CONFLICT, f"changed there by {_who(meta)}, and here; --overwrite takes ours")
        # Where somebody moved it, it stays.
        place = str(meta.get("folderUid") or "")
        ours = {**content, "id": there.get("id"), "version": there.get("version", 0)}
        server.save_dashboard(ours, place, said, overwrite=overwrite)
    except Precondition as error:
        return result(Action.CONFLICT, str(error))
    return result(Action.UPDATED)


def _who(meta: Mapping[str, Any]) -> str:
    return f"{meta.get('updatedBy') or 'somebody'} ({meta.get('updated') or 'at an unknown time'})"


def _push_source(server: Server, payload: Json, overwrite: bool) -> Result:
    name, uid = str(payload["name"]), str(payload["uid"])

    def result(action: Action, why: str = "") -> Result:
        return Result("data source", name, uid, action, why)

    found = server.data_source(uid)
    try:
        if found is None:
            server.create_data_source(payload)
            return result(Action.CREATED)
        written = (found.get("jsonData") or {}).get(FINGERPRINT)
        is_untouched = written is not None and written == fingerprint(found)
        is_present = written == payload["jsonData"][FINGERPRINT]
        if is_untouched and is_present:
            return result(Action.UNCHANGED)
        if found.get("readOnly"):
            return result(Action.CONFLICT, "it comes from a file of Grafana's provisioning: change it there")
        if not is_untouched and not overwrite:
            if is_present:
                return result(Action.KEPT, "changed there; --overwrite takes it back")
            return result(Action.CONFLICT, "changed there, and here; --overwrite takes ours")
        server.update_data_source(uid, {**payload, "id": found.get("id"), "version": found.get("version")})
    except Precondition as error:
        return result(Action.CONFLICT, str(error))
    return result(Action.UPDATED)
