"""What is known of a container besides its path: labels, workload, node. A file says so; what asks the Kubernetes API
has the same interface."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from mesh.json_text import parse_json

_log = logging.getLogger("remora.tail")

MAX_FILE_BYTES = 64 * 1024 * 1024
_CHECK_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Pod:
    """What records of a pod's containers get."""

    labels: dict[str, str] = field(default_factory=dict)
    workload: str = ""
    """The deployment, job or other that the pod belongs to."""
    node: str = ""
    uid: str = ""
    containers: dict[str, str] = field(default_factory=dict)
    """Names by id."""


class Metadata(Protocol):
    """Asked once for each file, and again when `generation` has changed."""

    @property
    def generation(self) -> int:
        """Another number when answers may have changed."""

    def lookup(self, namespace: str, pod: str, container_id: str) -> Pod | None:
        """None: not known (yet). With nothing but the id it is asked for a pod that has this container."""


class NoMetadata:
    """Knows nobody."""

    generation = 0

    def lookup(self, namespace: str, pod: str, container_id: str) -> Pod | None:
        """See Metadata."""
        return None


class MetadataFile:
    """A JSON file: a list of `{"namespace", "pod", "uid", "node", "workload", "labels": {}, "containers": {ID: NAME}}`,
    read again when it changes; what was read last serves while it cannot be."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._missing = ""
        self._checked = float("-inf")
        self._pods: dict[tuple[str, str], Pod] = {}
        self._by_container: dict[str, Pod] = {}
        self.generation = 0

    def refresh(self, now: float) -> None:
        """Look whether the file has changed, at most once a second. `now`: monotonic seconds."""
        if now - self._checked < _CHECK_EVERY_S:
            return
        self._checked = now
        try:
            stat = self._path.stat()
        except OSError as error:
            if self._missing != str(error):  # said once, and not each second
                self._missing = str(error)
                _log.error("%s is not read, what was known of pods before stays: %s", self._path, error)
            return
        self._missing = ""
        try:
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if stamp == self._stamp:
                return
            self._stamp = stamp  # a broken file is complained of once
            if stat.st_size > MAX_FILE_BYTES:
                raise ValueError(f"larger than {MAX_FILE_BYTES} bytes")
            self._pods = parse_pods(self._path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            _log.error("%s is not read, what was known of pods before stays: %s", self._path, error)
            return
        self._by_container = {id_: pod for pod in self._pods.values() for id_ in pod.containers}
        self.generation += 1

    def lookup(self, namespace: str, pod: str, container_id: str) -> Pod | None:
        """See Metadata."""
        return self._pods.get((namespace, pod)) if pod else self._by_container.get(container_id)


def parse_pods(text: str) -> dict[tuple[str, str], Pod]:
    """Raises ValueError that names the entry."""
    document = parse_json(text)
    if not isinstance(document, list):
        raise ValueError("it is no list of pods")
    pods: dict[tuple[str, str], Pod] = {}
    for number, entry in enumerate(document):
        if not isinstance(entry, dict):
            raise ValueError(f"entry {number} is no object")
        namespace, name = _text(entry, "namespace", number), _text(entry, "pod", number)
        if not namespace or not name:
            raise ValueError(f"entry {number} names no namespace or no pod")
        pods[namespace, name] = Pod(
            labels=_texts(entry, "labels", number),
            workload=_text(entry, "workload", number),
            node=_text(entry, "node", number),
            uid=_text(entry, "uid", number),
            containers=_texts(entry, "containers", number),
        )
    return pods


def _text(entry: dict[str, Any], key: str, number: int) -> str:
    value = entry.get(key, "")
    if not isinstance(value, str):
        raise ValueError(f"entry {number}: {key} is no text")
    return value


def _texts(entry: dict[str, Any], key: str, number: int) -> dict[str, str]:
    value = entry.get(key, {})
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise ValueError(f"entry {number}: {key} is no object of texts")
    return value
