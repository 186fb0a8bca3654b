"""Starts what runs inside mitmproxy's environment, with our side package on its path and nothing else of ours."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from mesh.inspection import HOW_TO_INSTALL, Inspection
from remora.failure import Failure

SIDE = Path(__file__).resolve().parent / "side"
"""Has one package, `remora_mitmproxy`: a path entry shall bring no other module along."""


def spawn(
    inspection: Inspection,
    module: str,
    arguments: Sequence[str] = (),
    *,
    stdout: IO[Any] | int,
    more: Mapping[str, str] | None = None,
) -> "subprocess.Popen[bytes]":
    """`python -m remora_mitmproxy.MODULE` with a pipe to its standard input. Raises Failure if it is not installed."""
    if inspection.installed() is None:
        raise Failure(HOW_TO_INSTALL)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.Popen(  # noqa: S603  no shell; the interpreter is the one that we installed
        [str(inspection.python), "-P", "-m", f"remora_mitmproxy.{module}", *arguments],
        stdin=subprocess.PIPE,
        stdout=stdout,
        env={**kept, **(more or {}), "PYTHONPATH": str(SIDE)},
        # Ctrl-C in a terminal is for the command, which then ends it in order.
        start_new_session=True,
    )
