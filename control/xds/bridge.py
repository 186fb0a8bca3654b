"""Make before break: between two snapshots of which the second lacks clusters of the first, a third that has all.

A client swaps clusters at once but learns the routes that no longer use the removed ones two answers later. Without the
bridge, requests would meet routes to clusters that are gone (503 NC).
"""

from control.generate.types import CDS, EDS, Snapshot

MAX_KEPT = 5_000
"""Clusters. A client that never catches up is not sent ever more of the past."""


def bridge(old: Snapshot, new: Snapshot) -> Snapshot:
    """What to send before `new` to a client that has `old`, or will have; `new` itself if nothing is lost by it."""
    before, after = old.resources[CDS], new.resources[CDS]
    removed = [name for name in after.changed_since(before) if name not in after]
    if not removed or len(removed) > MAX_KEPT:
        return new
    # Endpoints are kept with their clusters; what the new snapshot says of a name always wins.
    kept = {url: new.resources[url].over(old.resources[url]) for url in (CDS, EDS)}
    return Snapshot({**new.resources, **kept})
