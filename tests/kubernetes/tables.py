"""Tables, as `kubectl get` asks for them.

https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables
"""

from collections.abc import Iterable, Mapping
from typing import Any

from tests.kubernetes.columns import columns_of
from tests.kubernetes.failures import ApiError
from tests.kubernetes.types import ResourceType

Json = dict[str, Any]
Object = Mapping[str, Any]


def wanted(accept: str) -> bool:
    """Whether an Accept header prefers a table. Raises ApiError for one that can be answered by nothing here."""
    for each in accept.split(",") if accept else ["*/*"]:
        media, *parameters = (part.strip() for part in each.split(";"))
        said = dict(part.split("=", 1) for part in parameters if "=" in part)
        if media not in ("application/json", "application/*", "*/*"):
            continue
        if "as" not in said:
            return False
        if (said["as"], said.get("g"), said.get("v")) == ("Table", "meta.k8s.io", "v1"):
            return True
    raise ApiError(406, "NotAcceptable", "only the following media types are accepted: application/json")


def table(kind: ResourceType, version: str, found: Iterable[Object], metadata: Mapping[str, Any], include: str) -> Json:
    """`include` is the query's includeObject: None, Metadata or Object."""
    columns = columns_of(kind, version)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": dict(metadata),
        "columnDefinitions": [each.definition() for each in columns],
        "rows": [{"cells": [each.cell(one) for each in columns], "object": _included(one, include)} for one in found],
    }


def _included(found: Object, include: str) -> Any:
    if include == "None":
        return None
    if include == "Object":
        return found
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": found["metadata"]}
