"""Where the rules live. Every store yields the same World and watches for changes made behind its back."""

from control.api.world import World
from control.stores.errors import ChangedMeanwhile, NothingApplied, StoreCorrupt, StoreError
from control.stores.files import FileStore, WatchEvent

__all__ = ["ChangedMeanwhile", "FileStore", "NothingApplied", "StoreCorrupt", "StoreError", "WatchEvent", "World"]
