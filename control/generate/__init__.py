"""The mesh and a proxy to xDS resources. Depends on nothing else, so the two arguments are the cache key."""

from control.generate.generate import generate
from control.generate.references import check
from control.generate.types import TYPES, Snapshot

__all__ = ["TYPES", "Snapshot", "check", "generate"]
