"""What a settings file is judged against besides itself: the flags, the state directory, the machine's ports."""

import json
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where the settings are to be used."""

    in_mesh: bool
    """Whether the collector gets a certificate of the mesh."""
    state: Path
    """The state directory; it need not be there."""
    now: datetime
    """With its zone: whether certificates are still valid."""
    flags: tuple[tuple[str, str, int], ...] = ()
    """What the flags listen on: flag, host, port."""
    ports_are_free: bool = True
    """Take that for granted: whoever starts a collector finds out by binding. False: try."""


def addresses_in_use(state: Path) -> frozenset[str]:
    """`host:port` of a collector that runs over this state directory: a file that is to replace its settings may name
    the same ones. Empty where none runs."""
    try:
        said = json.loads((state / "collector.json").read_bytes())
        os.kill(int(said["pid"]), 0)
    except PermissionError:
        pass  # it runs, as somebody else
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return frozenset()
    return frozenset(value for value in said.values() if isinstance(value, str))
