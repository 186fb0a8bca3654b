"""What a client's part of a snapshot is called on the wire."""

from control.generate.types import Snapshot


def version_of(snapshot: Snapshot, type_url: str, names: frozenset[str] | None) -> str:
    """The snapshot's own version of the type. Where a client asked for some of its names only, that part's own, so that
    an equal version always means equal content."""
    resources = snapshot.resources[type_url]
    return resources.version if names is None else resources.version_of(names)
