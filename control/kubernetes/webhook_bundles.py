"""The roots that the API server verifies our webhooks by: `caBundle` of the webhook configurations, kept by the leader.

While the root rotates the bundle holds both, so that it makes no difference which of them signed the certificate that
the API server is shown, and when it read the bundle.
"""

import asyncio
import base64
import logging
from collections.abc import Callable, Sequence

from control.kubernetes.client import JSON_PATCH, KubeClient
from control.kubernetes.errors import ApiError
from control.kubernetes.resources import MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS, ApiResource

_log = logging.getLogger("control.kubernetes")

INJECTOR = "remora-injector"
VALIDATOR = "remora-validator"
LOOK_EVERY_S = 10.0
"""A configuration that was applied anew, without a bundle, works again this soon."""

Configuration = tuple[ApiResource, str]


def configurations(revision: str) -> tuple[Configuration, ...]:
    """Of a revision's control plane; the one without a name has the plain ones."""
    suffix = f"-{revision}" if revision and revision != "default" else ""
    return (MUTATING_WEBHOOKS, INJECTOR + suffix), (VALIDATING_WEBHOOKS, VALIDATOR + suffix)


class WebhookBundles:
    """`wake` when the roots have changed; `run` in a task."""

    def __init__(
        self,
        client: KubeClient,
        roots_pem: Callable[[], str],
        may_write: Callable[[], bool],
        watched: Sequence[Configuration],
    ) -> None:
        self._client = client
        self._roots_pem = roots_pem
        self._may_write = may_write
        self._watched = tuple(watched)
        self._said: dict[str, str] = {}
        self._woken = asyncio.Event()

    def wake(self) -> None:
        self._woken.set()

    async def run(self) -> None:
        """Keep them, for ever."""
        while True:
            self._woken.clear()
            if self._may_write():
                for resource, name in self._watched:
                    await self._keep(resource, name)
            try:
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._woken.wait()
            except TimeoutError:
                pass

    async def _keep(self, resource: ApiResource, name: str) -> None:
        try:
            if await self.write(resource, name):
                _log.info("%s %s: caBundle has the mesh's roots of now", resource.plural, name)
            self._said.pop(name, None)
        except ApiError as error:
            if error.conflict:
                self.wake()  # somebody wrote in between
                return
            said = f"there is no {resource.plural} {name}" if error.not_found else str(error)
            if self._said.get(name) != said:
                _log.error("the API server may not trust the webhooks: %s", said)
            self._said[name] = said

    async def write(self, resource: ApiResource, name: str) -> bool:
        """Whether anything had to be written. Raises ApiError."""
        bundle = base64.b64encode(self._roots_pem().encode()).decode()
        found = await self._client.get(resource, name)
        stale = [
            number
            for number, webhook in enumerate(found.get("webhooks") or [])
            if (webhook.get("clientConfig") or {}).get("caBundle") != bundle
        ]
        if not stale:
            return False
        version = found["metadata"]["resourceVersion"]
        patch = [{"op": "test", "path": "/metadata/resourceVersion", "value": version}]
        patch += [
            {"op": "add", "path": f"/webhooks/{number}/clientConfig/caBundle", "value": bundle} for number in stale
        ]
        params = {"fieldManager": "remora"}
        await self._client.patch(resource, name, patch, content_type=JSON_PATCH, params=params)
        return True
