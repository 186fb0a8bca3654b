"""The supervisor's notes: who works in which place."""

import asyncio
from dataclasses import dataclass, field

from sidecar.agent.backoff import Backoff
from sidecar.agent.worker_process import WorkerProcess


@dataclass(slots=True)
class Slot:
    """A place for one worker after the other."""

    index: int
    backoff: Backoff
    worker: WorkerProcess | None = None
    applied: int = 0
    """Sequence number of the snapshot that it serves; 0 for none."""
    ready: bool = False
    """It reads its channel."""
    heard: bool = False
    """It said something since the last ping."""
    retiring: bool = False
    """Another has taken its place: its worker drains and is not replaced."""
    progress: asyncio.Event = field(default_factory=asyncio.Event)
    """It took another snapshot."""
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    ends: int = 0
    """Unexpected ends since the last stable run."""
