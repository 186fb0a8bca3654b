"""The mesh's roots where sidecars find them: ConfigMap `remora-ca-root-cert` of every namespace, kept by the leader."""

import asyncio
import logging
from collections.abc import Callable, Collection

from control.kubernetes.apply import apply
from control.kubernetes.client import KubeClient
from control.kubernetes.errors import ApiError
from control.kubernetes.resources import CONFIG_MAPS

_log = logging.getLogger("control.kubernetes")

NAME = "remora-ca-root-cert"
KEY = "root.pem"
NEVER = frozenset({"kube-system", "kube-public", "kube-node-lease"})
"""Nothing is injected there."""
AGAIN_EVERY_S = 300.0
"""What somebody removed or edited is put right this soon; until then running sidecars need it not."""
RETRY_S = 5.0


class RootCertificates:
    """`wake` when namespaces or roots have changed; `run` in a task."""

    def __init__(
        self,
        client: KubeClient,
        roots_pem: Callable[[], str],
        namespaces: Callable[[], Collection[str]],
        may_write: Callable[[], bool],
    ) -> None:
        """`namespaces` are the names of those that are not being deleted."""
        self._client = client
        self._roots_pem = roots_pem
        self._namespaces = namespaces
        self._may_write = may_write
        self._written: dict[str, str] = {}
        self._said: dict[str, str] = {}
        self._woken = asyncio.Event()

    def wake(self) -> None:
        self._woken.set()

    def anew(self) -> None:
        """Write all of them: another may have written since we led last."""
        self._written.clear()
        self.wake()

    async def run(self) -> None:
        """Write, for ever. A namespace that cannot be written to does not keep others from theirs."""
        while True:
            self._woken.clear()
            complete = await self.write() if self._may_write() else True
            try:
                async with asyncio.timeout(AGAIN_EVERY_S if complete else RETRY_S):
                    await self._woken.wait()
            except TimeoutError:
                if complete:
                    self._written.clear()

    async def write(self) -> bool:
        """Whether every namespace has it now."""
        pem = self._roots_pem()
        wanted = set(self._namespaces()) - NEVER
        for gone in self._written.keys() - wanted:
            del self._written[gone]
            self._said.pop(gone, None)
        complete = True
        for namespace in sorted(wanted):
            if self._written.get(namespace) == pem:
                continue
            if not self._may_write():
                return True  # another's work now
            complete = await self._write_one(namespace, pem) and complete
        return complete

    async def _write_one(self, namespace: str, pem: str) -> bool:
        document = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": NAME,
                "namespace": namespace,
                "labels": {"app.kubernetes.io/managed-by": "remora"},
            },
            "data": {KEY: pem},
        }
        try:
            await apply(self._client, CONFIG_MAPS, document)
        except ApiError as error:
            if error.not_found or (error.status == 403 and "being terminated" in error.message):
                return True  # the namespace is gone or going
            said = str(error)
            if self._said.get(namespace) != said:
                _log.error("namespace %s has not got the mesh's root: %s", namespace, said)
            self._said[namespace] = said
            return False
        if self._said.pop(namespace, None) is not None:
            _log.info("namespace %s has got the mesh's root", namespace)
        self._written[namespace] = pem
        return True
