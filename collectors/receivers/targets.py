"""What to scrape, out of files in Prometheus' file_sd format."""

from collections.abc import Iterable
from dataclasses import dataclass

from mesh.json_text import parse_json

MAX_TARGETS = 10_000
MAX_FILE_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Target:
    """One address."""

    address: str
    """host:port; the series' `instance`."""
    path: str
    labels: tuple[tuple[str, str], ...]
    scheme: str = "http"
    meta: tuple[tuple[str, str], ...] = ()
    """Labels that begin with two underscores: for relabelling alone."""


def parse_targets(text: str) -> frozenset[Target]:
    """Labels that begin with `__` are instructions: `__metrics_path__` is the path, `__scheme__` http or https.

    Raises ValueError.
    """
    document = parse_json(text)
    if not isinstance(document, list):
        raise ValueError("not a list of target groups")
    targets = set()
    for group in document:
        if not isinstance(group, dict) or not isinstance(group.get("targets"), list):
            raise ValueError("a target group without targets")
        labels = group.get("labels") or {}
        if not isinstance(labels, dict):
            raise ValueError("labels that are no map")
        path, scheme = str(labels.get("__metrics_path__", "/metrics")), str(labels.get("__scheme__", "http"))
        if scheme not in ("http", "https"):
            raise ValueError(f"scheme {scheme[:20]!r} is neither http nor https")
        pairs = sorted((str(key), str(value)) for key, value in labels.items())
        kept = tuple(pair for pair in pairs if not pair[0].startswith("__"))
        meta = tuple(pair for pair in pairs if pair[0].startswith("__"))
        for address in group["targets"]:
            split_address(str(address))
            targets.add(Target(str(address), path, kept, scheme, meta))
    return bounded(targets)


def bounded(targets: Iterable[Target]) -> frozenset[Target]:
    """Raises ValueError if they are too many."""
    found = frozenset(targets)
    if len(found) > MAX_TARGETS:
        raise ValueError(f"{len(found)} targets, at most {MAX_TARGETS} are scraped")
    return found


def split_address(address: str) -> tuple[str, int]:
    """Host and port. Raises ValueError."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{address!r} is not host:port")
    return host.strip("[]"), int(port)
