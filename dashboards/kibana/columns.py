"""Columns of Lens layers: what is counted and by what it is split."""

from typing import Any

Column = dict[str, Any]


def over_time() -> Column:
    """Buckets of time, as fine as the picture is wide."""
    return {
        "label": "@timestamp",
        "dataType": "date",
        "operationType": "date_histogram",
        "sourceField": "@timestamp",
        "isBucketed": True,
        "scale": "interval",
        "params": {"interval": "auto", "includeEmptyRows": True, "dropPartials": False},
    }


def count(label: str, query: str = "") -> Column:
    """Documents; of those that match `query`, in KQL."""
    column = {
        "label": label,
        "customLabel": True,
        "dataType": "number",
        "operationType": "count",
        "sourceField": "___records___",
        "isBucketed": False,
        "scale": "ratio",
        "params": {"emptyAsNull": False},
    }
    return {**column, "filter": {"query": query, "language": "kuery"}} if query else column


def percentile(field: str, percent: int, label: str) -> Column:
    """Of a number."""
    return {
        "label": label,
        "customLabel": True,
        "dataType": "number",
        "operationType": "percentile",
        "sourceField": field,
        "isBucketed": False,
        "scale": "ratio",
        "params": {
            "percentile": percent,
            "format": {"id": "number", "params": {"decimals": 1, "suffix": " ms"}},
            "emptyAsNull": True,
        },
    }


def top(field: str, label: str, by: str, *, size: int = 10) -> Column:
    """The most frequent values, by the column whose id is `by`."""
    return {
        "label": label,
        "customLabel": True,
        "dataType": "string",
        "operationType": "terms",
        "sourceField": field,
        "isBucketed": True,
        "scale": "ordinal",
        "params": {
            "size": size,
            "orderBy": {"type": "column", "columnId": by},
            "orderDirection": "desc",
            "otherBucket": False,
            "missingBucket": False,
            "parentFormat": {"id": "terms"},
            "include": [],
            "exclude": [],
            "includeIsRegex": False,
            "excludeIsRegex": False,
        },
    }
