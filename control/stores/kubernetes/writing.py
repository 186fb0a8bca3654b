"""Rules that people apply through us, to the API server: by server-side apply, as a manager of fields of our own."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from control.api.kinds import KINDS
from control.api.resource import Key, Resource
from control.kubernetes.apply import COMMAND_MANAGER, apply
from control.kubernetes.client import KubeClient
from control.kubernetes.errors import ApiError
from control.kubernetes.resources import ApiResource
from control.stores.errors import NothingApplied
from control.stores.kubernetes.rule_book import RuleBook
from control.stores.kubernetes.rules import resource_of
from mesh.clock import Clock

_log = logging.getLogger("remora.store")

SEEN_WITHIN_S = 5.0
"""What was written comes back by the watch within milliseconds; longer, and it is said and not waited for."""
_LOOK_EVERY_S = 0.01


class RuleWriter:
    """Writes, and waits until `rules` has what was written."""

    def __init__(self, client: KubeClient, clock: Clock, rules: RuleBook) -> None:
        self._client = client
        self._clock = clock
        self._rules = rules

    async def change(self, resources: Sequence[Resource], deleted: Sequence[Key]) -> None:
        """All are tried (dry-run) before the first is written. Raises NothingApplied."""
        changed = [each for each in resources if self._rules.good.get(each.key) != each]
        foreign = [each.key for each in changed if "/" not in KINDS[each.kind].api_versions[0]]
        foreign += [key for key in deleted if "/" not in KINDS[key.kind].api_versions[0]]
        if foreign:
            raise NothingApplied(f"nothing was applied: {foreign[0]} is the cluster's own; apply it with kubectl")
        try:
            for resource in changed:
                await self._apply(resource, dry_run=True)
        except ApiError as error:
            raise NothingApplied(f"nothing was applied: {error}") from error
        done = 0
        written: dict[Key, dict[str, Any]] = {}
        try:
            for resource in changed:
                written[resource.key] = await self._apply(resource, dry_run=False)
                done += 1
            for key in deleted:
                await self._delete(key)
                done += 1
        except ApiError as error:
            told = (
                f"{done} of {len(changed) + len(deleted)} changes were made before one failed"
                if done
                else "nothing was applied"
            )
            raise NothingApplied(f"{told}: {error}") from error
        await self._seen(written, deleted)

    async def _apply(self, resource: Resource, *, dry_run: bool) -> dict[str, Any]:
        kind = resource_of(resource.api_version, KINDS[resource.kind])
        document = dict(resource.document)
        found = await apply(self._client, kind, document, manager=COMMAND_MANAGER, dry_run=dry_run)
        if dry_run or not _left_over(document.get("spec"), found.get("spec")):
            return found
        # What another manager wrote and this document does not say stays with apply: the person meant it to go.
        whole = {**found, "spec": document["spec"]}
        return await self._client.update(kind, resource.name, whole, resource.namespace)

    async def _delete(self, key: Key) -> None:
        resource = self._rules.good.get(key)
        kind = KINDS[key.kind]
        where: ApiResource = resource_of(resource.api_version if resource else kind.api_versions[0], kind)
        try:
            await self._client.delete(where, key.name, key.namespace)
        except ApiError as error:
            if not error.not_found:
                raise

    async def _seen(self, written: dict[Key, dict[str, Any]], deleted: Sequence[Key]) -> None:
        """Return once the watches have brought it, or have been given the time to."""
        until = self._clock.monotonic() + SEEN_WITHIN_S
        while not self._has(written, deleted):
            if self._clock.monotonic() > until:
                _log.warning("what was applied has not come back from the API server within %.0f s", SEEN_WITHIN_S)
                return
            await asyncio.sleep(_LOOK_EVERY_S)

    def _has(self, written: dict[Key, dict[str, Any]], deleted: Sequence[Key]) -> bool:
        if any(key in self._rules.good for key in deleted):
            return False
        for key, found in written.items():
            seen, metadata = self._rules.generation(key), found["metadata"]
            if seen is None or (seen[0] == metadata.get("uid") and seen[1] < int(metadata.get("generation") or 0)):
                return False
        return True


def _left_over(wanted: Any, found: Any) -> bool:
    """Whether `found` says something under a mapping of `wanted` that `wanted` does not. A default of the schema's does
    so too, and is no harm to write again."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return any(name not in wanted or _left_over(wanted[name], value) for name, value in found.items())
    return False
