"""JSON patch (RFC 6902), merge patch (RFC 7386) and strategic merge patch, the latter as far as its lists have keys."""

import copy
from collections.abc import Sequence
from typing import Any

from tests.kubernetes.failures import ApiError, bad_request
from tests.kubernetes.field_lists import keys_of

_ORDER = "$setElementOrder/"


def json_patch(document: Any, operations: Sequence[dict[str, Any]]) -> Any:
    """A changed copy. Raises ApiError as the API server does: 422 where a test or a path fails."""
    document = copy.deepcopy(document)
    for operation in operations:
        try:
            document = _one(document, operation)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            message = f"the server rejected our request due to an error in our request: {operation}: {error!r}"
            raise ApiError(422, "Invalid", message) from error
    return document


def _one(document: Any, operation: dict[str, Any]) -> Any:
    verb, path = operation["op"], _pointer(operation["path"])
    if verb in ("move", "copy"):
        source = _pointer(operation["from"])
        value = copy.deepcopy(_get(document, source))
        if verb == "move":
            _remove(document, source)
        return _add(document, path, value)
    if verb == "test":
        if _get(document, path) != operation["value"]:
            raise ValueError("test failed")
        return document
    if verb == "remove":
        _remove(document, path)
        return document
    if verb == "replace":
        if not path:
            return copy.deepcopy(operation["value"])
        _get(document, path)
        parent = _get(document, path[:-1])
        parent[int(path[-1]) if isinstance(parent, list) else path[-1]] = copy.deepcopy(operation["value"])
        return document
    if verb == "add":
        return _add(document, path, copy.deepcopy(operation["value"]))
    raise ValueError(f"unknown op {verb!r}")


def _pointer(text: str) -> list[str]:
    if text and not text.startswith("/"):
        raise ValueError(f"{text!r} is no JSON pointer")
    return [step.replace("~1", "/").replace("~0", "~") for step in text.split("/")[1:]]


def _get(document: Any, path: list[str]) -> Any:
    for step in path:
        document = document[_index(document, step)]
    return document


def _index(parent: Any, step: str) -> Any:
    if not isinstance(parent, list):
        return step
    if not step.isdigit():
        raise ValueError(f"{step!r} is no index")
    return int(step)


def _add(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent = _get(document, path[:-1])
    if isinstance(parent, list):
        at = len(parent) if path[-1] == "-" else _index(parent, path[-1])
        if at > len(parent):
            raise IndexError(at)
        parent.insert(at, value)
    else:
        parent[path[-1]] = value
    return document


def _remove(document: Any, path: list[str]) -> None:
    parent = _get(document, path[:-1])
    del parent[_index(parent, path[-1])]


def merge_patch(document: Any, patch: Any) -> Any:
    """A changed copy."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def strategic_merge_patch(document: Any, patch: Any, path: tuple[str, ...] = ()) -> Any:
    """A changed copy: lists with a key are merged by it. Raises ApiError for directives that are not known here."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    orders = {name.removeprefix(_ORDER): value for name, value in patch.items() if name.startswith(_ORDER)}
    patch = {name: value for name, value in patch.items() if not name.startswith(_ORDER)}
    unknown = [name for name in patch if name.startswith("$") and name != "$patch"]
    if unknown:
        raise bad_request(f"the fake API server does not know the directive {unknown[0]}")
    if patch.get("$patch") == "replace":
        return {name: copy.deepcopy(value) for name, value in patch.items() if name != "$patch"}
    merged = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        where = (*path, name)
        keys = keys_of(where)
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, list) and keys:
            merged[name] = _merge_list(merged.get(name) or [], value, keys, where)
        else:
            merged[name] = strategic_merge_patch(merged.get(name), value, where)
    for name, order in orders.items():
        if isinstance(merged.get(name), list):
            merged[name] = _ordered(merged[name], order, keys_of((*path, name)) or ())
    return merged


def _ordered(items: list[Any], order: list[Any], keys: tuple[str, ...]) -> list[Any]:
    """As `order` has them; what it does not name comes after."""

    def place(item: Any) -> int:
        same = (
            all(item.get(key) == each.get(key) for key in keys if key in each) if keys else item == each
            for each in order
        )
        return next((index for index, found in enumerate(same) if found), len(order))

    return sorted(items, key=place)


def _merge_list(present: list[Any], patch: list[Any], keys: tuple[str, ...], path: tuple[str, ...]) -> list[Any]:
    merged = list(present)
    for item in patch:
        at = next((i for i, old in enumerate(merged) if all(old.get(k) == item.get(k) for k in keys)), None)
        if item.get("$patch") == "delete":
            if at is not None:
                del merged[at]
        elif at is None:
            merged.append(copy.deepcopy(item))
        else:
            merged[at] = strategic_merge_patch(merged[at], item, path)
    return merged
