"""What the path of a container's log says of it, and which files beside one are it from before it was rotated. No I/O
but looking into directories.

/var/log/containers/POD_NAMESPACE_CONTAINER-ID.log is a link of the kubelet's to
/var/log/pods/NAMESPACE_POD_UID/CONTAINER/RESTARTS.log.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_LINK = re.compile(
    r"(?P<pod>[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?)_(?P<namespace>[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)"
    r"_(?P<container>[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)-(?P<id>[0-9a-f]{64})\.log"
)
_POD_DIRECTORY = re.compile(
    r"(?P<namespace>[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)_(?P<pod>[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?)_(?P<uid>[0-9a-f-]{32,36})"
)
_DOCKER = re.compile(r"(?P<id>[0-9a-f]{64})-json\.log")
_ROTATED = r"(?:[.\-_][0-9][0-9T.:_\-Z]*|[.\-_](?:old|bak|prev|orig)|~)"
_SUFFIX = re.compile(_ROTATED)
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".lz4", ".tmp")


class Container(NamedTuple):
    """Whose log a file is; "" for what its path does not say."""

    namespace: str
    pod: str
    name: str
    id: str


def container_of(path: Path) -> Container | None:
    """None for a file that is no container's, by its path."""
    if (match := _LINK.fullmatch(path.name)) is not None:
        return Container(match["namespace"], match["pod"], match["container"], match["id"])
    if len(path.parts) > 3 and (match := _POD_DIRECTORY.fullmatch(path.parts[-3])) is not None:
        return Container(match["namespace"], match["pod"], path.parts[-2], "")
    if (match := _DOCKER.fullmatch(path.name)) is not None:
        return Container("", "", "", match["id"])
    return None


def is_compressed(name: str) -> bool:
    """By its ending; `.tmp` is what the kubelet calls one that it is compressing."""
    return name.endswith(_COMPRESSED)


def base_names(name: str) -> Iterator[str]:
    """Of which a file of this name would be a rotated one: `app.log` for `app.log.1` and `app.log-20260131`."""
    for end in range(1, len(name)):
        if name[end] in ".-_~" and _SUFFIX.fullmatch(name, end) is not None:
            yield name[:end]


def rotated_siblings(path: Path, *, limit: int = 64) -> list[os.DirEntry[str]]:
    """Files beside `path` (not a link) that are called as it and a number, a date or `old` (`app.log.1`,
    `app.log-20260131`, `0.log.20260131-120000`), or have that before the ending (`app-2026-01-31.log`, `app.1.log`);
    the newest first, without compressed ones."""
    stem, dot, ending = path.name.rpartition(".")
    longer = re.compile(re.escape(path.name) + _ROTATED)
    between = re.compile(re.escape(stem) + _ROTATED + re.escape(dot + ending)) if dot and stem else longer
    found: list[tuple[int, os.DirEntry[str]]] = []
    try:
        with os.scandir(path.parent) as entries:
            for entry in entries:
                name = entry.name
                if not is_compressed(name) and (longer.fullmatch(name) or between.fullmatch(name)):
                    with contextlib.suppress(OSError):  # gone again
                        if entry.is_file(follow_symlinks=False):
                            found.append((entry.stat(follow_symlinks=False).st_mtime_ns, entry))
    except OSError:
        return []
    found.sort(key=lambda one: one[0], reverse=True)
    return [entry for _, entry in found[:limit]]
