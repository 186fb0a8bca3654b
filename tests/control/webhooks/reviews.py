"""AdmissionReviews as the API server sends them."""

import base64
from typing import Any

import orjson

Json = dict[str, Any]


def review(found: Json | None, operation: str = "CREATE", *, before: Json | None = None, **changes: Any) -> Json:
    """`found` tells its kind."""
    shown: Json = found or before or {}
    group, _, version = shown.get("apiVersion", "v1").rpartition("/")
    metadata = shown.get("metadata", {})
    request = {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": {"group": group, "version": version, "kind": shown.get("kind", "Pod")},
        "resource": {"group": group, "version": version, "resource": "whatever"},
        "namespace": metadata.get("namespace", "default"),
        "name": metadata.get("name", ""),
        "operation": operation,
        "userInfo": {"username": "somebody"},
        "object": found,
        "oldObject": before,
        "dryRun": False,
    } | changes
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


def encoded(document: Any) -> bytes:
    return orjson.dumps(document)


def patch_of(response: Json) -> list[Json]:
    operations: list[Json] = orjson.loads(base64.b64decode(response["patch"], validate=True))
    return operations


def pod(**changes: Any) -> Json:
    metadata = {"generateName": "reviews-", "namespace": "default", "labels": {"app": "reviews"}} | changes
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": [{"name": "app", "image": "app:1"}]},
    }


def virtual_service(name: str = "reviews", **spec: Any) -> Json:
    whole = {"hosts": ["reviews"], "http": [{"route": [{"destination": {"host": "reviews"}}]}]} | spec
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name, "namespace": "default"},
        "spec": whole,
    }
