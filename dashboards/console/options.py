"""What the console's process is told at its start, and how it says that it cannot."""

from dataclasses import dataclass
from pathlib import Path

from dashboards.console.doors import ClusterDoor


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line said."""

    state: Path
    host: str
    port: int
    """0 for any that is free."""
    ready_fd: int | None = None
    """Inherited descriptor that gets one line of JSON once the console serves."""
    lifeline_fd: int | None = None
    """Inherited read end of a pipe whose closing means that the parent is gone."""
    control: ClusterDoor | None = None
    """Where a cluster's control plane is; None: where the state directory says."""
    url_file: Path | None = None
    """Gets the address with the token, in place of standard output."""


class CannotStart(Exception):
    """A mistake of the user's; the text is the one line that says so."""
