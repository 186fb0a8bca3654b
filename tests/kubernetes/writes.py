"""What create, update, patch and delete do to an object: names, versions, status apart, managers, finalizers, CRDs."""

import copy
import secrets
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson
from ruamel.yaml import YAML

from tests.kubernetes import failures, managed_fields, schemas, structural
from tests.kubernetes.access import User
from tests.kubernetes.admission import Admission, Operation
from tests.kubernetes.patches import json_patch, merge_patch, strategic_merge_patch
from tests.kubernetes.storage import Object, Storage
from tests.kubernetes.types import ResourceType, Types

APPLY = "application/apply-patch+yaml"
_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
"""What the names that it makes end with."""
_ROUNDS = 3
"""A patch that finds its object changed under it begins anew as often."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a request's path names."""

    type: ResourceType
    version: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """The object afterwards."""

    object: Object
    code: int = 200
    warnings: tuple[str, ...] = ()


class Writes:
    """Changes `storage`. `now` gives the time that objects are stamped with, as RFC 3339."""

    def __init__(self, storage: Storage, types: Types, admission: Admission, now: Callable[[], str]) -> None:
        self._storage = storage
        self._types = types
        self._admission = admission
        self._now = now

    async def create(self, target: Target, found: Object, user: User, query: Mapping[str, str]) -> Done:
        found = self._checked_body(target, found)
        metadata = found["metadata"]
        if not metadata.get("name"):
            if not metadata.get("generateName"):
                raise failures.invalid(
                    target.type.kind, target.type.group, "", [("metadata.name", "Required value: name is required")]
                )
            # As the API server does, eight times: among a thousand names one comes twice.
            for _ in range(8):
                metadata["name"] = metadata["generateName"] + "".join(secrets.choice(_SUFFIX) for _ in range(5))
                if self._storage.get(target.type.key, (target.namespace, metadata["name"])) is None:
                    break
        name = metadata["name"]
        self._namespace_must_be(target.namespace)
        if self._storage.get(target.type.key, (target.namespace, name)) is not None:
            raise failures.already_exists(target.type.plural, target.type.group, name)
        if target.type.has_status:
            found.pop("status", None)
        return await self._store(replace(target, name=name), found, None, user, query, code=201)

    async def update(self, target: Target, found: Object, user: User, query: Mapping[str, str]) -> Done:
        found = self._checked_body(target, found)
        before = self.stored(target)
        wanted = found["metadata"].get("resourceVersion")
        if wanted and wanted != before["metadata"]["resourceVersion"]:
            raise failures.conflict(target.type.plural, target.type.group, target.name)
        return await self._store(target, self._split(target, before, found), before, user, query)

    async def patch(self, target: Target, body: bytes, form: str, user: User, query: Mapping[str, str]) -> Done:
        if form == APPLY:
            return await self._apply(target, body, user, query)
        for _ in range(_ROUNDS):
            before = self.stored(target)
            try:
                document = orjson.loads(body)
            except ValueError as error:
                raise failures.bad_request(f"error decoding patch: {error}") from error
            if form == "application/json-patch+json":
                found = json_patch(before, document)
            elif form == "application/merge-patch+json":
                found = merge_patch(before, document)
            elif form == "application/strategic-merge-patch+json" and not target.type.schemas:
                found = strategic_merge_patch(before, document)
            else:
                raise failures.unsupported(form)
            wanted = found["metadata"].get("resourceVersion")
            if wanted != before["metadata"]["resourceVersion"]:
                raise failures.conflict(target.type.plural, target.type.group, target.name)
            try:
                return await self._store(target, self._split(target, before, found), before, user, query)
            except _ChangedMeanwhile:
                continue
        raise failures.conflict(target.type.plural, target.type.group, target.name)

    async def _apply(self, target: Target, body: bytes, user: User, query: Mapping[str, str]) -> Done:
        manager = query.get("fieldManager", "")
        if not manager:
            raise failures.bad_request("PatchOptions.meta.k8s.io is invalid: fieldManager: Required value")
        wanted = _applied(body)
        wanted.setdefault("metadata", {}).setdefault("name", target.name)
        if wanted["metadata"].get("managedFields"):
            raise failures.bad_request("metadata.managedFields must be nil")
        wanted = self._checked_body(target, wanted)
        schemas.check_applied(target.type, target.version, wanted)
        schema = target.type.schemas.get(target.version)
        stored = self._storage.get(target.type.key, (target.namespace, target.name))
        if stored is None and target.subresource:
            raise failures.not_found(target.type.plural, target.type.group, target.name)
        live = copy.deepcopy(stored.object) if stored is not None else None
        version = wanted["metadata"].get("resourceVersion")
        if version and (live is None or live["metadata"]["resourceVersion"] != version):
            raise failures.conflict(target.type.plural, target.type.group, target.name)
        if target.type.has_status:
            hidden = set(wanted) - {"apiVersion", "kind", "metadata", "status"} if target.subresource else {"status"}
            wanted = {name: value for name, value in wanted.items() if name not in hidden}
        if live is None:
            self._namespace_must_be(target.namespace)
        else:
            live["apiVersion"] = target.type.api_version(target.version)
        found = managed_fields.apply(
            live, wanted, manager, force=query.get("force") == "true", schema=schema, subresource=target.subresource
        )
        return await self._store(
            target,
            found,
            stored.object if stored is not None else None,
            user,
            query,
            code=200 if live else 201,
            noted=True,
        )

    async def delete(self, target: Target, options: Mapping[str, Any], user: User, query: Mapping[str, str]) -> Done:
        before = self.stored(target)
        self._preconditions(target, before, options.get("preconditions") or {})
        operation = self._operation("DELETE", target, user, query, before)
        _, warnings = await self._admission.admit(operation, None)
        if query.get("dryRun"):
            return Done(before, warnings=tuple(warnings))
        grace = options.get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
        kept = bool(before["metadata"].get("finalizers"))
        if target.type.key == ("", "pods") and before.get("spec", {}).get("nodeName"):
            # The kubelet ends it and deletes it again, with a grace period of zero.
            default = before["spec"].get("terminationGracePeriodSeconds", 30)
            grace = default if grace is None else int(grace)
            kept = kept or grace > 0
        if kept:
            found = copy.deepcopy(before)
            if "deletionTimestamp" not in found["metadata"]:
                found["metadata"]["deletionTimestamp"] = self._now()
                found["metadata"]["deletionGracePeriodSeconds"] = int(grace or 0)
            return Done(self._storage.put(target.type.key, (target.namespace, target.name), found).object)
        last = self._remove(target)
        if target.type.key == ("", "namespaces"):
            for each in list(self._types):
                for stored in list(self._storage.all(each.key, target.name)):
                    self._storage.remove(each.key, (target.name, stored.object["metadata"]["name"]))
        return Done(last, warnings=tuple(warnings))

    def stored(self, target: Target) -> Object:
        """Raises ApiError (404)."""
        found = self._storage.get(target.type.key, (target.namespace, target.name))
        if found is None:
            raise failures.not_found(target.type.plural, target.type.group, target.name)
        return found.object

    def seed(self, found: Object) -> Object:
        """Put an object as it stands, its status too, past every check; its namespace is made if it is missing."""
        found = copy.deepcopy(found)
        kind = self._types.of_kind(found["apiVersion"], found["kind"])
        if kind is None:
            raise LookupError(f"the fake API server knows no {found['apiVersion']} {found['kind']}")
        namespace = found["metadata"].setdefault("namespace", "default") if kind.namespaced else ""
        if namespace and self._storage.get(("", "namespaces"), ("", namespace)) is None:
            self.seed({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        name = (namespace, found["metadata"]["name"])
        stored = self._storage.get(kind.key, name)
        self._stamp(kind, found, stored.object if stored is not None else None)
        self._define(kind, found)
        return self._storage.put(kind.key, name, found).object

    def _checked_body(self, target: Target, found: Any) -> Object:
        if not isinstance(found, dict):
            raise failures.bad_request("the object provided is unrecognized (must be a mapping)")
        found = copy.deepcopy(found)
        kind, version = target.type.kind, target.type.api_version(target.version)
        if found.get("kind", kind) != kind or found.get("apiVersion", version) != version:
            said = f"{found.get('apiVersion')}, Kind={found.get('kind')}"
            raise failures.bad_request(f"the object provided is {said}; expected {version}, Kind={kind}")
        found["kind"], found["apiVersion"] = kind, version
        metadata = found.setdefault("metadata", {})
        if target.type.namespaced and metadata.setdefault("namespace", target.namespace) != target.namespace:
            raise failures.bad_request("the namespace of the provided object does not match the namespace sent")
        if target.name and metadata.setdefault("name", target.name) != target.name:
            raise failures.bad_request("the name of the object does not match the name on the URL")
        return found

    def _namespace_must_be(self, namespace: str) -> None:
        if not namespace:
            return
        found = self._storage.get(("", "namespaces"), ("", namespace))
        if found is None:
            raise failures.not_found("namespaces", "", namespace)
        if found.object["metadata"].get("deletionTimestamp"):
            raise failures.ApiError(403, "Forbidden", f"namespace {namespace} is being terminated")

    def _split(self, target: Target, before: Object, found: Object) -> Object:
        """Status is written by its own subresource alone, and that writes nothing else."""
        if target.subresource == "status":
            merged = copy.deepcopy(before)
            merged["status"] = found.get("status", {})
            merged["apiVersion"] = found["apiVersion"]
            return merged
        if target.type.has_status:
            found = {name: value for name, value in found.items() if name != "status"}
            if "status" in before:
                found["status"] = before["status"]
        return found

    def _stamp(self, kind: ResourceType, found: Object, before: Object | None) -> None:
        """What the server alone says of an object."""
        metadata = found["metadata"]
        if before is None:
            metadata["uid"] = metadata.get("uid") or str(uuid.uuid4())
            metadata.setdefault("creationTimestamp", self._now())
            metadata["generation"] = 1
            if kind.key == ("", "namespaces"):
                metadata["labels"] = {**(metadata.get("labels") or {}), "kubernetes.io/metadata.name": metadata["name"]}
                found.setdefault("status", {"phase": "Active"})
            return
        for name in ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"):
            if name in before["metadata"]:
                metadata[name] = before["metadata"][name]
        body = {name: value for name, value in found.items() if name not in ("metadata", "status", "apiVersion")}
        old = {name: value for name, value in before.items() if name not in ("metadata", "status", "apiVersion")}
        metadata["generation"] = before["metadata"].get("generation", 1) + (body != old)

    def _define(self, kind: ResourceType, found: Object) -> None:
        if kind.plural != "customresourcedefinitions":
            return
        if causes := structural.problems(found):
            raise failures.invalid(kind.kind, kind.group, found["metadata"]["name"], causes)
        self._types.define(found)
        found["status"] = {
            "acceptedNames": found["spec"]["names"],
            "storedVersions": [version["name"] for version in found["spec"]["versions"] if version.get("storage")],
            "conditions": [
                {"type": each, "status": "True", "lastTransitionTime": self._now(), "reason": each, "message": ""}
                for each in ("NamesAccepted", "Established")
            ],
        }

    async def _store(
        self,
        target: Target,
        found: Object,
        before: Object | None,
        user: User,
        query: Mapping[str, str],
        *,
        code: int = 200,
        noted: bool = False,
    ) -> Done:
        """`noted`: who manages what is already in it."""
        kind = target.type
        version_before = before["metadata"]["resourceVersion"] if before is not None else None
        operation = self._operation("UPDATE" if before is not None else "CREATE", target, user, query, before)
        admitted, warnings = await self._admission.admit(operation, copy.deepcopy(found), ["mutating"])
        assert admitted is not None
        found, more = schemas.admit(kind, target.version, admitted, query.get("fieldValidation", "Warn"), before)
        _, said = await self._admission.admit(operation, copy.deepcopy(found), ["validating"])
        warnings += said
        self._stamp(kind, found, before)
        if not noted:
            managed_fields.record_update(
                before,
                found,
                query.get("fieldManager") or "unknown",
                schema=kind.schemas.get(target.version),
                subresource=target.subresource,
            )
        if query.get("dryRun"):
            return Done(found, code, (*warnings, *more))
        now = self._storage.get(kind.key, (target.namespace, target.name))
        if (now.object["metadata"]["resourceVersion"] if now is not None else None) != version_before:
            raise _ChangedMeanwhile(kind.plural, kind.group, target.name)  # while a webhook was asked
        self._define(kind, found)
        if (
            found["metadata"].get("deletionTimestamp")
            and not found["metadata"].get("finalizers")
            and kind.plural != "pods"
        ):
            return Done(self._remove(target), code)
        done = self._storage.put(kind.key, (target.namespace, target.name), found)
        return Done(done.object, code, (*warnings, *more))

    def _remove(self, target: Target) -> Object:
        last = self._storage.remove(target.type.key, (target.namespace, target.name)).object
        if target.type.plural == "customresourcedefinitions":
            group, plural = last["spec"]["group"], last["spec"]["names"]["plural"]
            for stored in list(self._storage.all((group, plural))):
                metadata = stored.object["metadata"]
                self._storage.remove((group, plural), (metadata.get("namespace", ""), metadata["name"]))
            self._types.forget(group, plural)
        return last

    def _preconditions(self, target: Target, before: Object, wanted: Mapping[str, Any]) -> None:
        for name in ("uid", "resourceVersion"):
            if name in wanted and wanted[name] != before["metadata"][name]:
                why = f"Precondition failed: {name} in precondition: {wanted[name]}, in object meta: "
                why += before["metadata"][name]
                raise failures.conflict(target.type.plural, target.type.group, target.name, why)

    def _operation(
        self, verb: str, target: Target, user: User, query: Mapping[str, str], before: Object | None
    ) -> Operation:
        return Operation(
            verb,
            target.type,
            target.version,
            target.namespace if target.type.namespaced else "",
            target.name,
            target.subresource,
            user,
            bool(query.get("dryRun")),
            before,
        )


class _ChangedMeanwhile(failures.ApiError):
    def __init__(self, plural: str, group: str, name: str) -> None:
        made = failures.conflict(plural, group, name)
        super().__init__(409, "Conflict", str(made), details=made.body["details"])


def _applied(body: bytes) -> Any:
    """JSON is YAML, and read a thousand times as fast: while a large body is read, the server answers nobody."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return orjson.loads(orjson.dumps(YAML(typ="safe", pure=True).load(body.decode())))
