"""The objects of an installation, one file a part. Each has `objects()`, in the order in which they are applied."""
