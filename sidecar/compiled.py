"""Where the compiled build of the hot path is, and whether it is one of the sources that are here now.

Agents ask this at every start. What is built, and how, is sidecar/compile.py's to say.
"""

import hashlib
import os
import sys
from pathlib import Path

PACKAGES = ("mesh", "sidecar")
DEFAULT_TARGET = Path(sys.prefix) / "lib" / "remora-compiled"
"""Where workers of this environment look for the build."""

INTERPRETED_VARIABLE = "REMORA_INTERPRETED"
"""In the environment: workers are interpreted even where there is a build, for a debugger or a comparison."""

ROOT = Path(__file__).resolve().parent.parent
"""The directory of the packages' sources."""

STAMP = "compiled.sha256"
"""A file of the build: the digest of what it was made of."""


def usable(target: Path = DEFAULT_TARGET) -> Path | None:
    """`target` if it holds a build of exactly these sources for this interpreter, and the environment does not say
    INTERPRETED_VARIABLE."""
    if os.environ.get(INTERPRETED_VARIABLE):
        return None
    try:
        built = (target / STAMP).read_text()
    except OSError:
        return None
    return target if built == sources_digest(ROOT) else None


def sources_digest(root: Path) -> str:
    """Of every source and of the interpreter that the result is for."""
    digest = hashlib.sha256(sys.version.encode())
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
