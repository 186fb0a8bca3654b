"""The registered workloads, `NAMESPACE/NAME.json`, one file each."""

from pathlib import Path

from pydantic import ValidationError

from control.api.workload import Workload
from control.api.world import WorkloadKey
from control.stores.errors import NothingApplied, StoreCorrupt
from mesh.files import sync_directory, write_atomic

_MAX_BYTES = 256 * 1024


class Registry:
    """Reads all at start, writes one at a time."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self) -> dict[WorkloadKey, Workload]:
        """Raises StoreCorrupt for any file that is no workload's record in its place."""
        found: dict[WorkloadKey, Workload] = {}
        try:
            for path in sorted(self._root.glob("*/*.json")):
                if path.name.startswith("."):
                    continue
                if path.stat().st_size > _MAX_BYTES:
                    raise StoreCorrupt(f"{path} is no workload's record: larger than {_MAX_BYTES} bytes")
                workload = Workload.model_validate_json(path.read_bytes())
                if (workload.namespace, f"{workload.name}.json") != (path.parent.name, path.name):
                    raise StoreCorrupt(f"{path} is the record of {workload.namespace}/{workload.name}; it is misplaced")
                found[workload.namespace, workload.name] = workload
        except (OSError, ValidationError) as error:
            raise StoreCorrupt(f"{path} is no workload's record: {str(error).splitlines()[0]}") from error
        return found

    def write(self, workload: Workload) -> None:
        """Raises NothingApplied; then the record is as it was."""
        path = self._root / workload.namespace / f"{workload.name}.json"
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            write_atomic(path, workload.model_dump_json(indent=1).encode() + b"\n", mode=0o600)
        except OSError as error:
            raise NothingApplied(f"the workload was not registered: {error.strerror or error} ({path})") from error

    def remove(self, key: WorkloadKey) -> None:
        """Raises NothingApplied."""
        path = self._root / key[0] / f"{key[1]}.json"
        try:
            path.unlink(missing_ok=True)
            if path.parent.exists():
                sync_directory(path.parent)
        except OSError as error:
            raise NothingApplied(f"the workload was not removed: {error.strerror or error} ({path})") from error
