"""The state directory of a mesh on this machine: where it is, and what is where in it (docs/interfaces.md)."""

import errno
import json
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from remora.failure import Failure, NoMesh

NEEDED_BYTES = 8 * 1024 * 1024
"""Free at the start of a mesh: certificates, rules, an empty store, the first lines of logs."""
_SHORT_BYTES = 256 * 1024
"""With less, whoever ends without a word could not write it."""
_SHORT_FILES = 16
_ROOM = "make room there, or choose another --state"


@dataclass(frozen=True, slots=True)
class State:
    """Paths in a state directory."""

    directory: Path

    @property
    def lock(self) -> Path:
        """Held (flock) by `remora up`."""
        return self.directory / "lock"

    @property
    def mesh(self) -> Path:
        """What `remora up` runs; there only while it is ready."""
        return self.directory / "mesh.json"

    @property
    def control(self) -> Path:
        """Where the control plane listens."""
        return self.directory / "control.json"

    @property
    def admin_token(self) -> Path:
        """Bearer token of the control plane's REST interface."""
        return self.directory / "admin.token"

    @property
    def prometheus_token(self) -> Path:
        """Bearer token that opens the control plane's list of targets, and nothing else."""
        return self.directory / "prometheus.token"

    @property
    def collector(self) -> Path:
        """Where the collector listens; there only while it runs."""
        return self.directory / "collector.json"

    @property
    def root(self) -> Path:
        """The mesh's root certificate."""
        return self.directory / "ca" / "root.pem"

    @property
    def telemetry(self) -> Path:
        """The collector's store."""
        return self.directory / "store" / "telemetry.sqlite"

    @property
    def ports(self) -> Path:
        """Ports of the control plane and the collector, for the next `remora up`."""
        return self.directory / "ports.json"

    @property
    def tokens(self) -> Path:
        """One file, mode 0600, per running component: the token it proves itself with."""
        return self.directory / "run"

    @property
    def addons(self) -> Path:
        """mitmproxy addon scripts that rules may name."""
        return self.directory / "addons"

    @property
    def logs(self) -> Path:
        """Output of the mesh's processes."""
        return self.directory / "logs"

    def create(self) -> None:
        """Make the directory (mode 0700) and what it needs. Raises Failure with the reason when that can not be."""
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.listdir(self.directory)
            self._check_private()
            for each in (self.tokens, self.logs, self.addons):
                each.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise Failure(f"cannot use state directory {self.directory}: {error.strerror}") from error
        if not os.access(self.directory, os.R_OK | os.W_OK | os.X_OK):
            raise Failure(f"cannot use state directory {self.directory}: no permission to read and write it")

    def _check_private(self) -> None:
        """Where others may write, they would have the mesh's keys, and by links what we write elsewhere."""
        status = self.directory.stat()
        mode = stat.S_IMODE(status.st_mode)
        if status.st_uid != os.geteuid():
            raise Failure(
                f"cannot use state directory {self.directory}: it belongs to user {status.st_uid}, who could read the "
                "mesh's keys and change its rules; choose another --state"
            )
        if mode & 0o022:
            raise Failure(
                f"cannot use state directory {self.directory}: it has mode {mode:04o}, others may write there: "
                f"chmod 0700 {self.directory}"
            )

    def claim_room(self) -> None:
        """Raises Failure where a mesh could not write what it needs to come up: here it can be said why."""
        try:
            with tempfile.TemporaryFile(dir=self.directory) as file:
                os.posix_fallocate(file.fileno(), 0, NEEDED_BYTES)
        except OSError as error:
            raise self.unusable(error) from error

    def unusable(self, error: OSError) -> Failure:
        """What to say of `error`, which came of writing there."""
        path = f"{error.filename}: " if error.filename is not None else ""
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = f" ({self._free()} are free, {_size(NEEDED_BYTES)} are needed): {_ROOM}" if full else ""
        return Failure(f"cannot use state directory {self.directory}: {path}{error.strerror}{advice}")

    def shortage(self) -> str:
        """What to add to a failure, if the disk is full; else empty."""
        try:
            status = os.statvfs(self.directory)
        except OSError:
            return ""
        has_files = status.f_favail >= _SHORT_FILES or not status.f_files  # some file systems do not count them
        if status.f_bavail * status.f_frsize >= _SHORT_BYTES and has_files:
            return ""
        return f"{self.directory}: {os.strerror(errno.ENOSPC)} ({self._free()} are free): {_ROOM}"

    def _free(self) -> str:
        status = os.statvfs(self.directory)
        files = f" and {status.f_favail} files" if status.f_files and status.f_favail < _SHORT_FILES else ""
        return _size(status.f_bavail * status.f_frsize) + files

    def read_control(self) -> dict[str, Any]:
        """Content of control.json. Raises NoMesh when there is none: no control plane has run here."""
        return self._read(self.control)

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            content = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise NoMesh(f"no mesh runs with state {self.directory}: start one with `remora up`") from None
        except OSError as error:
            raise Failure(f"cannot read {path}: {error.strerror}") from error
        except ValueError as error:
            raise Failure(f"{path} is damaged ({error}): stop the mesh, remove the file and start again") from error
        if not isinstance(content, dict):
            raise Failure(f"{path} is damaged: stop the mesh, remove the file and start again")
        return content


def _size(count: int) -> str:
    return f"{count // 1024:,} KiB" if count < 1 << 20 else f"{count >> 20:,} MiB"
