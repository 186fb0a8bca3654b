"""HTTPS for the API server's questions, port 15017: /inject and /validate. Nobody proves who he is here: the answers
tell nothing that the question did not, and cost bounded work."""

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram

from control.webhooks.bodies import DEFAULT_LIMITS, Bodies, BodyLimits, NoRoom, TooSlow
from control.webhooks.inject import NamespaceUnknown
from control.webhooks.review import Malformed, Review, Verdict, parse_review, render
from mesh.asgi import BodyTooLarge, ClientGone, Receive, Scope, Send, framing_problem, refuse, respond
from mesh.clock import Clock

_log = logging.getLogger("control.webhooks")

LARGE_BYTES = 1024 * 1024
MAX_LARGE = 4
"""Reviews over a megabyte that are worked on at the same time: read, they take many times their bytes."""
ANSWER_S = 9.0
"""The API server waits for 10 s at most (manifests), and then the failurePolicy decides: better that we say why."""

_STATUS: Mapping[type[Exception], int] = {BodyTooLarge: 413, TooSlow: 408, NoRoom: 503}

Answer = Callable[[Review], Awaitable[tuple[str, Verdict]]]


class WebhookMetrics:
    """What was asked and answered."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.reviews = Counter(
            "remora_webhook_reviews",
            "Admission reviews by webhook and outcome: injected, skipped, allowed, denied, malformed, failed",
            ("webhook", "outcome"),
            registry=registry,
        )
        self.seconds = Histogram(
            "remora_webhook_seconds",
            "From a review's last byte to its answer",
            ("webhook",),
            buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10),
            registry=registry,
        )


class Webhooks:
    """The ASGI application. `answers` by path."""

    def __init__(
        self,
        answers: Mapping[str, Answer],
        clock: Clock,
        metrics: WebhookMetrics,
        limits: BodyLimits = DEFAULT_LIMITS,
    ) -> None:
        self._answers = answers
        self._clock = clock
        self._metrics = metrics
        self._large = asyncio.Semaphore(MAX_LARGE)
        self.bodies = Bodies(limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"no {scope['type']} here")
        refusal = self._refusal(scope)
        if refusal is not None:
            await _refuse(scope, receive, send, *refusal)
            return
        try:
            await self._serve(scope, receive, send)
        except ClientGone:
            return

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        if scope["path"] not in self._answers:
            return 404, f"there are {' and '.join(self._answers)}"
        if scope["method"] != "POST":
            return 405, "reviews come by POST"
        problem = framing_problem(scope)
        if problem:
            return 400, problem
        types = [value for name, value in scope["headers"] if name == b"content-type"]
        if len(types) != 1 or types[0].split(b";")[0].strip().lower() != b"application/json":
            return 415, "a review is application/json"
        return None

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = scope["path"].lstrip("/")
        try:
            async with self.bodies.receive(scope, receive) as body:
                began = self._clock.monotonic()
                # A slot is for who is worked on, which ends; who still sends holds none.
                async with self._large if len(body) > LARGE_BYTES else contextlib.nullcontext():
                    status, answer = await self._answer(name, body)
        except (BodyTooLarge, TooSlow, NoRoom) as error:
            self._count(name, "malformed" if not isinstance(error, NoRoom) else "failed")
            await _refuse(scope, receive, send, _STATUS[type(error)], str(error))
            return
        self._metrics.seconds.labels(name).observe(self._clock.monotonic() - began)
        await respond(send, status, answer, "application/json")

    async def _answer(self, name: str, body: bytes) -> tuple[int, bytes]:
        try:
            review = await _parsed(body)
        except Malformed as error:
            self._count(name, "malformed")
            _log.warning("%s: a malformed review: %s", name, error)
            return 400, _error(str(error))
        try:
            async with asyncio.timeout(ANSWER_S):
                outcome, verdict = await self._answers[f"/{name}"](review)
        except (NamespaceUnknown, TimeoutError) as error:
            self._count(name, "failed")
            _log.error("%s: no answer to %s: %s", name, review, str(error) or "out of time")
            return 503, _error(str(error) or "out of time")
        except Exception:  # one pod's trouble is told to its owner, and must not end the control plane
            self._count(name, "failed")
            _log.exception("%s: no answer to %s", name, review)
            return 500, _error("internal error; the control plane's log has it")
        self._count(name, outcome)
        level = logging.WARNING if not verdict.allowed else logging.INFO if outcome == "injected" else logging.DEBUG
        dry = " (dry run)" if review.dry_run else ""
        _log.log(level, "%s: %s%s: %s%s", name, review, dry, outcome, f": {verdict.reason}" if verdict.reason else "")
        return 200, render(review, verdict)

    def _count(self, webhook: str, outcome: str) -> None:
        self._metrics.reviews.labels(webhook, outcome).inc()


async def _parsed(body: bytes) -> Review:
    """Raises Malformed."""
    return parse_review(body) if len(body) <= LARGE_BYTES else await asyncio.to_thread(parse_review, body)


def _error(text: str) -> bytes:
    return json.dumps({"error": text}).encode()


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, text: str) -> None:
    await refuse(scope, receive, send, status, _error(text), "application/json")
