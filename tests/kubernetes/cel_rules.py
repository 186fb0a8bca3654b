"""`x-kubernetes-validations` of a structural schema: rules in CEL, asked of every value that they stand beside.

The language is an interpreter's, around which are those of Kubernetes' own functions that our rules use. What is not
here: the cost that the API server estimates for a rule, and rules about a change (`oldSelf`).
https://kubernetes.io/docs/reference/using-api/cel/
"""

import datetime
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from typing import Any

import cel
import orjson

Schema = Mapping[str, Any]


def broken(value: Any, schema: Schema, path: str = "") -> Iterator[tuple[str, str]]:
    """(field, message) of every rule that does not hold, in `value` and all within it."""
    if value is None:
        return
    for rule in schema.get("x-kubernetes-validations", ()):
        if not holds(rule["rule"], value):
            field = f"{path}{rule.get('fieldPath', '')}".lstrip(".")
            yield field, rule.get("message") or f"failed rule: {rule['rule']}"
    if isinstance(value, list):
        for index, each in enumerate(value):
            yield from broken(each, schema.get("items", {}), f"{path}[{index}]")
    elif isinstance(value, dict):
        for key, each in value.items():
            inner = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
            if isinstance(inner, Mapping):
                yield from broken(each, inner, f"{path}.{key}" if path else key)


def holds(rule: str, value: Any) -> bool:
    """Of `self`. An error is a refusal; raises ValueError or RuntimeError for a rule that names what there is not."""
    return _holds(rule, orjson.dumps(value))


# Parts of an object are alike, and an object is judged more than once; meanwhile the server answers nobody.
@lru_cache(maxsize=4096)
def _holds(rule: str, value: bytes) -> bool:
    context = cel.Context()
    context.add_variable("self", orjson.loads(value))
    context.add_function("sum", lambda numbers: sum(numbers))
    context.add_function("lowerAscii", lambda text: text.lower())
    context.add_function("getMilliseconds", lambda span: int(span / datetime.timedelta(milliseconds=1)))
    try:
        return _program(rule).execute(context) is True
    except (ValueError, RuntimeError, TypeError, KeyError) as error:
        if "Undefined" in str(error):
            raise
        return False


@cache
def _program(rule: str) -> Any:
    return cel.compile(rule)
