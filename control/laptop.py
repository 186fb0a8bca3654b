"""What a laptop's mesh stands on: its state directory. Opened here, watched for edits made by hand."""

import asyncio
import logging
from dataclasses import replace

from control.ca.on_disk import DiskAuthority
from control.ca.service import by_token
from control.ca.template import DEFAULT_LIFETIMES
from control.ca.tokens import Tokens
from control.debug.targets import TargetsFile
from control.options import Options
from control.plane import Plane, Stored
from control.rest.guard import open_token
from control.stores import FileStore
from control.xds.publisher import Publisher
from mesh.clock import Clock
from mesh.lifecycle import TaskScope

_log = logging.getLogger("control")

WATCH_AGAIN_S = 5.0


class Laptop:
    """The state directory's store and authority. `close` gives up its lock."""

    def __init__(self, options: Options, clock: Clock) -> None:
        """Raises StoreError, BrokenAuthority, UnusableToken, OSError: each is a line for the operator."""
        self._options = options
        options.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._store = FileStore(options.state, clock=clock)
        self._store.open()  # first: it holds the lock that keeps a second control plane away from the rest
        try:
            lifetimes = replace(DEFAULT_LIFETIMES, leaf_s=options.certificate_lifetime_s)
            self._authority = DiskAuthority(options.state / "ca", options.trust_domain, clock, lifetimes)
            self._authority.open()
            tokens = Tokens(options.state / "tokens")
            tokens.load(clock.now())
            admin, prometheus = (open_token(options.state / f"{name}.token") for name in ("admin", "prometheus"))
        except BaseException:
            self._store.close()
            raise
        self.stored = Stored(
            self._store, self._authority, by_token(tokens, clock), tokens.is_component, admin, prometheus, tokens
        )

    def close(self) -> None:
        """Let another process use the directory."""
        self._store.close()

    def missing(self) -> list[str]:
        """Nothing: all was read when it was opened."""
        return []

    async def synced(self) -> None:
        """At once."""

    def start(self, scope: TaskScope, plane: Plane) -> None:
        """What goes on beside serving."""
        targets = TargetsFile(self._options.state / "targets.json", self._options.trust_domain)
        plane.publisher.on_change.append(targets.update)
        targets.update(self._store.world)
        scope.spawn(targets.run(), name="targets")
        scope.spawn(self._authority.keep(), name="root rotation")
        scope.spawn(_watch(self._store, plane.publisher), name="store watch")

    async def wait_failed(self) -> None:
        """Everything that can fail was begun by `start`, in its caller's scope."""
        await asyncio.get_running_loop().create_future()

    def addresses(self) -> dict[str, str]:
        """None."""
        return {}

    async def stop(self) -> None:
        """Nothing is held that others wait for."""


async def _watch(store: FileStore, publisher: Publisher) -> None:
    """Take over edits made to the stored files by hand."""
    while True:
        try:
            async for event in store.watch():
                for violation in event.violations:
                    _log.warning("stored rules: %s", violation)
                if event.world is not None:
                    publisher.submit(event.world, "files")
                else:
                    _log.error("the edited rules are not taken over; the last good ones go on")
        except (OSError, RuntimeError) as error:
            _log.error("cannot watch the rules: %s", error)
        await asyncio.sleep(WATCH_AGAIN_S)
