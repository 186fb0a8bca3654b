"""The door for a first certificate in Kubernetes: a service account's token, which the API server vouches for.

The token has to be made for us (audience `remora-ca`), so that one stolen from another service is worth nothing here;
the API server knows whether the pod that it was made for still lives. Nothing is remembered but the reviews that are
under way: a token that the server takes back is refused from that moment on.

https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#tokenreview
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass

from control.ca.authority import Applicant
from control.ca.errors import CertificateError, ProofUnavailable, RateExceeded, Unauthenticated
from control.ca.service import Context, Prove, bearer_token
from control.injector.names import TOKEN_AUDIENCE
from control.kubernetes.client import KubeClient
from control.kubernetes.errors import ApiError
from control.kubernetes.resources import TOKEN_REVIEWS
from mesh.csr import CertificateRequest
from mesh.lifecycle import TaskScope
from mesh.spiffe import InvalidSpiffeId, SpiffeId

_log = logging.getLogger("control.ca")

AUDIENCE = TOKEN_AUDIENCE
MAX_TOKEN_CHARACTERS = 16 * 1024
"""A projected token has about 1,200."""
MAX_UNDER_WAY = 64
"""Reviews at the same time; a thousand pods that start at once are told to try again, which they do with jitter."""
POD_NAME = "authentication.kubernetes.io/pod-name"
CLAIMED_POD = "POD_NAME"
"""Of the request's metadata: the pod that the sender says it is."""
CLAIMED_CLUSTER = "ClusterID"
"""So is this: the cluster that its token is of."""

_PREFIX = "system:serviceaccount:"


@dataclass(frozen=True, slots=True)
class Account:
    """Whom the API server says a token belongs to."""

    namespace: str
    name: str
    pod: str = ""
    """Empty for a token that is bound to no pod: one of `kubectl create token`, or of an old Secret."""


Elsewhere = Callable[[str], "TokenReviews | None"]
"""Who knows the tokens of another cluster, by its name; None: nobody."""


def nobody_elsewhere(_cluster: str) -> None:
    """A mesh of one cluster."""


class TokenReviews:
    """Asks the API server about tokens for `audience`. Reviews belong to `scope`: a caller that leaves does not end
    another's."""

    def __init__(
        self,
        client: KubeClient,
        scope: TaskScope,
        count: Callable[[str], None] = lambda _outcome: None,
        audience: str = AUDIENCE,
    ) -> None:
        self._client = client
        self._scope = scope
        self._count = count
        self._audience = audience
        self._under_way: dict[str, asyncio.Task[Account | CertificateError]] = {}

    async def account(self, token: str) -> Account:
        """Raises Unauthenticated, ProofUnavailable, RateExceeded."""
        if not 0 < len(token) <= MAX_TOKEN_CHARACTERS or not token.isascii() or not token.isprintable():
            raise Unauthenticated(f"a token of {len(token)} characters is no service account's")
        digest = hashlib.sha256(token.encode()).hexdigest()
        task = self._under_way.get(digest)
        if task is None:
            if len(self._under_way) >= MAX_UNDER_WAY:
                self._count("limited")
                raise RateExceeded("too many tokens are being checked; try again")
            task = self._scope.spawn(self._settled(token), name="token review")
            self._under_way[digest] = task
            task.add_done_callback(lambda _task: self._under_way.pop(digest, None))
        outcome = await asyncio.shield(task)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def _settled(self, token: str) -> Account | CertificateError:
        """Never raises: a refusal must not end the scope."""
        try:
            account = await self._review(token)
        except Unauthenticated as error:
            self._count("refused")
            return error
        except ProofUnavailable as error:
            self._count("unavailable")
            return error
        self._count("authenticated")
        return account

    async def _review(self, token: str) -> Account:
        body = {
            "apiVersion": TOKEN_REVIEWS.api_version,
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [self._audience]},
        }
        try:
            answer = await self._client.create(TOKEN_REVIEWS, body)
        except ApiError as error:
            _log.error("tokens cannot be checked: %s", error)
            raise ProofUnavailable(str(error)) from error
        return read_status(answer.get("status"), self._audience)


def read_status(status: object, audience: str = AUDIENCE) -> Account:
    """A TokenReview's answer. Raises Unauthenticated; its message is for the log."""
    if not isinstance(status, dict) or status.get("authenticated") is not True:
        said = status.get("error") if isinstance(status, dict) else None
        raise Unauthenticated(f"the API server does not accept the token: {str(said or 'no reason given')[:200]}")
    # A server that knows nothing of audiences leaves the list out; then the token may be anybody's for anything.
    audiences = status.get("audiences")
    if not isinstance(audiences, list) or audience not in audiences:
        raise Unauthenticated(f"the token is not for audience {audience}")
    user = status.get("user")
    user = user if isinstance(user, dict) else {}
    name = user.get("username")
    if not isinstance(name, str) or not name.startswith(_PREFIX) or name.count(":") != 3:
        raise Unauthenticated(f"{str(name)[:200]!r} is no service account")
    namespace, _, account = name.removeprefix(_PREFIX).partition(":")
    extra = user.get("extra")
    pods = extra.get(POD_NAME) if isinstance(extra, dict) else None
    pod = pods[0] if isinstance(pods, list) and len(pods) == 1 and isinstance(pods[0], str) else ""
    return Account(namespace, account, pod)


def by_token_review(reviews: TokenReviews, trust_domain: str, elsewhere: Elsewhere = nobody_elsewhere) -> Prove:
    """The door. The identity is the account's; the workload is the pod that the token was made for, and a request that
    claims to come from another is refused. A token is shown to one API server alone: to that of the cluster that the
    request names if that has no control plane of its own, else to ours. What it says of accounts is believed."""

    async def prove(context: Context, request: CertificateRequest) -> Applicant:
        asked = elsewhere(str(request.metadata.get(CLAIMED_CLUSTER) or "")) or reviews
        account = await asked.account(bearer_token(context))
        try:
            identity = SpiffeId(trust_domain, account.namespace, account.name)
        except InvalidSpiffeId as error:
            raise Unauthenticated(str(error)) from error
        claimed = request.metadata.get(CLAIMED_POD)
        if claimed is not None and claimed != account.pod:
            raise Unauthenticated(
                f"pod {str(claimed)[:253]!r} shows the token of {account.pod or 'no pod'!r} of {identity}"
            )
        workload = f"{account.namespace}/{account.pod}" if account.pod else None
        return Applicant(identity, "service account token", context.peer(), workload)

    return prove
