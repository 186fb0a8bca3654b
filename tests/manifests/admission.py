"""What an API server says of a custom resource by its definition, for tests that have no API server.

It is the fake one's reading of a schema (tests/kubernetes/schemas.py); tests/e2e asks a real one.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from remora.install.crds.definitions import all_definitions
from tests.kubernetes.failures import ApiError
from tests.kubernetes.schemas import admit
from tests.kubernetes.types import Types


def refusal(found: Mapping[str, Any]) -> str:
    """Why the object is refused, unknown fields included; empty if it is taken."""
    kind = _types().of_kind(found["apiVersion"], found["kind"])
    assert kind is not None, f"no definition of {found['apiVersion']} {found['kind']}"
    try:
        admit(kind, found["apiVersion"].rpartition("/")[2], dict(found), "Strict")
    except ApiError as error:
        return str(error)
    return ""


@cache
def _types() -> Types:
    types = Types()
    for each in all_definitions():
        types.define(each)
    return types
