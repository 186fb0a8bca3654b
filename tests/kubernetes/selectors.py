"""Label and field selectors, as queries and as objects write them."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.kubernetes.failures import bad_request

Test = Callable[[Mapping[str, Any]], bool]

_SET = re.compile(r"\s*([^\s!=,()]+)\s+(in|notin)\s+\(([^)]*)\)\s*\Z")
_EQUAL = re.compile(r"\s*([^\s!=,()]+)\s*(==|=|!=)\s*([^\s!=,()]*)\s*\Z")
_EXISTS = re.compile(r"\s*(!?)\s*([^\s!=,()]+)\s*\Z")
_BETWEEN = re.compile(r",(?![^(]*\))")


def label_test(selector: str) -> Test:
    """`app=x,tier in (a, b),!canary` as a test of an object. Raises ApiError."""
    tests = [_label_term(term) for term in _BETWEEN.split(selector) if term.strip()]
    return lambda found: all(test(found.get("metadata", {}).get("labels") or {}) for test in tests)


def _label_term(term: str) -> Test:
    if match := _SET.match(term):
        name, how, values = match[1], match[2], {value.strip() for value in match[3].split(",")}
        if how == "in":
            return lambda labels: labels.get(name) in values
        return lambda labels: labels.get(name) not in values
    if match := _EQUAL.match(term):
        name, how, value = match[1], match[2], match[3]
        return (lambda labels: labels.get(name) != value) if how == "!=" else (lambda labels: labels.get(name) == value)
    if match := _EXISTS.match(term):
        absent, name = bool(match[1]), match[2]
        return lambda labels: (name in labels) is not absent
    raise bad_request(f"unable to parse requirement: {term}")


def field_test(selector: str) -> Test:
    """`metadata.name=x,type!=y` as a test of an object. Raises ApiError."""
    terms = []
    for term in selector.split(","):
        if not term.strip():
            continue
        match = _EQUAL.match(term)
        if match is None:
            raise bad_request(f"invalid field selector: {term}")
        terms.append((match[1].split("."), match[2] != "!=", match[3]))

    def test(found: Mapping[str, Any]) -> bool:
        return all((str(_field(found, path)) == value) is wanted for path, wanted, value in terms)

    return test


def _field(found: Any, path: list[str]) -> object:
    for step in path:
        found = found.get(step, "") if isinstance(found, Mapping) else ""
    return found


def selects(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """A LabelSelector of an object (`matchLabels`, `matchExpressions`); an empty one selects everything."""
    selector = selector or {}
    if any(labels.get(name) != value for name, value in (selector.get("matchLabels") or {}).items()):
        return False
    for each in selector.get("matchExpressions") or ():
        value, values = labels.get(each["key"]), each.get("values") or []
        right = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": each["key"] in labels,
            "DoesNotExist": each["key"] not in labels,
        }
        if not right[each["operator"]]:
            return False
    return True
