"""Rules that people apply through us, to the API server: by server-side apply, as a manager of fields of our own."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from control.api.kinds import KINDS
from control.api.resource import Key, Resource
from control.kubernetes.apply import COMMAND_MANAGER, apply
from control.kubernetes.client import KubeClient
from control.kubernetes.errors import ApiError
from control.kubernetes.resources import ApiResource
from control.stores.errors import ChangedMeanwhile, NothingApplied
from control.stores.kubernetes.rule_book import RuleBook
from control.stores.kubernetes.rules import Rule, resource_of
from control.stores.stored import ABSENT, changed_meanwhile
from mesh.clock import Clock

_log = logging.getLogger("remora.store")

SEEN_WITHIN_S = 5.0
"""What was written comes back by the watch within milliseconds; longer, and it is said and not waited for."""
ATTEMPTS = 5
"""Of a write to a rule whose resourceVersion has changed and whose words have not: conditions were written to it."""
_LOOK_EVERY_S = 0.01


class RuleWriter:
    """Writes, and waits until `rules` has what was written."""

    def __init__(self, client: KubeClient, clock: Clock, rules: RuleBook) -> None:
        self._client = client
        self._clock = clock
        self._rules = rules

    async def change(
        self,
        resources: Sequence[Resource],
        deleted: Sequence[Key],
        expected: Mapping[Key, str] = MappingProxyType({}),
    ) -> None:
        """All are tried (dry-run) before the first is written. What is in `expected` is written only if it still is
        as that says, which the API server makes sure of. Raises NothingApplied, ChangedMeanwhile."""
        self._check(expected)
        changed = [each for each in resources if not self._is(each)]
        foreign = [each.key for each in changed if "/" not in KINDS[each.kind].api_versions[0]]
        foreign += [key for key in deleted if "/" not in KINDS[key.kind].api_versions[0]]
        if foreign:
            raise NothingApplied(f"nothing was applied: {foreign[0]} is the cluster's own; apply it with kubectl")
        try:
            for resource in changed:
                await self._apply(resource, expected.get(resource.key), dry_run=True)
        except ApiError as error:
            raise NothingApplied(f"nothing was applied: {error}") from error
        done = 0
        applied: dict[Key, dict[str, Any]] = {}
        try:
            for resource in changed:
                applied[resource.key] = await self._apply(resource, expected.get(resource.key), dry_run=False)
                done += 1
            for key in deleted:
                await self._delete(key, expected.get(key))
                done += 1
        except ApiError as error:
            told = (
                f"{done} of {len(changed) + len(deleted)} changes were made before one failed"
                if done
                else "nothing was applied"
            )
            raise NothingApplied(f"{told}: {error}") from error
        await self._seen(applied, deleted)

    def _is(self, resource: Resource) -> bool:
        """Whether it is there already."""
        newest = self._rules.newest(resource.key)
        return newest is not None and newest.document == resource.document

    def _check(self, expected: Mapping[Key, str]) -> None:
        if found := changed_meanwhile(self._rules.stored(expected), expected):
            raise ChangedMeanwhile(found)

    async def _apply(self, resource: Resource, etag: str | None, *, dry_run: bool) -> dict[str, Any]:
        kind = resource_of(resource.api_version, KINDS[resource.kind])
        document = dict(resource.document)

        async def write(version: str) -> dict[str, Any]:
            about = document["metadata"] | ({"resourceVersion": version} if version else {})
            body = document | {"metadata": about}
            return await apply(self._client, kind, body, manager=COMMAND_MANAGER, dry_run=dry_run)

        found = await self._unless_changed(resource.key, etag, write)
        if etag == ABSENT and dry_run and found["metadata"].get("resourceVersion"):
            # One that a dry run makes has none: this one was there, and its watch event is under way.
            await self._newer(resource.key, None)
            self._check({resource.key: etag})
        if dry_run or not _left_over(document.get("spec"), found.get("spec")):
            return found
        # What another manager wrote and this document does not say stays with apply: the person meant it to go.
        whole = {**found, "spec": document["spec"]}
        return await self._client.update(kind, resource.name, whole, resource.namespace)

    async def _delete(self, key: Key, etag: str | None) -> None:
        newest = self._rules.newest(key)
        kind = KINDS[key.kind]
        where: ApiResource = resource_of(newest.api_version if newest is not None else kind.api_versions[0], kind)

        async def delete(version: str) -> dict[str, Any]:
            return await self._client.delete(where, key.name, key.namespace, resource_version=version)

        try:
            await self._unless_changed(key, etag, delete)
        except ApiError as error:
            if not error.not_found:
                raise

    async def _unless_changed(
        self, key: Key, etag: str | None, write: Callable[[str], Awaitable[dict[str, Any]]]
    ) -> dict[str, Any]:
        """`write`, told the resourceVersion of what has this etag; empty where there is nothing to compare.

        Raises ChangedMeanwhile, ApiError."""
        if not etag:
            return await write("")
        attempt = 0
        while True:
            attempt += 1
            self._check({key: etag})
            newest = self._rules.newest(key)
            try:
                return await write(newest.resource_version if newest is not None else "")
            except ApiError as error:
                if not (error.conflict or error.not_found) or attempt == ATTEMPTS:
                    raise
            await self._newer(key, newest)

    async def _newer(self, key: Key, than: Rule | None) -> None:
        """Return once the watch has brought another version, or has been given the time to."""
        await self._until(lambda: self._rules.newest(key) != than)

    async def _seen(self, applied: dict[Key, dict[str, Any]], deleted: Sequence[Key]) -> None:
        """Return once the watches have brought it, or have been given the time to."""
        if not await self._until(lambda: self._has(applied, deleted)):
            _log.warning("what was applied has not come back from the API server within %.0f s", SEEN_WITHIN_S)

    async def _until(self, reached: Callable[[], bool]) -> bool:
        """Whether it came to that in SEEN_WITHIN_S."""
        until = self._clock.monotonic() + SEEN_WITHIN_S
        while not reached():
            if self._clock.monotonic() > until:
                return False
            await asyncio.sleep(_LOOK_EVERY_S)
        return True

    def _has(self, applied: dict[Key, dict[str, Any]], deleted: Sequence[Key]) -> bool:
        if any(self._rules.newest(key) is not None for key in deleted):
            return False
        for key, found in applied.items():
            seen, metadata = self._rules.newest(key), found["metadata"]
            if seen is None or (
                seen.uid == metadata.get("uid") and seen.generation < int(metadata.get("generation") or 0)
            ):
                return False
        return True


def _left_over(wanted: Any, found: Any) -> bool:
    """Whether `found` says something under a mapping of `wanted` that `wanted` does not. A default of the schema's does
    so too, and is no harm to write again."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return any(name not in wanted or _left_over(wanted[name], value) for name, value in found.items())
    return False
