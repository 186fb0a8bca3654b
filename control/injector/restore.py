"""What injection changed, kept in the pod, so that removal makes exactly the pod that was there before.

The record is by names, not by places in lists: a manifest that was edited after it was injected is still restored,
edits kept. Only data; where the record is kept is injector.status.
"""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from control.injector.json_patch import common, names_of, same

Step = str | dict[str, str]
"""A field's name, or `{"name": N}` for a list's item."""

_OPEN = (
    ("metadata",),
    ("metadata", "annotations"),
    ("metadata", "labels"),
    ("spec", "initContainers"),
    ("spec", "volumes"),
    ("spec", "imagePullSecrets"),
)
"""Collections that somebody may add to later: where injection made one, it is removed when nothing is left in it."""


class BadRecord(ValueError):
    """The record is not one that injection writes."""


@dataclass(frozen=True, slots=True)
class _Missing:
    pass


_MISSING = _Missing()


def record(before: Any, after: Any) -> list[dict[str, Any]]:
    """What `restore` needs to make `before` of `after`: entries to be undone from the last to the first.

    `{"at": path}` was added; with `"was"`, had this value (and with `"next"`, stood before that field); with
    `"empty"`, was added too, and goes when nothing is left in it.
    """
    found: list[dict[str, Any]] = []
    _compare(before, after, (), found)
    return found


def _compare(before: Any, after: Any, path: tuple[Step, ...], found: list[dict[str, Any]]) -> None:
    if isinstance(before, dict) and isinstance(after, dict):
        _compare_mappings(before, after, path, found)
    elif isinstance(before, list) and isinstance(after, list):
        _compare_lists(before, after, path, found)
    elif not same(before, after):
        found.append({"at": list(path), "was": before})


def _compare_mappings(
    before: dict[str, Any], after: dict[str, Any], path: tuple[Step, ...], found: list[dict[str, Any]]
) -> None:
    for key, value in after.items():
        here = (*path, key)
        if key not in before:
            _added(value, here, found)
        else:
            _compare(before[key], value, here, found)
    # From the last to the first they are put back, each before one that is there.
    keys = list(before)
    for index, key in enumerate(keys):
        if key not in after:
            following = {"next": keys[index + 1]} if index + 1 < len(keys) else {}
            found.append({"at": [*path, key], "was": before[key]} | following)


def _added(value: Any, path: tuple[Step, ...], found: list[dict[str, Any]]) -> None:
    inside: list[Step] | None = None
    if path in _OPEN:
        if isinstance(value, dict):
            inside = list(value)
        elif isinstance(value, list) and (names := names_of(value)) is not None:
            inside = [{"name": name} for name in names]
    if inside is None:
        found.append({"at": list(path)})
        return
    found.append({"at": list(path), "empty": True})
    for step in inside:
        child = value[step] if isinstance(step, str) else None
        _added(child, (*path, step), found)


def _compare_lists(before: list[Any], after: list[Any], path: tuple[Step, ...], found: list[dict[str, Any]]) -> None:
    if same(before, after):
        return
    old, new = names_of(before), names_of(after)
    if old is None or new is None or common(old, new) != set(old):
        found.append({"at": list(path), "was": before})
        return
    named = dict(zip(old, before, strict=True))
    for name, value in zip(new, after, strict=True):
        if name in named:
            _compare(named[name], value, (*path, {"name": name}), found)
        else:
            found.append({"at": [*path, {"name": name}]})


def restore(after: Any, entries: Any) -> Any:
    """`after` with what `entries` say undone; neither is changed. What is gone is passed by. Raises BadRecord."""
    result = deepcopy(after)
    if not isinstance(entries, list):
        raise BadRecord("is no list")
    for entry in reversed(entries):
        if not isinstance(entry, dict) or not isinstance(entry.get("at"), list) or not entry["at"]:
            raise BadRecord("has an entry without a path")
        _undo(result, entry)
    return result


def _undo(root: Any, entry: dict[str, Any]) -> None:
    *before, last = entry["at"]
    around = root
    for step in before:
        around = _get(around, step)
        if around is _MISSING:
            return
    if "was" in entry:
        _put(around, last, entry["was"], entry.get("next"))
        return
    value = _get(around, last)
    if value is _MISSING or ("empty" in entry and value):
        return
    if isinstance(around, dict):
        del around[last]
    else:
        around.remove(value)


def _get(around: Any, step: Any) -> Any:
    if isinstance(step, str):
        return around.get(step, _MISSING) if isinstance(around, dict) else _MISSING
    if not isinstance(step, dict) or list(step) != ["name"] or not isinstance(step["name"], str):
        raise BadRecord("has a step that is neither a field nor a name")
    if not isinstance(around, list):
        return _MISSING
    return next((each for each in around if isinstance(each, dict) and each.get("name") == step["name"]), _MISSING)


def _put(around: Any, last: Any, value: Any, following: Any) -> None:
    current = _get(around, last)
    if isinstance(around, list):
        if current is not _MISSING:
            around[around.index(current)] = value
        return
    if not isinstance(around, dict):
        return
    rest = {}
    if current is _MISSING and following in around:
        keys = list(around)
        rest = {key: around.pop(key) for key in keys[keys.index(following) :]}
    around[last] = value
    around.update(rest)
