"""JSON patches (RFC 6902): the difference of two documents as a patch, and a patch applied. Plain data in and out.

Lists whose items have names (containers, volumes, variables) are compared by name, so that a container that comes
first is one `add` and not a rewriting of all that follow.
"""

from typing import Any

from control.injector.outcome import Operation

MAX_DEPTH = 100
"""Of nesting compared; a deeper difference is one `replace`."""


class PatchError(ValueError):
    """The patch does not fit the document."""


def difference(before: Any, after: Any) -> list[Operation]:
    """The steps that make `after` of `before`, in order."""
    found: list[Operation] = []
    _compare(before, after, "", found, MAX_DEPTH)
    return found


def token(step: str | int) -> str:
    """One step of a JSON pointer (RFC 6901): `~` and `/` escaped."""
    return str(step).replace("~", "~0").replace("/", "~1")


def same(one: Any, other: Any) -> bool:
    """Equal as JSON: 1 is not true, 1 is 1.0."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def names_of(items: list[Any]) -> list[str] | None:
    """The items' names, if each is a mapping with one of its own; else None."""
    names = [item.get("name") if isinstance(item, dict) else None for item in items]
    if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        return None
    return [str(name) for name in names]


def _compare(before: Any, after: Any, at: str, found: list[Operation], depth: int) -> None:
    if depth and isinstance(before, dict) and isinstance(after, dict):
        _compare_mappings(before, after, at, found, depth)
    elif depth and isinstance(before, list) and isinstance(after, list) and _compare_lists(
        before, after, at, found, depth
    ):  # fmt: skip
        pass
    elif not same(before, after):
        found.append({"op": "replace", "path": at, "value": after})


def _compare_mappings(
    before: dict[str, Any], after: dict[str, Any], at: str, found: list[Operation], depth: int
) -> None:
    found += ({"op": "remove", "path": f"{at}/{token(key)}"} for key in before if key not in after)
    for key, value in after.items():
        here = f"{at}/{token(key)}"
        if key in before:
            _compare(before[key], value, here, found, depth - 1)
        else:
            found.append({"op": "add", "path": here, "value": value})


def _compare_lists(before: list[Any], after: list[Any], at: str, found: list[Operation], depth: int) -> bool:
    """False: not told apart by names, or what is common to both is in another order."""
    old, new = names_of(before), names_of(after)
    if old is None or new is None or (kept := common(old, new)) is None:
        return same(before, after)
    found += ({"op": "remove", "path": f"{at}/{i}"} for i in reversed(range(len(old))) if old[i] not in kept)
    named = dict(zip(old, before, strict=True))
    for index, name in enumerate(new):
        if name in kept:
            _compare(named[name], after[index], f"{at}/{index}", found, depth - 1)
        else:
            found.append({"op": "add", "path": f"{at}/{index}", "value": after[index]})
    return True


def common(old: list[str], new: list[str]) -> set[str] | None:
    """Names that are in both; None where they are in another order."""
    kept = set(old) & set(new)
    return kept if [name for name in old if name in kept] == [name for name in new if name in kept] else None


def apply(document: Any, patch: list[Operation]) -> Any:
    """`document` with `patch` applied; neither is changed. Knows add, remove and replace. Raises PatchError."""
    root = {"": _copy(document)}
    for step in patch:
        _apply_one(root, step)
    return root[""]


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(each) for key, each in value.items()}
    return [_copy(each) for each in value] if isinstance(value, list) else value


def _apply_one(root: dict[str, Any], step: Operation) -> None:
    steps = ["", *(part.replace("~1", "/").replace("~0", "~") for part in step["path"].split("/")[1:])]
    around: Any = root
    for part in steps[:-1]:
        around = _inside(around, part, step)
    last, op = steps[-1], step["op"]
    if isinstance(around, list):
        index = len(around) if op == "add" and last == "-" else _index(last, len(around) + (op == "add"), step)
        if op == "add":
            around.insert(index, _copy(step["value"]))
        elif op == "replace":
            around[index] = _copy(step["value"])
        else:
            del around[index]
    elif isinstance(around, dict) and op in ("add", "replace", "remove") and (op == "add" or last in around):
        if op == "remove":
            del around[last]
        else:
            around[last] = _copy(step["value"])
    else:
        raise PatchError(f"{op} {step['path']}: there is nothing at this path")


def _inside(around: Any, part: str, step: Operation) -> Any:
    if isinstance(around, list):
        return around[_index(part, len(around), step)]
    if isinstance(around, dict) and part in around:
        return around[part]
    raise PatchError(f"{step['op']} {step['path']}: there is nothing at this path")


def _index(part: str, size: int, step: Operation) -> int:
    if not part.isascii() or not part.isdigit() or int(part) >= size:
        raise PatchError(f"{step['op']} {step['path']}: the list has no item {part}")
    return int(part)
