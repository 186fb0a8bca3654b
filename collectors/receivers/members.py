"""Who is registered under which identity, out of the control plane's `targets.json`: the file that says where each
workload's metrics are says whose they are as well."""

import logging
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mesh.json_text import parse_json

_log = logging.getLogger("remora.members")

MAX_FILE_BYTES = 8 * 1024 * 1024
PRINCIPAL_LABEL = "__meta_remora_principal"
"""Labels that begin with two underscores are dropped by Prometheus: they are for the reader of the file alone."""
SERVICE_LABEL = "__meta_remora_service"
OWNER_LABEL = "__meta_remora_owner"

_Names = dict[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Members:
    """The registered workloads. Principals are SPIFFE ids as text."""

    principals: dict[tuple[str, str], str] = field(default_factory=dict)
    """By namespace and workload."""
    of_workload: _Names = field(default_factory=dict)
    """Principals that have a workload of this name, in whatever namespace."""
    of_service: _Names = field(default_factory=dict)
    """Principals that have a workload of this service or app."""
    namespaces: frozenset[str] = frozenset()
    owners: dict[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    """Principals of the instances of a Deployment, or what else it is, by namespace and name: pods' records bear it."""
    owner_of: dict[tuple[str, str], str] = field(default_factory=dict)
    """By namespace and pod."""


def parse_members(text: str) -> Members:
    """Raises ValueError. A group without our labels (somebody else wrote the file) makes nobody a member."""
    document = parse_json(text)
    if not isinstance(document, list):
        raise ValueError("not a list of target groups")
    principals: dict[tuple[str, str], str] = {}
    workloads: dict[str, set[str]] = defaultdict(set)
    services: dict[str, set[str]] = defaultdict(set)
    owners: dict[tuple[str, str], set[str]] = defaultdict(set)
    owner_of: dict[tuple[str, str], str] = {}
    for group in document:
        labels: Any = group.get("labels") if isinstance(group, dict) else None
        if not isinstance(labels, dict):
            continue
        principal, workload, namespace = (labels.get(key) for key in (PRINCIPAL_LABEL, "workload", "namespace"))
        if not (isinstance(principal, str) and isinstance(workload, str) and isinstance(namespace, str)):
            continue
        principals[namespace, workload] = principal
        workloads[workload].add(principal)
        if owner := labels.get(OWNER_LABEL):
            owner_of[namespace, workload] = str(owner)
            owners[namespace, str(owner)].add(principal)
            workloads[str(owner)].add(principal)
        for key in (SERVICE_LABEL, "app"):
            if name := labels.get(key):
                services[str(name)].add(principal)
    namespaces = frozenset(namespace for namespace, _ in principals)
    of_owner = {key: frozenset(found) for key, found in owners.items()}
    return Members(principals, _frozen(workloads), _frozen(services), namespaces, of_owner, owner_of)


def _frozen(names: dict[str, set[str]]) -> _Names:
    return {name: frozenset(found) for name, found in names.items()}


class MembersFile:
    """The file's present content; what was read last, while it cannot be read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._members = Members()

    def present(self) -> Members:
        """Looks at the file's times each time (microseconds), reads it when they changed: a workload that registered a
        moment ago is known before its first record can come."""
        try:
            stat = self._path.stat()
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if stamp != self._stamp:
                self._stamp = stamp  # a broken file is complained of once
                if stat.st_size > MAX_FILE_BYTES:
                    raise ValueError(f"larger than {MAX_FILE_BYTES} bytes")
                self._members = parse_members(self._path.read_text("utf-8"))
        except FileNotFoundError:
            pass  # no workload yet
        except (OSError, ValueError) as error:
            _log.error("%s is not read, the workloads of before stay: %s", self._path, error)
        return self._members
