"""Istio's certificate service over gRPC: proof in, chain out. Two doors, one room.

On the token door (`--csr-port`) the proof is a token of ours (`by_token`) or a Kubernetes service account's
(`token_review`), on the certificate door (`--ads-port`) the client's own certificate; a token shown there is not looked
at. Whatever is wrong with a proof, the answer is the same word.
"""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import grpc

from control.ca.authority import Applicant, Authority
from control.ca.errors import (
    AuditUnavailable,
    CertificateError,
    ProofUnavailable,
    RateExceeded,
    RefusedRequest,
    SignerExpired,
    Unauthenticated,
)
from control.ca.limits import Buckets, Rate
from control.ca.peer import peer_of
from control.ca.tokens import Tokens
from mesh.clock import Clock
from mesh.csr import METHOD, SERVICE, CertificateRequest, CertificateResponse, MalformedCertificateMessage
from mesh.spiffe import SpiffeId

_log = logging.getLogger("control.ca")

MAX_MESSAGE_BYTES = 64 * 1024
FAILURE_RATE = Rate(burst=50, per_s=5.0)
"""Failed proofs from one address; beyond it, it is not even heard."""

Context = grpc.aio.ServicerContext[bytes, bytes]
Prove = Callable[[Context, CertificateRequest], Awaitable[Applicant]]
"""Who asks. Raises Unauthenticated, ProofUnavailable, RateExceeded."""


class CertificateService:
    """Answers CreateCertificate. `prove` is the door."""

    def __init__(
        self, authority: Authority, clock: Clock, prove: Prove, count: Callable[[str], None] = lambda _outcome: None
    ) -> None:
        self._authority = authority
        self._clock = clock
        self._prove = prove
        self._failures = Buckets(FAILURE_RATE)
        self._count = count

    def handler(self) -> Any:
        """What a grpc.aio server is given."""
        # Bytes go in and out: a message that cannot be read is our answer to give, not a traceback of the library.
        return grpc.method_handlers_generic_handler(
            SERVICE, {METHOD: grpc.unary_unary_rpc_method_handler(self._create)}
        )

    async def _create(self, data: bytes, context: Context) -> bytes:
        address = context.peer()
        host = address.rpartition(":")[0]
        try:
            if self._failures.exhausted(host, self._clock.monotonic()):
                raise RateExceeded("too many failed attempts")
            request = CertificateRequest.from_bytes(data)
            applicant = await self._prove(context, request)
            chain = await self._authority.issue(applicant, request.csr, request.validity_s)
        except MalformedCertificateMessage as error:
            self._count("refused")
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except (CertificateError, OSError) as error:
            if isinstance(error, Unauthenticated):
                self._failures.take(host, self._clock.monotonic())
            code, text, outcome = _answer(error)
            _log.warning("no certificate for %s: %s", address, error)
            self._count(outcome)
            await context.abort(code, text)
        except Exception:
            # A mistake of ours; it ends this call, is told like a refusal, and the library prints nothing of it.
            _log.exception("no certificate for %s: a mistake of the control plane", address)
            self._count("unavailable")
            await context.abort(grpc.StatusCode.INTERNAL, "internal error")
        self._count("issued")
        return CertificateResponse(chain).to_bytes()


def _answer(error: CertificateError | OSError) -> tuple[grpc.StatusCode, str, str]:
    match error:
        case Unauthenticated():
            return grpc.StatusCode.UNAUTHENTICATED, "unauthenticated", "unauthenticated"
        case RefusedRequest():
            return grpc.StatusCode.INVALID_ARGUMENT, str(error), "refused"
        case RateExceeded():
            return grpc.StatusCode.RESOURCE_EXHAUSTED, str(error), "limited"
        case ProofUnavailable():
            return grpc.StatusCode.UNAVAILABLE, "tokens cannot be checked now", "unavailable"
        case AuditUnavailable() | SignerExpired() | OSError():
            return grpc.StatusCode.UNAVAILABLE, "the authority cannot sign now", "unavailable"
        case _:
            return grpc.StatusCode.INTERNAL, "internal error", "unavailable"


def bearer_token(context: Context) -> str:
    """What stands in `authorization: Bearer TOKEN`. Raises Unauthenticated."""
    offered = [value for name, value in context.invocation_metadata() or () if name == "authorization"]
    if len(offered) != 1 or not isinstance(offered[0], str):
        raise Unauthenticated(f"{len(offered)} authorization headers")
    scheme, _, token = offered[0].partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthenticated("no bearer token")
    return token


def by_token(tokens: Tokens, clock: Clock) -> Prove:
    """The door for a first certificate: `authorization: Bearer TOKEN`."""

    async def prove(context: Context, _request: CertificateRequest) -> Applicant:
        grant = tokens.find(bearer_token(context), clock.now())
        return Applicant(
            grant.identity, "token", context.peer(), grant.workload, bind=partial(tokens.bind, grant.digest)
        )

    return prove


def by_certificate(authority: Authority, clock: Clock, may_renew: Callable[[SpiffeId], bool]) -> Prove:
    """The door for renewal. `may_renew` is false for an identity of which no workload is registered any more."""

    async def prove(context: Context, _request: CertificateRequest) -> Applicant:
        peer = peer_of(
            context.auth_context(),
            context.peer(),
            trust_domain=authority.trust_domain,
            anchors=authority.roots.trusted,
            now=clock.now(),
        )
        if not may_renew(peer.identity):
            raise Unauthenticated(f"{peer.identity} is not registered any more")
        return Applicant(peer.identity, "certificate", peer.address)

    return prove
