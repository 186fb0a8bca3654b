"""Are the OTLP types on disk the ones that opentelemetry-proto installed? docs/decisions/0001 says why one must ask."""

import base64
import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path

REPAIR = "pip install --force-reinstall --no-deps 'opentelemetry-proto>=1.39,<2'"
"""Puts opentelemetry-proto's own files back."""

_SAMPLE = "opentelemetry/proto/trace/v1/trace_pb2.py"


def stale(places: Iterable[str] | None = None) -> bool:
    """True if another package's outdated files lie over opentelemetry-proto's. False where it is not installed.

    `places` are directories of installed packages (default: sys.path). Reads pip's RECORD by itself: every sidecar asks
    when it starts, and importlib.metadata would cost it 40 ms.
    """
    for place in sys.path if places is None else places:
        for record in Path(place or ".").glob("opentelemetry_proto-*.dist-info/RECORD"):
            for line in record.read_text().splitlines():
                path, digest, _ = line.rsplit(",", 2)
                if path == _SAMPLE:
                    found = hashlib.sha256((Path(place) / path).read_bytes()).digest()
                    return digest != "sha256=" + base64.urlsafe_b64encode(found).rstrip(b"=").decode()
    return False
