"""Where the state of a mesh on this machine is, for every process that nobody told (docs/interfaces.md)."""

import os
from collections.abc import Mapping
from pathlib import Path


def default_state(environ: Mapping[str, str] = os.environ) -> Path:
    """`$REMORA_STATE`, else `$XDG_STATE_HOME/remora`, else `~/.local/state/remora`."""
    if environ.get("REMORA_STATE"):
        return Path(environ["REMORA_STATE"])
    if environ.get("XDG_STATE_HOME"):
        return Path(environ["XDG_STATE_HOME"]) / "remora"
    return Path(environ.get("HOME", "~")).expanduser() / ".local/state/remora"
