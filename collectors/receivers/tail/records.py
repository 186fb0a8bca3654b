"""Texts of files as records: ids, and whose they are."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from collectors.receivers.events import severity_of
from collectors.receivers.tail.assembly import Assembled
from collectors.receivers.tail.metadata import Metadata, Pod
from collectors.receivers.tail.paths import container_of
from collectors.receivers.tail.tailer import Chunk
from collectors.receivers.tail.traces import is_trace
from collectors.records import LogRecord

_RECORD = partial(tuple.__new__, LogRecord)


@dataclass(frozen=True, slots=True)
class _Origin:
    """What all records of a file have in common."""

    generation: int
    tag: str
    workload: str
    fields: dict[str, Any] = field(default_factory=dict)


class Origins:
    """Makes records of chunks."""

    def __init__(self, tag: str, node: str, metadata: Metadata) -> None:
        """`tag` may have {namespace}, {pod}, {container}, {file}."""
        self._tag = tag
        self._node = node
        self._metadata = metadata
        self._known: dict[Path, _Origin] = {}

    def records(self, chunk: Chunk, now: float) -> list[LogRecord]:
        """`now`, in seconds since the epoch, stands in for a missing time."""
        origin = self._origin(chunk.follower.path)
        prefix, tag, workload, fields = f"tail:{chunk.id}/", origin.tag, origin.workload, origin.fields
        return [_record(prefix, tag, workload, fields, one, now) for one in chunk.records]

    def forget(self, keep: set[Path]) -> None:
        """What is known of files other than these."""
        for path in [path for path in self._known if path not in keep]:
            del self._known[path]

    def _origin(self, path: Path) -> _Origin:
        origin = self._known.get(path)
        if origin is None or origin.generation != self._metadata.generation:
            origin = self._known[path] = self._find(path)
        return origin

    def _find(self, path: Path) -> _Origin:
        container = container_of(path)
        namespace, pod_name, name, id_ = container or ("", "", "", "")
        pod = (self._metadata.lookup(namespace, pod_name, id_) if container is not None else None) or Pod()
        name = name or pod.containers.get(id_, "")
        known: dict[str, Any] = {
            "log.file.path": str(path),
            "k8s.node.name": pod.node or self._node,
            "k8s.namespace.name": namespace,
            "k8s.pod.name": pod_name,
            "k8s.pod.uid": pod.uid,
            "k8s.container.name": name,
            "container.id": id_,
            "k8s.pod.labels": pod.labels,
        }
        fields = {key: value for key, value in known.items() if value}
        words = {"namespace": namespace, "pod": pod_name, "container": name, "file": path.stem}
        tag = self._tag.format_map({key: value or "-" for key, value in words.items()})
        workload = pod.workload or pod_name or path.stem
        return _Origin(self._metadata.generation, tag, workload, fields)


def _record(prefix: str, tag: str, workload: str, fields: dict[str, Any], one: Assembled, now: float) -> LogRecord:
    offset, end, time, stream, text = one
    body: dict[str, Any] = {"message": text, **fields}
    if stream:
        body["stream"] = stream
    severity = severity_of(body)
    if severity == "info" and is_trace(text):
        severity = "error"
    # The end is part of the id: what was joined otherwise after a restart is another record, and not lost as a double.
    record: LogRecord = _RECORD(
        (f"{prefix}{offset}-{end}", now if time is None else time, tag, workload, severity, None, body)
    )
    return record
