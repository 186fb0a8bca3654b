"""The authority of a cluster's mesh: its roots are a Secret, which every replica reads and only the leader writes.

Nothing of it is ever on a disk of ours. Who writes is decided twice: by the Lease, and by the Secret's resourceVersion,
so that even two leaders could not make two roots.
"""

import asyncio
import base64
import binascii
import logging
from collections.abc import Callable

from control.ca.authority import Audit, Authority
from control.ca.errors import BrokenAuthority
from control.ca.root import Roots, key_to_pem, new_roots, read_roots
from control.ca.rotate import Step, after, due
from control.ca.template import DEFAULT_LIFETIMES, Lifetimes
from control.kubernetes.client import Json, KubeClient
from control.kubernetes.errors import ApiError
from control.kubernetes.resources import SECRETS
from mesh.clock import Clock

_log = logging.getLogger("control.ca")

SECRET = "remora-ca"  # noqa: S105 - its name
LOOK_EVERY_S = 10.0
"""A follower knows a new root this soon; it signs nothing with it for two days."""
OPEN_EVERY_S = 0.25


class RootSecret:
    """The Secret `remora-ca` of the system's namespace."""

    def __init__(self, client: KubeClient, namespace: str) -> None:
        self._client = client
        self._namespace = namespace
        self._version = ""

    async def read(self) -> Roots | None:
        """None where there is no such Secret. Raises ApiError, BrokenAuthority."""
        found = await self._client.find(SECRETS, SECRET, self._namespace)
        if found is None:
            return None
        roots = self._decode(found)
        self._version = str(found["metadata"]["resourceVersion"])
        return roots

    async def create(self, roots: Roots) -> None:
        """Raises ApiError, `exists` where somebody was quicker."""
        self._remember(await self._client.create(SECRETS, self._encode(roots, ""), self._namespace))

    async def replace(self, roots: Roots) -> None:
        """What was read last by this. Raises ApiError, `conflict` where it has changed since."""
        body = self._encode(roots, self._version)
        self._remember(await self._client.update(SECRETS, SECRET, body, self._namespace))

    def _remember(self, written: Json) -> None:
        self._version = str(written["metadata"]["resourceVersion"])

    def _encode(self, roots: Roots, version: str) -> Json:
        metadata: Json = {
            "name": SECRET,
            "namespace": self._namespace,
            "labels": {"app.kubernetes.io/managed-by": "remora"},
        }
        if version:
            metadata["resourceVersion"] = version
        data = {"root.key": key_to_pem(roots.signer.key), "root.pem": roots.pem.encode()}
        if roots.next is not None:
            data["next.key"] = key_to_pem(roots.next.key)
        encoded = {name: base64.b64encode(value).decode() for name, value in data.items()}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": encoded}

    def _decode(self, secret: Json) -> Roots:
        where = f"Secret {self._namespace}/{SECRET}:"
        data = secret.get("data") or {}
        try:
            key, trusted, following = (
                base64.b64decode(data.get(name, ""), validate=True) for name in ("root.key", "root.pem", "next.key")
            )
        except (binascii.Error, TypeError) as error:
            raise BrokenAuthority(f"{where} its data is not base64") from error
        if not key or not trusted:
            raise BrokenAuthority(
                f"{where} root.key and root.pem are needed, and not both there: restore them, or delete the Secret and "
                "restart every control plane to begin anew (every sidecar then needs a new certificate)"
            )
        return read_roots(key, trusted, following, where)


class ClusterAuthority(Authority):
    """`open` before anything else, then `keep` in a task."""

    def __init__(
        self,
        secret: RootSecret,
        trust_domain: str,
        clock: Clock,
        audit: Audit,
        may_write: Callable[[], bool],
        lifetimes: Lifetimes = DEFAULT_LIFETIMES,
    ) -> None:
        """`may_write` is whether this process leads, asked before every write."""
        super().__init__(trust_domain, clock, audit, lifetimes)
        self._secret = secret
        self._may_write = may_write
        self._said = ""

    async def open(self) -> None:
        """Return once there are roots: read, or made by the leader, which this may be. Raises BrokenAuthority."""
        while True:
            try:
                roots = await self._read_or_make()
            except ApiError as error:
                self._say(f"the root cannot be read, trying on: {error}")
            else:
                if roots is not None:
                    self.adopt(roots)
                    self._say("")
                    return
                self._say("there is no root yet; waiting for the leader to make it", logging.INFO)
            await asyncio.sleep(OPEN_EVERY_S)

    async def _read_or_make(self) -> Roots | None:
        roots = await self._secret.read()
        if roots is not None or not self._may_write():
            return roots
        roots = new_roots(self._trust_domain, now=self._clock.now(), lifetimes=self._lifetimes)
        try:
            await self._secret.create(roots)
        except ApiError as error:
            if error.exists:
                return await self._secret.read()
            raise
        _log.warning("made the mesh's root, Secret %s", SECRET)
        return roots

    async def keep(self, every_s: float = LOOK_EVERY_S) -> None:
        """Follow the Secret, and rotate the root when this process leads, for ever. Whatever goes wrong, what is known
        goes on serving."""
        while True:
            await asyncio.sleep(every_s)
            try:
                await self.look()
                self._say("")
            except ApiError as error:
                if not error.conflict:  # somebody else took the step: the next look shows it
                    self._say(f"the root cannot be looked at, the one that is known goes on: {error}")
            except BrokenAuthority as error:
                self._say(f"the root that is known goes on: {error}")

    async def look(self) -> Step:
        """Take over what the Secret says, and the step of a rotation that is due. Raises ApiError, BrokenAuthority."""
        roots = await self._secret.read()
        if roots is None:
            if self._may_write():
                await self._secret.create(self.roots)
                _log.warning("Secret %s was gone and is there again, with the same root", SECRET)
            return Step.NOTHING
        self.adopt(roots)
        now = self._clock.now()
        step = due(roots, now=now, lifetimes=self._lifetimes)
        if step is Step.NOTHING or not self._may_write():
            return Step.NOTHING
        changed = after(step, roots, self._trust_domain, now=now, lifetimes=self._lifetimes)
        await self._secret.replace(changed)
        _log.warning("root rotation: %s", step.value)
        self.adopt(changed)
        return step

    def _say(self, text: str, level: int = logging.ERROR) -> None:
        """Once, until there is something else to say."""
        if text and text != self._said:
            _log.log(level, "%s", text)
        self._said = text
