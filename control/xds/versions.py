"""What a client's part of a snapshot is called on the wire."""

import hashlib
from collections.abc import Set

from control.generate.types import Snapshot


def version_of(snapshot: Snapshot, type_url: str, names: Set[str] | None) -> str:
    """The snapshot's own version of the type. Where a client asked for some of its names only, that part's own, so that
    an equal version always means equal content."""
    named = snapshot.resources[type_url]
    if names is None or named.keys() <= names:
        return snapshot.versions[type_url]
    digest = hashlib.sha256()
    for name in sorted(names & named.keys()):
        for part in (name.encode(), named[name].value):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    return digest.hexdigest()[:16]
