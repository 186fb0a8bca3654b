"""Server-side apply: who manages which fields, conflicts between managers, and what goes when its manager lets go.

https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

import copy
import json
from collections.abc import Iterable, Mapping
from typing import Any

from tests.kubernetes.failures import apply_conflict
from tests.kubernetes.field_lists import keys_of

Step = str | tuple[tuple[str, Any], ...]
"""A field's name, or the key of a list's item."""
Path = tuple[Step, ...]
Object = dict[str, Any]
Schema = Mapping[str, Any] | None

_NOBODYS = {"apiVersion", "kind"}
_NOBODYS_METADATA = {
    "name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink",
    "deletionTimestamp", "deletionGracePeriodSeconds", "generateName",
}  # fmt: skip


def leaves(value: Any, schema: Schema = None, path: Path = ()) -> dict[Path, Any]:
    """Every field with its value; a list that is no map, and an empty mapping, is one field."""
    names = tuple(step for step in path if isinstance(step, str))
    found: dict[Path, Any] = {}
    if isinstance(value, dict) and (value or not path):
        for name, inner in value.items():
            if (not path and name in _NOBODYS) or (path == ("metadata",) and name in _NOBODYS_METADATA):
                continue
            found |= leaves(inner, schema, (*path, name))
        return found
    keys = keys_of(names, schema) if isinstance(value, list) else None
    if keys:
        for item in value:
            found |= leaves(item, schema, (*path, _item_key(item, keys)))
        return found
    return {path: value}


def _item_key(item: Object, keys: tuple[str, ...]) -> tuple[tuple[str, Any], ...]:
    return tuple((key, item.get(key, "TCP" if key == "protocol" else None)) for key in keys)


def apply(
    live: Object | None, wanted: Object, manager: str, *, force: bool, schema: Schema, subresource: str
) -> Object:
    """The object after `manager` applied `wanted`. Raises ApiError for a conflict."""
    base = copy.deepcopy(live) if live is not None else _skeleton(wanted)
    fields = leaves(wanted, schema)
    present = leaves(base, schema)
    owners = _owners(base)
    mine = (manager, "Apply", subresource)
    others = {who: owned for who, owned in owners.items() if who != mine}
    conflicts = sorted(
        (who[0], spell(path))
        for who, owned in others.items()
        for path in owned & fields.keys()
        if path in present and present[path] != fields[path]
    )
    if conflicts and not force:
        raise apply_conflict(conflicts)
    given_up = owners.get(mine, set()) - fields.keys() - set().union(*others.values())
    merged = _merge(base, wanted, schema, ())
    for path in given_up:
        _drop(merged, path)
    for who, owned in others.items():
        others[who] = {p for p in owned if p not in fields or present.get(p) == fields[p]}
    _write_owners(merged, others | {mine: set(fields)}, _times(base))
    return merged


def record_update(before: Object | None, after: Object, manager: str, *, schema: Schema, subresource: str) -> None:
    """Note in `after` that `manager` set what has changed since `before`."""
    old = leaves(before, schema) if before is not None else {}
    new = leaves(after, schema)
    changed = {path for path, value in new.items() if path not in old or old[path] != value}
    owners = _owners(before) if before is not None else {}
    mine = (manager, "Update", subresource)
    for who in owners:
        owners[who] = {path for path in owners[who] if path in new and (who == mine or path not in changed)}
    if changed:
        owners[mine] = owners.get(mine, set()) | changed
    _write_owners(after, owners, _times(before or {}))


def spell(path: Path) -> str:
    """`.status.conditions[type="Accepted"].reason`."""
    text = ""
    for step in path:
        if isinstance(step, str):
            text += f".{step}"
        else:
            text += "[" + ",".join(f"{key}={json.dumps(value)}" for key, value in step) + "]"
    return text


def _skeleton(wanted: Object) -> Object:
    metadata = {n: v for n, v in wanted.get("metadata", {}).items() if n in ("name", "namespace")}
    return {"apiVersion": wanted["apiVersion"], "kind": wanted["kind"], "metadata": metadata}


def _merge(live: Any, wanted: Any, schema: Schema, path: tuple[str, ...]) -> Any:
    if isinstance(wanted, dict) and isinstance(live, dict):
        merged = dict(live)
        for name, value in wanted.items():
            if path == ("metadata",) and name in _NOBODYS_METADATA:
                continue
            merged[name] = _merge(live.get(name), value, schema, (*path, name))
        return merged
    keys = keys_of(path, schema) if isinstance(wanted, list) else None
    if keys and isinstance(live, list):
        items = list(live)
        for item in wanted:
            key = _item_key(item, keys)
            at = next((i for i, old in enumerate(items) if _item_key(old, keys) == key), None)
            if at is None:
                items.append(copy.deepcopy(item))
            else:
                items[at] = _merge(items[at], item, schema, path)
        return items
    return copy.deepcopy(wanted)


def _drop(document: Any, path: Path) -> None:
    """Remove a field, and what becomes empty by it."""
    step, rest = path[0], path[1:]
    if isinstance(step, str):
        if not isinstance(document, dict) or step not in document:
            return
        if rest:
            _drop(document[step], rest)
            if document[step] not in ({}, []):
                return
        del document[step]
        return
    for index, item in enumerate(document):
        if all(item.get(key) == value for key, value in step):
            # Whoever gives up an item's key gives up the item, with what others have set within it.
            whole = not rest or (len(rest) == 1 and rest[0] in dict(step))
            if not whole:
                _drop(item, rest)
            if whole or not item:
                del document[index]
            return


Owner = tuple[str, str, str]
"""(manager, operation, subresource)."""


def _owners(document: Object) -> dict[Owner, set[Path]]:
    return {
        (each["manager"], each["operation"], each.get("subresource", "")): set(_decode(each["fieldsV1"]))
        for each in document.get("metadata", {}).get("managedFields") or ()
    }


def _times(document: Object) -> dict[Owner, str]:
    return {
        (each["manager"], each["operation"], each.get("subresource", "")): each["time"]
        for each in document.get("metadata", {}).get("managedFields") or ()
    }


def _write_owners(document: Object, owners: Mapping[Owner, Iterable[Path]], times: Mapping[Owner, str]) -> None:
    managed = []
    for who, owned in owners.items():
        paths = sorted(owned, key=repr)
        if not paths:
            continue
        entry = {
            "manager": who[0],
            "operation": who[1],
            "apiVersion": document["apiVersion"],
            "time": times.get(who, "2026-01-01T00:00:00Z"),
            "fieldsType": "FieldsV1",
            "fieldsV1": _encode(paths),
        }
        if who[2]:
            entry["subresource"] = who[2]
        managed.append(entry)
    document["metadata"] = {**document["metadata"], "managedFields": managed}


def _encode(paths: Iterable[Path]) -> Object:
    tree: Object = {}
    for path in paths:
        at = tree
        for step in path:
            if isinstance(step, str):
                at = at.setdefault(f"f:{step}", {})
            else:
                at = at.setdefault("k:" + json.dumps(dict(step), separators=(",", ":")), {".": {}})
    return tree


def _decode(tree: Object, path: Path = ()) -> Iterable[Path]:
    inner = {name: value for name, value in tree.items() if name != "."}
    if not inner:
        if path:
            yield path
        return
    for name, value in inner.items():
        step: Step = name[2:] if name.startswith("f:") else tuple(json.loads(name[2:]).items())
        yield from _decode(value, (*path, step))
