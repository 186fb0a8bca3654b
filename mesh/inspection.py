"""Where the environment is that mitmproxy lives in: one of its own, since it pins libraries that the mesh has newer."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HOW_TO_INSTALL = "mitmproxy is not installed: run `remora inspect install` (once, about 130 MB)"


@dataclass(frozen=True, slots=True)
class Inspection:
    """A directory with a virtual environment. One per user, whatever meshes they have."""

    directory: Path

    @classmethod
    def of_user(cls, environ: Mapping[str, str] = os.environ) -> "Inspection":
        """`$REMORA_INSPECT`, else `$XDG_DATA_HOME/remora/inspect`, else `~/.local/share/remora/inspect`."""
        if environ.get("REMORA_INSPECT"):
            return cls(Path(environ["REMORA_INSPECT"]))
        if environ.get("XDG_DATA_HOME"):
            return cls(Path(environ["XDG_DATA_HOME"]) / "remora/inspect")
        try:
            home = Path(environ.get("HOME") or "~").expanduser()
        except RuntimeError:
            home = Path("/")  # a container's user need not be in its /etc/passwd
        return cls(home / ".local/share/remora/inspect")

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.directory / "bin" / "python"

    @property
    def marker(self) -> Path:
        """Written last: without it the environment is half made."""
        return self.directory / "remora.json"

    @property
    def confdir(self) -> Path:
        """What mitmproxy keeps for itself, so that it leaves the user's own ~/.mitmproxy alone."""
        return self.directory / "mitmproxy"

    def installed(self) -> dict[str, str] | None:
        """`requirement`, `mitmproxy` and `python` (versions), or None: it is not there, or not whole."""
        try:
            marker = json.loads(self.marker.read_bytes())
        except (OSError, ValueError):
            return None
        if not isinstance(marker, dict) or not os.access(self.python, os.X_OK):
            return None
        return {str(name): str(value) for name, value in marker.items()}
