"""Where the rules live. Every store yields the same World and watches for changes made behind its back."""

from control.api.world import World
from control.stores.files import FileStore, StoreError

__all__ = ["FileStore", "StoreError", "World"]
