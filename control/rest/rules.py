"""Changing rules: parse, analyze, try on every proxy, store, publish. All of a call or nothing, one after another."""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Protocol

from control.analyze import analyze, analyze_stored
from control.api.parse import parse, parse_keys
from control.api.resource import Key, Parsed, Resource
from control.api.source import SourceFile
from control.api.violation import Violation
from control.api.world import World
from control.rest.refusals import Invalid, Unavailable
from control.stores import ChangedMeanwhile, NothingApplied
from control.stores.stored import ABSENT, StoredRule, changed_meanwhile
from control.xds.plan import Plan
from control.xds.planner import Planner
from control.xds.publisher import Publisher
from mesh.clock import Clock

NOTHING_EXPECTED: Mapping[Key, str] = MappingProxyType({})
"""Whatever is stored is overwritten."""


class RuleStore(Protocol):
    """Where rules are kept."""

    @property
    def world(self) -> World:
        """The present one."""

    def stored(self) -> Mapping[Key, StoredRule]:
        """All of them, in effect or not."""

    def as_kept(self, resource: Resource) -> Resource:
        """With the words in which the store would keep it: comments and all, or only what it says."""

    def change(self, resources: Iterable[Resource], deleted: Collection[Key], expected: Mapping[Key, str]) -> World:
        """Store and remove, all or nothing; the World afterwards. Blocks; called in a thread. Raises NothingApplied,
        ChangedMeanwhile."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a call does to one rule. `before` and `after` are YAML; None where there is none."""

    action: str
    key: Key
    before: str | None
    after: str | None
    etag: str
    """Of what was before."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call did, or would do. `version` is the mesh's afterwards."""

    changes: tuple[Change, ...]
    warnings: tuple[Violation, ...]
    version: str


class Rules:
    """The way into the store for whoever is not the file system."""

    def __init__(self, store: RuleStore, planner: Planner, publisher: Publisher, clock: Clock) -> None:
        self._clock = clock
        self._store = store
        self._planner = planner
        self._publisher = publisher
        self._turn = asyncio.Lock()

    async def apply(
        self, files: Sequence[SourceFile], expected: Mapping[Key, str] = NOTHING_EXPECTED, *, dry_run: bool
    ) -> Outcome:
        """Raises Invalid (409 where a rule is not as `expected` any more), Unavailable; then nothing has changed."""
        # Not in turn: reading ten thousand rules takes seconds and looks at nothing that others change.
        parsed = await asyncio.to_thread(parse, files)
        async with self._turn:
            world, stored = self._store.world, self._store.stored()
            _unchanged(stored, expected)
            findings = await asyncio.to_thread(analyze, world, parsed)
            warnings = _accept((*parsed.violations, *findings))
            changes = await asyncio.to_thread(_changes, stored, [*map(self._store.as_kept, parsed.resources)])
            changed = any(change.action != "unchanged" for change in changes)
            if changed:
                where = SourceFile(files[0].name, "")
                trial = await self._try(world.with_resources(self._aged(world, parsed.resources)), where)
                if not dry_run:
                    await self._store_change(parsed.resources, (), expected, trial)
            return Outcome(changes, warnings, self._publisher.version)

    async def delete(
        self, keys: Collection[Key], expected: Mapping[Key, str] = NOTHING_EXPECTED, *, dry_run: bool
    ) -> Outcome:
        """Raises Invalid (404 where one does not exist, 409 as `apply`), Unavailable; then nothing has changed."""
        async with self._turn:
            world, stored = self._store.world, self._store.stored()
            missing = [key for key in keys if key not in stored]
            if missing:
                raise Invalid([Violation("", 0, *key, message="is not stored") for key in missing], status=404)
            _unchanged(stored, expected)
            findings = await asyncio.to_thread(analyze, world, Parsed(), keys)
            warnings = _accept(findings)
            changes = await asyncio.to_thread(_deletions, stored, keys)
            trial = await self._try(world.with_resources((), keys), SourceFile("", ""))
            if not dry_run:
                await self._store_change((), keys, expected, trial)
            return Outcome(changes, warnings, self._publisher.version)

    async def delete_files(self, files: Sequence[SourceFile], *, dry_run: bool) -> Outcome:
        """The rules that documents name. Raises as `delete`."""
        keys, violations = await asyncio.to_thread(parse_keys, files)
        _accept(violations)
        return await self.delete(keys, dry_run=dry_run)

    async def analyze(self, files: Sequence[SourceFile]) -> list[Violation]:
        """Everything to be said about files beside what is stored; with no files, about what is stored."""
        if not files:
            return await asyncio.to_thread(analyze_stored, self._store.world)
        parsed = await asyncio.to_thread(parse, files)
        return [*parsed.violations, *await asyncio.to_thread(analyze, self._store.world, parsed)]

    def _aged(self, world: World, resources: Sequence[Resource]) -> list[Resource]:
        """With the times that the store will give them, near enough: only their order counts."""
        now = self._clock.now()
        stored = [world.resources.get(resource.key) for resource in resources]
        return [
            replace(resource, created_at=now + number * 1e-6 if before is None else before.created_at)
            for number, (resource, before) in enumerate(zip(resources, stored, strict=True))
        ]

    async def _try(self, world: World, where: SourceFile) -> Plan:
        """What the change would come to. Raises Invalid if it would spoil a proxy's configuration."""
        plan = await self._planner.plan(world, trial=True)
        known = set(self._publisher.plan.problems)
        new = [problem for problem in plan.problems if problem not in known]
        if new:
            message = "would break a proxy's configuration; please report this"
            raise Invalid([Violation(where.name, 1, message=f"{message}: {problem}") for problem in new])
        return plan

    def stored(self) -> Mapping[Key, StoredRule]:
        """All rules as they are stored, in effect or not."""
        return self._store.stored()

    async def _store_change(
        self, resources: Sequence[Resource], deleted: Collection[Key], expected: Mapping[Key, str], trial: Plan
    ) -> None:
        try:
            world = await asyncio.to_thread(self._store.change, resources, deleted, expected)
        except ChangedMeanwhile as error:
            raise Invalid(error.violations, status=409) from error
        except NothingApplied as error:
            raise Unavailable(str(error)) from error
        self._publisher.submit(world, "rules", trial)


def _accept(violations: Sequence[Violation]) -> tuple[Violation, ...]:
    """The warnings. Raises Invalid, with everything that was found, if there are errors."""
    if any(violation.severity == "error" for violation in violations):
        raise Invalid(violations)
    return tuple(violations)


def _unchanged(stored: Mapping[Key, StoredRule], expected: Mapping[Key, str]) -> None:
    """Raises Invalid."""
    if found := changed_meanwhile(stored, expected):
        raise Invalid(found, status=409)


def _changes(stored: Mapping[Key, StoredRule], resources: Iterable[Resource]) -> tuple[Change, ...]:
    return tuple(_change(stored, resource) for resource in resources)


def _deletions(stored: Mapping[Key, StoredRule], keys: Iterable[Key]) -> tuple[Change, ...]:
    return tuple(Change("deleted", key, stored[key].text, None, stored[key].etag) for key in keys)


def _change(stored: Mapping[Key, StoredRule], resource: Resource) -> Change:
    before = stored.get(resource.key)
    if before is None:
        return Change("created", resource.key, None, resource.text, ABSENT)
    # A changed comment is a change that people want to keep.
    same = before.text == resource.text
    return Change("unchanged" if same else "configured", resource.key, before.text, resource.text, before.etag)
