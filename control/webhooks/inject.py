"""The injection webhook: a pod that is about to be created, to the patch that puts it into the mesh."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable

from control.injector.inject import inject
from control.injector.outcome import Denied, Injected, Skipped
from control.injector.settings import InjectorSettings, NamespaceFacts
from control.webhooks.review import Review, Verdict

MAX_POD_REVIEW_BYTES = 3 * 1024 * 1024
"""The API server itself takes no larger object; etcd by default none over 1.5 MB."""


class Injection:
    """Answers reviews. `namespace_of` raises NamespaceUnknown; then the webhook's failurePolicy decides."""

    def __init__(
        self, settings: Callable[[], InjectorSettings], namespace_of: Callable[[str], Awaitable[NamespaceFacts]]
    ) -> None:
        self._settings = settings
        self._namespace_of = namespace_of

    async def __call__(self, review: Review) -> tuple[str, Verdict]:
        """An outcome for the count, and the answer."""
        if review.operation != "CREATE" or (review.group, review.kind) != ("", "Pod") or review.found is None:
            return "skipped", Verdict(True)
        if review.size_bytes > MAX_POD_REVIEW_BYTES:
            reason = (
                f"the pod's review has {review.size_bytes:,} bytes, more than the {MAX_POD_REVIEW_BYTES:,} that Remora "
                "injects into; make the pod smaller (large data belongs into ConfigMaps), or opt out with the label "
                'sidecar.istio.io/inject: "false"'
            )
            return "denied", Verdict(False, reason)
        namespace = await self._namespace_of(review.namespace)
        # A pod of megabytes takes a moment, in which streams want to go on.
        outcome = await asyncio.to_thread(
            inject, review.found, namespace, self._settings(), hook_key=secrets.token_urlsafe(16)
        )
        match outcome:
            case Injected(patch=patch, warnings=warnings):
                return "injected", Verdict(True, "", tuple(patch), tuple(warnings))
            case Skipped(reason=reason, warnings=warnings):
                return "skipped", Verdict(True, reason, (), tuple(warnings))
            case Denied(reason=reason):
                return "denied", Verdict(False, f"Remora cannot inject into this pod: {reason}")


class NamespaceUnknown(Exception):
    """Nobody could tell the labels of the pod's namespace."""
