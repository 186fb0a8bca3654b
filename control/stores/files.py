"""The store of laptop mode: rules and workloads as files under one directory, changed whole or not at all.

Methods block for the time of a few disk syncs and may be called from any thread.
"""

import asyncio
import contextlib
import fcntl
import os
import threading
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import watchfiles

from control.analyze import analyze
from control.api.resource import Key, Parsed, Resource
from control.api.source import MAX_DOCUMENTS
from control.api.violation import Violation
from control.api.workload import Workload
from control.api.world import WorkloadKey, World
from control.stores.errors import ChangedMeanwhile, NothingApplied, StoreCorrupt, StoreError
from control.stores.journal import KERNEL, Disk, Journal, Written
from control.stores.registry import Registry
from control.stores.rules_directory import RulesDirectory, as_stored, path_of
from control.stores.stored import StoredRule, changed_meanwhile, stored_rule
from mesh.clock import Clock, SystemClock
from mesh.files import write_atomic

_RESCAN_MS = 10_000
_MARKER = b'{"format": 1}\n'


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """What an edit by hand came to: a new World, or the reasons why the last one goes on."""

    world: World | None
    violations: tuple[Violation, ...] = ()


class FileStore:
    """Rules in `dir/rules`, workloads in `dir/workloads`. `open` before anything else; `close` gives up the lock."""

    def __init__(self, directory: Path, *, clock: Clock | None = None, disk: Disk = KERNEL) -> None:
        self._dir = directory
        self._rules = directory / "rules"
        self._clock = clock or SystemClock()
        self._directory = RulesDirectory(self._rules)
        self._registry = Registry(directory / "workloads")
        self._journal = Journal(self._rules, directory, disk)
        self._mutex = threading.Lock()
        self._lock_fd: int | None = None
        self._world = World()

    @property
    def world(self) -> World:
        """The present World: immutable, replaced by every change."""
        return self._world

    def stored(self) -> Mapping[Key, StoredRule]:
        """Every rule; a file that is none stops a start, and an edit that makes one is not taken over."""
        return {key: stored_rule(resource) for key, resource in self._world.resources.items()}

    def open(self) -> World:
        """Read everything; a directory that never was a store becomes an empty one.

        Raises StoreError: unreadable, in use by another control plane, or (StoreCorrupt) holding what is no rule, or
        missing what was there. An empty mesh is never made of a broken store.
        """
        with self._mutex:
            try:
                self._lock()
                self._prepare()
                self._journal.recover()
                reading = self._directory.read()
                workloads = self._registry.read()
            except OSError as error:
                self.close()
                raise StoreError(f"cannot use {error.filename or self._dir} as store: {error.strerror}") from error
            except StoreError:
                self.close()
                raise
            errors = [violation for violation in reading.violations if violation.severity == "error"]
            if errors:
                self.close()
                raise StoreCorrupt(f"{len(errors)} stored rules cannot be read, first {errors[0]}", reading.violations)
            self._world = World(MappingProxyType(reading.resources), MappingProxyType(workloads), generation=1)
            return self._world

    def close(self) -> None:
        """Let another process use the store."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def _lock(self) -> None:
        self._dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(self._dir / "store.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(fd)
            raise StoreError(f"{self._dir} is in use by another control plane") from error
        self._lock_fd = fd

    def _prepare(self) -> None:
        marker = self._dir / "store.json"
        if marker.exists():
            if marker.read_bytes() != _MARKER:
                raise StoreCorrupt(f"{marker} is of another version of Remora, or damaged")
            for path in (self._rules, self._dir / "workloads"):
                if not path.is_dir():
                    raise StoreCorrupt(
                        f"{path} is missing, but was there; restore it, or delete {marker} to start empty"
                    )
            return
        self._rules.mkdir(exist_ok=True)
        (self._dir / "workloads").mkdir(mode=0o700, exist_ok=True)
        write_atomic(marker, _MARKER, mode=0o600)

    def apply(self, resources: Iterable[Resource]) -> World:
        """Store rules, new and changed, all of them or none. Raises NothingApplied."""
        return self.change(resources, ())

    def delete(self, keys: Collection[Key]) -> World:
        """Remove rules, all of them or none; one that does not exist is no error. Raises NothingApplied."""
        return self.change((), keys)

    def as_kept(self, resource: Resource) -> Resource:
        """As it is written: files keep comments."""
        return resource

    def change(
        self,
        resources: Iterable[Resource],
        deleted: Collection[Key],
        expected: Mapping[Key, str] = MappingProxyType({}),
    ) -> World:
        """Both at once. What is equal to what is stored is left alone; if all is, the World stays the same one.

        Raises NothingApplied; ChangedMeanwhile where something is not as `expected` (`changed_meanwhile`) any more."""
        with self._mutex:
            if found := changed_meanwhile(self.stored() if expected else {}, expected):
                raise ChangedMeanwhile(found)
            changed = []
            for resource in resources:
                before = self._world.resources.get(resource.key)
                if before == resource and before.text == resource.text:
                    continue
                created_at = before.created_at if before is not None else self._clock.now()
                changed.append(as_stored(replace(resource, created_at=created_at)))
            gone = [key for key in deleted if key in self._world.resources]
            if not changed and not gone:
                return self._world
            world = self._world.with_resources(changed, gone)
            if len(world.resources) > MAX_DOCUMENTS:
                raise NothingApplied(f"nothing was applied: a store holds at most {MAX_DOCUMENTS:,} rules")
            written = {path_of(r.key): Written(r.text.encode(), r.created_at) for r in changed}
            self._journal.change(written, frozenset(path_of(key) for key in gone))
            self._world = world
            return world

    def register(self, workload: Workload) -> World:
        """Add or replace a workload. Raises NothingApplied."""
        with self._mutex:
            if self._world.workloads.get((workload.namespace, workload.name)) != workload:
                self._registry.write(workload)
                self._world = self._world.with_workload(workload)
            return self._world

    def unregister(self, key: WorkloadKey) -> World:
        """Forget a workload; none is no error. Raises NothingApplied."""
        with self._mutex:
            if key in self._world.workloads:
                self._registry.remove(key)
                self._world = self._world.without_workload(key)
            return self._world

    def reload(self) -> WatchEvent | None:
        """Take over edits made by hand, all or none; None where there are none."""
        with self._mutex:
            try:
                if not self._rules.is_dir():
                    raise FileNotFoundError(f"{self._rules} is missing")
                reading = self._directory.read()
            except OSError as error:
                return WatchEvent(None, (Violation(str(self._rules), 1, message=f"cannot be read: {error}"),))
            if any(violation.severity == "error" for violation in reading.violations):
                return WatchEvent(None, tuple(reading.violations))
            changed = [r for key, r in reading.resources.items() if self._world.resources.get(key) != r]
            gone = [key for key in self._world.resources if key not in reading.resources]
            if not changed and not gone:
                return None
            kept = {r.key: r.created_at for r in changed}
            for key in kept:
                if key in self._world.resources:
                    kept[key] = self._world.resources[key].created_at
            changed = [replace(r, created_at=kept[r.key]) for r in changed]
            findings = analyze(self._world, Parsed(tuple(changed)), deleted=gone)
            if any(violation.severity == "error" for violation in findings):
                return WatchEvent(None, (*reading.violations, *findings))
            self._world = self._world.with_resources(changed, gone)
            return WatchEvent(self._world, (*reading.violations, *findings))

    async def watch(self, stop: asyncio.Event | None = None) -> AsyncIterator[WatchEvent]:
        """Edits made by hand, as they come. The same unresolved problems are reported once. Ends when `stop` is set.

        What the kernel's notices miss (an edit before the watch was in place, a directory replaced) is found by looking
        again every `_RESCAN_MS`.
        """
        reported: tuple[Violation, ...] = ()
        changes = watchfiles.awatch(
            self._rules, stop_event=stop, debounce=200, step=20, rust_timeout=_RESCAN_MS, yield_on_timeout=True
        )
        async with contextlib.aclosing(changes):
            async for _ in changes:
                event = await asyncio.to_thread(self.reload)
                if event is None:
                    reported = ()
                    continue
                if event.world is None and event.violations == reported:
                    continue
                reported = event.violations if event.world is None else ()
                yield event
