"""Make before break: between two snapshots of which the second lacks clusters of the first, a third that has all.

A client swaps clusters at once but learns the routes that no longer use the removed ones two answers later. Without the
bridge, requests would meet routes to clusters that are gone (503 NC).
"""

from collections.abc import Mapping

from google.protobuf.any_pb2 import Any as AnyMessage

from control.generate.types import CDS, EDS, Snapshot, snapshot

MAX_KEPT = 5_000
"""Clusters. A client that never catches up is not sent ever more of the past."""


def bridge(old: Snapshot, new: Snapshot) -> Snapshot:
    """What to send before `new` to a client that has `old`, or will have; `new` itself if nothing is lost by it."""
    removed = old.resources[CDS].keys() - new.resources[CDS].keys()
    if not removed or len(removed) > MAX_KEPT:
        return new
    resources: dict[str, Mapping[str, AnyMessage]] = dict(new.resources)
    for url in (CDS, EDS):
        # Endpoints are kept with their clusters; what the new snapshot says of a name always wins.
        resources[url] = {**old.resources[url], **new.resources[url]}
    return snapshot(resources)
