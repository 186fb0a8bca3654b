"""`core.v3.Metadata`: notes by namespace. Only known names are read; notes for others are no instruction to us."""

from typing import Any

from google.protobuf import json_format

from sidecar.xds.fields import Fields


def namespace(fields: Fields, name: str) -> dict[str, Any]:
    """The Struct `metadata.filter_metadata[name]` as plain values; empty where there is none."""
    message = fields.value("metadata")
    if name not in message.filter_metadata:
        return {}
    return dict(json_format.MessageToDict(message.filter_metadata[name]))


def namespace_texts(fields: Fields, name: str) -> dict[str, str]:
    """The same, texts only."""
    return {key: value for key, value in namespace(fields, name).items() if isinstance(value, str)}
