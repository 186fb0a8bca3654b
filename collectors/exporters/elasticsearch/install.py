"""Puts templates and the retention policy there, once before the first record: again and again with the same result,
and never over what a newer collector has put."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from collectors.exporters.elasticsearch.client import Client, Denied, LacksPrivilege
from collectors.exporters.elasticsearch.templates import VERSION, Piece
from collectors.exporters.sink import Unavailable

_log = logging.getLogger("remora.collect.elasticsearch")

_PRIVILEGES = {"/_ilm": "manage_ilm", "/_index_template": "manage_index_templates"}
_ELSE = "manage_index_templates"


class Installer:
    """Installs when it is first asked."""

    def __init__(self, client: Client, pieces: Sequence[Piece]) -> None:
        self._client = client
        self._pieces = pieces
        self._lock = asyncio.Lock()
        self._done = False

    async def ensure(self) -> None:
        """Return when everything is there. Raises Unavailable with what is missing and how to get it; it is tried again
        with the next batch."""
        if self._done:
            return
        async with self._lock:
            # Another send may have done it meanwhile: then each is found to be there.
            for piece in self._pieces:
                try:
                    await self._install(piece)
                except LacksPrivilege as error:
                    privilege = next((name for path, name in _PRIVILEGES.items() if piece.path.startswith(path)), _ELSE)
                    raise LacksPrivilege(
                        f"may not install the {piece.title}: grant the cluster privilege {privilege}, or install it"
                        f" yourself and set `setup: false` ({error})"
                    ) from error
                except Denied as error:
                    raise Unavailable(f"cannot install the {piece.title}: {_hint(piece, error)}") from error
            self._done = True

    async def _install(self, piece: Piece) -> None:
        present = await self._present(piece)
        ours = _meta(piece.body, piece.meta_at)
        if present is not None and piece.only_if_absent:
            return
        if present is not None:
            meta = _meta(present, piece.meta_at)
            if meta.get("managed_by") != "remora":
                raise Unavailable(
                    f"there is a {piece.title} that Remora did not make: rename it, or set `setup: false` to use it"
                )
            version = meta.get("version")
            if isinstance(version, int) and version > VERSION:
                _log.warning("leaving the %s of version %d, newer than ours (%d)", piece.title, version, VERSION)
                return
            if meta == ours:
                return
        await self._client.request("PUT", piece.path, body=piece.body)
        _log.info("installed the %s, version %d", piece.title, VERSION)
        if present is not None:
            _log.info("data streams use it from their next rollover on")

    async def _present(self, piece: Piece) -> dict[str, Any] | None:
        """What is there, in the form in which it is put."""
        try:
            answer = await self._client.request("GET", piece.path)
        except Denied as error:
            if error.status == 404:
                return None
            raise
        try:
            if piece.path.startswith("/_ilm"):
                return dict(answer[piece.path.rpartition("/")[2]])
            kind = "component_templates" if piece.path.startswith("/_component") else "index_templates"
            return dict(answer[kind][0][kind[:-1]])
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise Unavailable(f"the answer to GET {piece.path} is none of Elasticsearch's") from error


def _meta(body: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    found: Any = body
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _hint(piece: Piece, error: Denied) -> str:
    if piece.path.startswith("/_ilm") and error.status in (400, 404, 405, 410):
        return f"this Elasticsearch has no ILM; set `retention: {{type: data_stream}}` ({error})"
    return str(error)
