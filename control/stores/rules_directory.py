"""The directory of rules, `KIND/NAMESPACE/NAME.yaml`, read whole: every file a rule, or the reasons why not."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from control.api.kinds import KINDS
from control.api.parse import parse
from control.api.resource import Key, Resource
from control.api.source import MAX_DOCUMENTS, MAX_FILE_BYTES, SourceFile
from control.api.violation import Violation
from control.stores.errors import NothingApplied


def path_of(key: Key) -> PurePosixPath:
    """Where a rule is stored, below the directory. Names are DNS names and so cannot leave it."""
    return PurePosixPath(key.kind, key.namespace, f"{key.name}.yaml")


def as_stored(resource: Resource) -> Resource:
    """The rule as its own file will say it, with that file's name and lines. Raises NothingApplied if it would not."""
    name = str(PurePosixPath("rules", path_of(resource.key)))
    if resource.text_line:
        above = resource.text_line - 1
        lines = {path: line - above for path, line in resource.lines.items()}
        return replace(resource, file=name, line=resource.line - above, lines=lines, text_line=1)
    parsed = parse([SourceFile(name, resource.text)], default_namespace=resource.namespace)
    if parsed.resources != (resource,):
        reason = str(parsed.violations[0]) if parsed.violations else "it reads differently"
        raise NothingApplied(f"nothing was applied: {resource.key} cannot be stored as a file of its own: {reason}")
    return replace(parsed.resources[0], created_at=resource.created_at)


@dataclass(slots=True)
class Reading:
    """The outcome of reading the whole directory."""

    resources: dict[Key, Resource] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)


_Signature = tuple[int, int, int]


class RulesDirectory:
    """Reads; remembers what each unchanged file said."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[Path, tuple[_Signature, Resource]] = {}

    def read(self) -> Reading:
        """Raises OSError where the directory itself cannot be read."""
        reading = Reading()
        known: dict[Path, tuple[_Signature, Resource]] = {}
        for count, path in enumerate(self._files()):
            if count >= MAX_DOCUMENTS:
                reading.violations.append(
                    Violation(str(path), 1, message=f"is one rule too many; {MAX_DOCUMENTS:,} fit")
                )
                break
            signature = _signature(path)
            if signature is None:  # gone since it was listed
                continue
            before = self._known.get(path)
            found = before[1] if before is not None and before[0] == signature else self._one(path, signature, reading)
            if found is not None:
                known[path] = (signature, found)
                reading.resources[found.key] = found
        self._known = known
        return reading

    def _files(self) -> Iterator[Path]:
        os.listdir(self._root)  # raises where walk would be silent
        for folder, folders, files in os.walk(self._root):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(files):
                # Editors leave hidden and backup files.
                if not name.startswith(".") and not name.endswith(("~", ".swp", ".tmp")):
                    yield Path(folder, name)

    def _one(self, path: Path, signature: _Signature, reading: Reading) -> Resource | None:
        relative = path.relative_to(self._root)
        name = str(Path(self._root.name) / relative)
        if len(relative.parts) != 3 or relative.suffix != ".yaml" or relative.parts[0] not in KINDS:
            message = f"is not where a rule belongs; write {self._root.name}/KIND/NAMESPACE/NAME.yaml, KIND one of " + (
                ", ".join(KINDS)
            )
            reading.violations.append(Violation(name, 1, message=message))
            return None
        if signature[1] > MAX_FILE_BYTES:
            reading.violations.append(
                Violation(name, 1, message=f"has {signature[1]:,} bytes; at most {MAX_FILE_BYTES:,}")
            )
            return None
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reading.violations.append(Violation(name, 1, message=f"cannot be read: {error}"))
            return None
        kind, namespace, file = relative.parts
        parsed = parse([SourceFile(name, text)], default_namespace=namespace)
        reading.violations += parsed.violations
        if not parsed.ok:
            return None
        if len(parsed.resources) != 1:
            message = f"holds {len(parsed.resources)} rules; a stored file holds one"
            reading.violations.append(Violation(name, 1, message=message))
            return None
        resource = parsed.resources[0]
        key = Key(kind, namespace, file.removesuffix(".yaml"))
        if resource.key != key:
            message = f"holds {resource.key}, but its place is that of {key}; move the file or correct the names"
            reading.violations.append(resource.violation(("metadata", "name"), message))
            return None
        return replace(resource, created_at=path.stat().st_mtime)


def _signature(path: Path) -> _Signature | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
