"""A partial pod merged over a pod as `kubectl patch --type strategic` does it: lists of named things by their names.

https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md
Directives: `$patch: delete | replace | merge`, `$retainKeys`; null removes a field. Others are refused by name.
Pure; neither argument is changed.
"""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from control.api.resource import Path, spell
from control.injector.merge_keys import LISTS, PRIMITIVE_LISTS, MergeKey

_DIRECTIVES = ("$patch", "$retainKeys")
_ACTIONS = ("delete", "replace", "merge")


class MergeError(ValueError):
    """The patch cannot be merged; the message begins with the field."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(f"{spell(path) or 'template'}: {message}")


def merge(original: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """`original`, a pod, with `patch`, a partial one, over it. Raises MergeError."""
    merged = _mapping(original, patch, (), ())
    return {} if merged is None else merged


def check_patch(patch: dict[str, Any]) -> None:
    """What can be found wrong with a patch before there is a pod. Raises MergeError."""
    merge({}, patch)


def _mapping(original: Any, patch: dict[str, Any], shape: tuple[str, ...], path: Path) -> dict[str, Any] | None:
    """None: the patch deletes it. `shape` is `path` without the lists' places, which the table goes by."""
    for key in patch:
        if key.startswith("$") and key not in _DIRECTIVES:
            raise MergeError((*path, key), f"is a directive that is not supported; use {' or '.join(_DIRECTIVES)}")
    action = _action(patch, path)
    if action == "delete":
        return None
    result = deepcopy(original) if isinstance(original, dict) and action == "merge" else {}
    if "$retainKeys" in patch:
        retained = patch["$retainKeys"]
        if not isinstance(retained, list) or not all(isinstance(key, str) for key in retained):
            raise MergeError((*path, "$retainKeys"), "is no list of fields' names")
        result = {key: value for key, value in result.items() if key in retained}
    for key, value in patch.items():
        if key in _DIRECTIVES:
            continue
        merged = _value(result.get(key), value, (*shape, key), (*path, key))
        if merged is None:
            result.pop(key, None)
        else:
            result[key] = merged
    return result


def _action(patch: dict[str, Any], path: Path) -> str:
    action = patch.get("$patch", "merge")
    if action not in _ACTIONS:
        raise MergeError((*path, "$patch"), f"is {action!r}; write one of {', '.join(_ACTIONS)}")
    return str(action)


def _value(original: Any, value: Any, shape: tuple[str, ...], path: Path) -> Any:
    if value is not None and not isinstance(value, list) and (shape in LISTS or shape in PRIMITIVE_LISTS):
        raise MergeError(path, "is no list")
    if isinstance(value, dict):
        return _mapping(original, value, shape, path)
    if isinstance(value, list):
        if (key := LISTS.get(shape)) is not None:
            return _list(original if isinstance(original, list) else [], value, key, shape, path)
        if shape in PRIMITIVE_LISTS:
            before = original if isinstance(original, list) else []
            left = [item for item in before if item not in value]
            return _in_order(left, value, lambda item: _place(before, item))
        _refuse_directives(value, path)
        return deepcopy(value)
    return value


def _refuse_directives(value: Any, path: Path) -> None:
    """In what is replaced as a whole a directive would be taken for a field."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            _refuse_directives(item, (*path, index))
    elif isinstance(value, dict):
        for key, item in value.items():
            if key.startswith("$"):
                raise MergeError((*path, key), "is a directive in a list that is always replaced as a whole; remove it")
            _refuse_directives(item, (*path, key))


def _list(original: list[Any], patch: list[Any], key: MergeKey, shape: tuple[str, ...], path: Path) -> list[Any]:
    left = [] if _replaces(patch, path) else deepcopy(original)
    changed: dict[tuple[Any, ...], Any] = {}
    for index, item in enumerate(patch):
        here = (*path, index)
        if not isinstance(item, dict):
            raise MergeError(here, "is no mapping")
        if item == {"$patch": "replace"}:
            continue
        identity = key.of(item)
        if identity is None:
            raise MergeError(here, f"has no {key.fields[0]}, by which this list is merged; add it")
        at = next((i for i, each in enumerate(left) if isinstance(each, dict) and key.of(each) == identity), None)
        current = changed.pop(identity, None) or (left.pop(at) if at is not None else {})
        merged = _mapping(current, item, shape, here)
        if merged is None:
            left = [each for each in left if not isinstance(each, dict) or key.of(each) != identity]
        else:
            changed[identity] = merged
    places = [key.of(each) if isinstance(each, dict) else None for each in original]
    return _in_order(
        left, list(changed.values()), lambda each: _place(places, key.of(each)) if isinstance(each, dict) else -1
    )


def _replaces(patch: list[Any], path: Path) -> bool:
    """Whether the others stand for the whole list. As a part of an item it does so, too, and the item is lost."""
    for index, item in enumerate(patch):
        if isinstance(item, dict) and item.get("$patch") == "replace" and len(item) > 1:
            raise MergeError(
                (*path, index), "has $patch: replace beside fields, which Kubernetes drops; write it alone"
            )
    return {"$patch": "replace"} in patch


def _place(places: list[Any], of: Any) -> int:
    return places.index(of) if of in places else -1


def _in_order(left: list[Any], changed: list[Any], place: Callable[[Any], int]) -> list[Any]:
    """What the patch leaves alone and what it names, as Kubernetes joins the two: each in its own order, one that was
    there before what stood behind it, and what is new as soon as it is its turn."""
    result: list[Any] = []
    rest, named = list(left), list(changed)
    while rest and named:
        one, other = place(rest[0]), place(named[0])
        result.append(rest.pop(0) if 0 <= one < other else named.pop(0))
    return [*result, *rest, *named]
