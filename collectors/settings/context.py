"""What a receiver, processor or exporter is built with, besides its own settings."""

import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from collectors.receivers.claims import Claims
from collectors.telemetry import Telemetry
from collectors.tls import Credentials
from collectors.watching import Watched, wait_any_failed
from mesh.clock import Clock


@dataclass(frozen=True, slots=True)
class Context:
    """The process around a component. Built on the event loop's thread, while the loop runs."""

    clock: Clock
    rng: random.Random
    telemetry: Telemetry
    """`telemetry.registry` is where a component registers metrics of its own."""
    state: Path
    """The state directory. `directory` makes a component's own place in it."""
    claims: Claims
    """Whether a sender of the mesh may say what its records say."""
    credentials: Callable[[], Credentials] | None
    """The collector's present certificate of the mesh; None where it runs outside a mesh."""
    stack: AsyncExitStack
    """What must be closed: `on_close`. Exporters are built first, then processors, then receivers; closed in the
    opposite order, so that whatever a component hands on while it closes is still taken."""
    pages: dict[str, Callable[[], object]] = field(default_factory=dict)
    """More of what the health port shows: by path (`/cardinality`), what is rendered as JSON when somebody asks. Quick,
    without I/O; a component adds its own."""
    watched: list[Watched] = field(default_factory=list)
    """Parts whose failure ends the collector: `watch`."""

    def directory(self, *names: str) -> Path:
        """A private directory below the state directory, made if it is not there. Raises OSError."""
        path = self.state.joinpath(*names)
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path

    def on_close(self, close: Callable[[], Awaitable[object]]) -> None:
        """Await `close()` when the collector ends."""
        self.stack.push_async_callback(close)

    def watch(self, part: Watched) -> None:
        """End the collector when a task of this part fails: half a pipeline that looks well is worse than a restart,
        after which what is on disk goes on."""
        self.watched.append(part)

    async def wait_failed(self) -> None:
        """Return never, raise what ended a task of a part that is watched by now."""
        await wait_any_failed(self.watched)
