"""Lists, in pages that all show the moment of the first one."""

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import orjson

from tests.kubernetes import failures, selectors
from tests.kubernetes.storage import Storage, Stored
from tests.kubernetes.tables import table
from tests.kubernetes.writes import Target


@dataclass(frozen=True, slots=True)
class _Rest:
    version: int
    items: list[Stored]


class Lists:
    """Answers list requests."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._rest: dict[str, _Rest] = {}

    def forget(self) -> None:
        """Pages that were begun cannot be continued."""
        self._rest.clear()

    def selected(self, target: Target, query: Mapping[str, str]) -> Iterator[Stored]:
        """What the query's selectors choose."""
        labels = selectors.label_test(query.get("labelSelector", ""))
        fields = selectors.field_test(query.get("fieldSelector", ""))
        for stored in list(self._storage.all(target.type.key, target.namespace)):
            if labels(stored.object) and fields(stored.object):
                yield stored

    def page(self, target: Target, query: Mapping[str, str], *, as_table: bool = False) -> bytes:
        """The response's body. Raises ApiError: 410 for a token that is good no more, or a version of the future."""
        token = query.get("continue", "")
        if token:
            rest = self._rest.pop(token, None)
            if rest is None:
                raise failures.expired(
                    "The provided continue parameter is too old to display a consistent list result."
                )
            version, items = rest.version, rest.items
        else:
            asked = query.get("resourceVersion", "")
            if asked.isdigit() and int(asked) > self._storage.version:
                message = f"Too large resource version: {asked}, current: {self._storage.version}"
                raise failures.ApiError(504, "Timeout", message, retry_after_s=1)
            version, items = self._storage.version, list(self.selected(target, query))
        # From its watch cache (resourceVersion=0) the real one gives everything at once, whatever the limit.
        limit = 0 if query.get("resourceVersion") == "0" and not token else int(query.get("limit") or 0)
        metadata: dict[str, object] = {"resourceVersion": str(version)}
        if limit and len(items) > limit:
            items, later = items[:limit], items[limit:]
            token = secrets.token_urlsafe(12)
            self._rest[token] = _Rest(version, later)
            metadata |= {"continue": token, "remainingItemCount": len(later)}
        kind = target.type
        if as_table:
            shown = (stored.object for stored in items)
            return orjson.dumps(table(kind, target.version, shown, metadata, query.get("includeObject", "")))
        api_version = kind.api_version(target.version)
        head = {"kind": f"{kind.kind}List", "apiVersion": api_version, "metadata": metadata}
        raw = (_listed(stored, api_version, target) for stored in items)
        return orjson.dumps(head)[:-1] + b',"items":[' + b",".join(raw) + b"]}\n"


def _listed(stored: Stored, api_version: str, target: Target) -> bytes:
    """Of a list of built-in types, the items do not say what they are: the list does."""
    if target.type.schemas:
        return as_version(stored, api_version)
    return orjson.dumps({name: value for name, value in stored.object.items() if name not in ("apiVersion", "kind")})


def as_version(stored: Stored, api_version: str) -> bytes:
    """The object's bytes with that `apiVersion`."""
    if stored.object.get("apiVersion") == api_version:
        return stored.raw
    return orjson.dumps({**stored.object, "apiVersion": api_version})
