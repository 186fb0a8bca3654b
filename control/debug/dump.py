"""What a proxy is to have, as protobuf-JSON. Keys never show: the control plane has none, and if one slipped in, it is
struck out here."""

from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format

from control.generate import Snapshot
from control.xds.messages import CDS, EDS, LDS, RDS, SDS

SECTIONS: Mapping[str, str] = {"listeners": LDS, "routes": RDS, "clusters": CDS, "endpoints": EDS, "secrets": SDS}

REDACTED = "[redacted]"
_SECRET_FIELDS = frozenset(
    {"privateKey", "private_key", "password", "sessionTicketKeys", "session_ticket_keys", "secret", "genericSecret"}
)


def dump(snapshot: Snapshot, section: str) -> list[dict[str, Any]]:
    """The resources of a section. Raises KeyError for an unknown one."""
    resources = snapshot.resources[SECTIONS[section]]
    return [_redact(json_format.MessageToDict(message)) for message in resources.values()]


def _redact(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: REDACTED if name in _SECRET_FIELDS else _redact(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_redact(each) for each in value]
    return value
