"""Where the rules live. Every store yields the same World and watches for changes made behind its back."""

from control.api.world import World
from control.stores.errors import NothingApplied, StoreCorrupt, StoreError
from control.stores.files import FileStore, WatchEvent

__all__ = ["FileStore", "NothingApplied", "StoreCorrupt", "StoreError", "WatchEvent", "World"]
