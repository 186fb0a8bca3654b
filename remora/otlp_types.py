"""Are the OTLP types on disk the ones that opentelemetry-proto installed? docs/decisions/0001 says why one must ask."""

import base64
import hashlib
from importlib.metadata import Distribution, PackageNotFoundError, distribution

REPAIR = "pip install --force-reinstall --no-deps 'opentelemetry-proto>=1.39,<2'"
"""Puts opentelemetry-proto's own files back."""

_SAMPLE = "opentelemetry/proto/trace/v1/trace_pb2.py"


def stale(installed: Distribution | None = None) -> bool:
    """True if another package's outdated files lie over opentelemetry-proto's. False where it is not installed."""
    if installed is None:
        try:
            installed = distribution("opentelemetry-proto")
        except PackageNotFoundError:
            return False
    for line in (installed.read_text("RECORD") or "").splitlines():
        path, digest, _ = line.rsplit(",", 2)
        if path == _SAMPLE:
            with open(str(installed.locate_file(path)), "rb") as file:
                found = base64.urlsafe_b64encode(hashlib.sha256(file.read()).digest()).rstrip(b"=").decode()
            return digest != f"sha256={found}"
    return False
