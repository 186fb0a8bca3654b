"""What can go wrong with the store, as its callers tell it apart."""


class StoreError(Exception):
    """The store cannot do what it was asked."""


class StoreMissing(StoreError):
    """There is no store at that path yet: nothing was ever collected there."""


class StoreClosed(StoreError):
    """The batch was not stored, since the store closed before it could be."""


class RejectedBatch(StoreError):
    """The batch holds what SQLite cannot store; sending it again cannot help."""


class QueryTooSlow(StoreError):
    """The query was stopped at its time limit."""
