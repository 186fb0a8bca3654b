"""The embedded store: one writer (`Store`) for the collector, any number of readers (`Reader`)."""

from collectors.store.errors import QueryTooSlow, RejectedBatch, StoreClosed, StoreError, StoreMissing
from collectors.store.reader import Reader
from collectors.store.writer import Limits, Store

__all__ = [
    "Limits",
    "QueryTooSlow",
    "Reader",
    "RejectedBatch",
    "Store",
    "StoreClosed",
    "StoreError",
    "StoreMissing",
]
