"""Who asks, and whether they may: bearer tokens, RBAC from the stored roles, and what tests forbid on top."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.kubernetes.failures import forbidden
from tests.kubernetes.storage import Storage

_RBAC = "rbac.authorization.k8s.io"
API_AUDIENCE = "https://kubernetes.default.svc"


@dataclass(frozen=True, slots=True)
class User:
    """Whom a token proves."""

    name: str
    groups: tuple[str, ...] = ("system:authenticated",)
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


ADMIN = User("admin", ("system:masters", "system:authenticated"))


@dataclass(frozen=True, slots=True)
class Token:
    """What a bearer token is good for."""

    user: User
    audiences: tuple[str, ...] = (API_AUDIENCE,)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, as authorization sees it, and how it ended."""

    user: str
    verb: str
    group: str
    resource: str
    """With its subresource, as RBAC rules write it: `pods/status`."""
    namespace: str = ""
    name: str = ""

    @property
    def permission(self) -> tuple[str, str, str]:
        """(verb, group, resource)."""
        return self.verb, self.group, self.resource


class Access:
    """Everything is allowed to `ADMIN`; to others what `rbac` says, or everything while it is off."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.tokens: dict[str, Token] = {"admin": Token(ADMIN)}
        self.rbac = False
        """Whether roles and bindings that are stored decide. Off: everyone with a token may do everything."""
        self.forbidden: set[tuple[str, str, str]] = set()
        """(verb, group, resource) that nobody may, `*` for any; of tests that take a permission away."""

    def issue(
        self,
        namespace: str,
        account: str,
        audiences: Sequence[str] = (API_AUDIENCE,),
        *,
        pod: str = "",
        pod_uid: str = "",
    ) -> str:
        """A service account's token, bound to a pod if one is named."""
        extra = {"authentication.kubernetes.io/pod-name": (pod,), "authentication.kubernetes.io/pod-uid": (pod_uid,)}
        user = User(
            f"system:serviceaccount:{namespace}:{account}",
            ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"),
            uid=f"uid-{namespace}-{account}",
            extra=extra if pod else {},
        )
        # Three parts, as a JWT has.
        token = ".".join(secrets.token_urlsafe(12) for _ in range(3))
        self.tokens[token] = Token(user, tuple(audiences))
        return token

    def revoke(self, token: str) -> None:
        """It proves nothing any more."""
        self.tokens.pop(token, None)

    def who(self, authorization: str) -> User | None:
        """The user of an Authorization header that is good for the API server itself."""
        scheme, _, value = authorization.partition(" ")
        token = self.tokens.get(value.strip()) if scheme.lower() == "bearer" else None
        return token.user if token is not None and API_AUDIENCE in token.audiences else None

    def check(self, user: User, asked: Asked) -> None:
        """Raises ApiError (403)."""
        if not self.allowed(user, asked):
            plural = asked.resource.partition("/")[0]
            raise forbidden(user.name, asked.verb, asked.group, plural, asked.namespace, asked.name)

    def allowed(self, user: User, asked: Asked) -> bool:
        for verb, group, resource in self.forbidden:
            if verb in ("*", asked.verb) and group in ("*", asked.group) and resource in ("*", asked.resource):
                return False
        if not self.rbac or "system:masters" in user.groups:
            return True
        return any(_covers(rule, asked) for rule in self._rules(user, asked.namespace))

    def _rules(self, user: User, namespace: str) -> Iterator[Mapping[str, Any]]:
        for binding in self._storage.all((_RBAC, "clusterrolebindings")):
            if _binds(binding.object, user, ""):
                yield from self._role(binding.object["roleRef"], "")
        if not namespace:
            return
        for binding in self._storage.all((_RBAC, "rolebindings"), namespace):
            if _binds(binding.object, user, namespace):
                yield from self._role(binding.object["roleRef"], namespace)

    def _role(self, reference: Mapping[str, str], namespace: str) -> Sequence[Mapping[str, Any]]:
        plural, where = ("clusterroles", "") if reference["kind"] == "ClusterRole" else ("roles", namespace)
        role = self._storage.get((_RBAC, plural), (where, reference["name"]))
        return (role.object.get("rules") or ()) if role is not None else ()

    def review_token(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """The `status` of a TokenReview."""
        token = self.tokens.get(spec.get("token", ""))
        wanted = spec.get("audiences") or [API_AUDIENCE]
        if token is None:
            return {"authenticated": False, "error": "[invalid bearer token, token lookup failed]"}
        common = [audience for audience in wanted if audience in token.audiences]
        if not common:
            return {
                "authenticated": False,
                "error": f"token audiences {list(token.audiences)!r} is invalid for {wanted!r}",
            }
        user: dict[str, Any] = {"username": token.user.name, "groups": list(token.user.groups), "uid": token.user.uid}
        if token.user.extra:
            user["extra"] = {name: list(values) for name, values in token.user.extra.items()}
        return {"authenticated": True, "user": user, "audiences": common}

    def review_access(self, spec: Mapping[str, Any], asking: User) -> dict[str, Any]:
        """The `status` of a SubjectAccessReview, or of a SelfSubjectAccessReview where `spec` names no user."""
        what = spec.get("resourceAttributes") or {}
        resource = what.get("resource", "") + (f"/{what['subresource']}" if what.get("subresource") else "")
        user = User(spec["user"], tuple(spec.get("groups") or ())) if "user" in spec else asking
        asked = Asked(
            user.name,
            what.get("verb", ""),
            what.get("group", ""),
            resource,
            what.get("namespace", ""),
            what.get("name", ""),
        )
        return {"allowed": self.allowed(user, asked)}


def _binds(binding: Mapping[str, Any], user: User, namespace: str) -> bool:
    for subject in binding.get("subjects") or ():
        if subject["kind"] == "Group":
            found = subject["name"] in user.groups
        elif subject["kind"] == "ServiceAccount":
            found = user.name == f"system:serviceaccount:{subject.get('namespace', namespace)}:{subject['name']}"
        else:
            found = user.name == subject["name"]
        if found:
            return True
    return False


def _covers(rule: Mapping[str, Any], asked: Asked) -> bool:
    names = rule.get("resourceNames")
    return (
        _has(rule.get("verbs"), asked.verb)
        and _has(rule.get("apiGroups"), asked.group)
        and _has(rule.get("resources"), asked.resource)
        and (not names or asked.name in names)
    )


def _has(values: Sequence[str] | None, value: str) -> bool:
    return bool(values) and ("*" in values or value in values)
