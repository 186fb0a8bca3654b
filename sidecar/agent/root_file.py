"""The file with the mesh's trust anchors. Kubernetes replaces it (`..data` points to another directory) when the roots
change, and a sidecar that lost the control plane meanwhile finds it again by the new ones."""

import logging
import os
from pathlib import Path

from sidecar.agent.certificates import UnusableCertificate, check_roots

MAX_ROOTS_BYTES = 4 * 1024 * 1024

Stamp = tuple[int, int, int, int]

_log = logging.getLogger("remora.identity")


class RootFile:
    """Read it, and know when there is something else in it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: Stamp | None = None

    def read(self) -> str:
        """PEM. Raises OSError, UnusableCertificate."""
        with open(self._path, "rb") as file:
            status = os.fstat(file.fileno())
            self._seen = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
            pem = file.read(MAX_ROOTS_BYTES)
        try:
            return check_roots(pem.decode("ascii"))
        except (UnicodeDecodeError, UnusableCertificate) as error:
            raise UnusableCertificate(f"{self._path}: {error}") from error

    def news(self) -> str | None:
        """What it holds now, if it is another file than the one that was read last, links followed. One that can not be
        used is told of once, and what was read before stays true."""
        try:
            status = os.stat(self._path)
            stamp = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
            if stamp == self._seen:
                return None
            self._seen = stamp
            return self.read()
        except FileNotFoundError:
            return None  # between the old one and the new one
        except (OSError, UnusableCertificate) as error:
            _log.error("the trust anchors stay what they are: %s", error)
            return None
