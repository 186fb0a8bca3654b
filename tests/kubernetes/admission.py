"""Admission webhooks, called as the API server calls them: over TLS, by the stored configurations, in order of name."""

import base64
import ssl
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from tests.kubernetes.access import User
from tests.kubernetes.failures import ApiError
from tests.kubernetes.patches import json_patch
from tests.kubernetes.selectors import selects
from tests.kubernetes.storage import Object, Storage
from tests.kubernetes.types import ResourceType

_GROUP = "admissionregistration.k8s.io"


@dataclass(frozen=True, slots=True)
class Operation:
    """What is about to happen to an object."""

    verb: str
    """CREATE, UPDATE or DELETE."""
    type: ResourceType
    version: str
    namespace: str
    name: str
    subresource: str
    user: User
    dry_run: bool
    before: Object | None


class Admission:
    """`resolve` gives the address of a webhook's Service: (namespace, name, port) to (host, port)."""

    def __init__(self, storage: Storage, resolve: Callable[[str, str, int], tuple[str, int]]) -> None:
        self._storage = storage
        self._resolve = resolve

    async def admit(
        self, operation: Operation, found: Object | None, phases: Sequence[str] = ("mutating", "validating")
    ) -> tuple[Object | None, list[str]]:
        """The object as webhooks changed it, and their warnings. Raises ApiError where one denies or fails.

        Between the two phases the API server checks an object against its schema.
        """
        warnings: list[str] = []
        if operation.type.group == _GROUP:
            return found, warnings
        for plural in (f"{phase}webhookconfigurations" for phase in phases):
            for configuration in list(self._storage.all((_GROUP, plural))):
                for webhook in configuration.object.get("webhooks") or ():
                    if self._concerns(webhook, operation, found):
                        found = await self._ask(webhook, operation, found, warnings, mutating=plural.startswith("mut"))
        return found, warnings

    def _concerns(self, webhook: Mapping[str, Any], operation: Operation, found: Object | None) -> bool:
        if not any(_rule_matches(rule, operation) for rule in webhook.get("rules") or ()):
            return False
        labels: Mapping[str, str] = {}
        if operation.type.plural == "namespaces":
            labels = ((found or operation.before or {}).get("metadata") or {}).get("labels") or {}
        elif operation.namespace:
            stored = self._storage.get(("", "namespaces"), ("", operation.namespace))
            labels = (stored.object["metadata"].get("labels") or {}) if stored is not None else {}
        cluster_wide = not operation.type.namespaced and operation.type.plural != "namespaces"
        if not cluster_wide and not selects(webhook.get("namespaceSelector"), labels):
            return False
        candidates = [each for each in (found, operation.before) if each is not None]
        selector = webhook.get("objectSelector")
        return any(selects(selector, each["metadata"].get("labels") or {}) for each in candidates)

    async def _ask(
        self,
        webhook: Mapping[str, Any],
        operation: Operation,
        found: Object | None,
        warnings: list[str],
        *,
        mutating: bool,
    ) -> Object | None:
        uid = str(uuid.uuid4())
        review = {
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": _request(operation, found, uid),
        }
        try:
            answer = await self._call(webhook, review)
            response = answer["response"]
            if response["uid"] != uid:
                raise ValueError(f"expected response.uid={uid!r}, got {response['uid']!r}")
            allowed = bool(response["allowed"])
            if allowed and mutating and response.get("patch"):
                if response.get("patchType") != "JSONPatch":
                    raise ValueError("webhook returned response.patch but not response.patchType=JSONPatch")
                found = json_patch(found, orjson.loads(base64.b64decode(response["patch"], validate=True)))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError, TypeError, ApiError) as error:
            if webhook.get("failurePolicy", "Fail") == "Ignore":
                return found
            message = f'Internal error occurred: failed calling webhook "{webhook["name"]}": {error!r}'
            raise ApiError(500, "InternalError", message) from error
        warnings.extend(response.get("warnings") or ())
        if not allowed:
            status = response.get("status") or {}
            said = status.get("message") or status.get("reason") or "denied"
            message = f'admission webhook "{webhook["name"]}" denied the request: {said}'
            raise ApiError(int(status.get("code") or 403), status.get("reason") or "Forbidden", message)
        return found

    async def _call(self, webhook: Mapping[str, Any], review: Mapping[str, Any]) -> dict[str, Any]:
        client = webhook["clientConfig"]
        authority = base64.b64decode(client["caBundle"]).decode() if client.get("caBundle") else None
        server_name = None
        if "service" in client:
            service = client["service"]
            host, port = self._resolve(service["namespace"], service["name"], int(service.get("port", 443)))
            server_name = f"{service['name']}.{service['namespace']}.svc"
            at = f"[{host}]" if ":" in host else host
            url = f"https://{at}:{port}{service.get('path', '/')}"
        else:
            url = client["url"]
        context = ssl.create_default_context(cadata=authority)
        timeout = aiohttp.ClientTimeout(total=webhook.get("timeoutSeconds", 10))
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(
                url,
                data=orjson.dumps(review),
                headers={"Content-Type": "application/json"},
                ssl=context,
                server_hostname=server_name,
            ) as response,
        ):
            body = await response.read()
            if response.status != 200:
                raise ValueError(f"the webhook answered {response.status}: {body[:200]!r}")
            answer: dict[str, Any] = orjson.loads(body)
            return answer


def _rule_matches(rule: Mapping[str, Any], operation: Operation) -> bool:
    resource = operation.type.plural + (f"/{operation.subresource}" if operation.subresource else "")
    resources = rule.get("resources") or ()
    matched = (
        resource in resources
        or "*/*" in resources
        or ("*" in resources and not operation.subresource)
        or f"{operation.type.plural}/*" in resources
        or bool(operation.subresource and f"*/{operation.subresource}" in resources)
    )
    scope = rule.get("scope", "*")
    return (
        matched
        and bool({"*", operation.verb} & set(rule.get("operations") or ()))
        and bool({"*", operation.type.group} & set(rule.get("apiGroups") or ()))
        and bool({"*", *operation.type.versions} & set(rule.get("apiVersions") or ()))
        and scope in ("*", "Namespaced" if operation.type.namespaced else "Cluster")
    )


def _request(operation: Operation, found: Object | None, uid: str) -> dict[str, Any]:
    kind = {"group": operation.type.group, "version": operation.version, "kind": operation.type.kind}
    resource = {"group": operation.type.group, "version": operation.version, "resource": operation.type.plural}
    request: dict[str, Any] = {
        "uid": uid,
        "kind": kind,
        "resource": resource,
        "requestKind": kind,
        "requestResource": resource,
        "name": operation.name,
        "operation": operation.verb,
        "userInfo": {"username": operation.user.name, "groups": list(operation.user.groups)},
        "object": found,
        "oldObject": operation.before,
        "dryRun": operation.dry_run,
        "options": None,
    }
    if operation.namespace:
        request["namespace"] = operation.namespace
    if operation.subresource:
        request["subResource"] = operation.subresource
    return request
