"""A log record's body as the `body` column.

A body is a msgpack map. Of an access record, which is most of what a mesh says, the names of its fields are longer than
what is in them, so it is an array: the shape's number, the values in the shape's order, and what else there is. A third
less to write, and to keep.
"""

from collections.abc import Callable
from operator import itemgetter
from typing import Any, Final

import msgpack

from mesh.records import ACCESS_KEYS, ACCESS_TAG

_SHAPES: Final[dict[int, tuple[str, ...]]] = {
    1: (
        "id", "workload", "namespace", "direction", "start_time", "method", "path", "protocol", "response_code",
        "response_flags", "response_code_details", "bytes_received", "bytes_sent", "duration", "upstream_service_time",
        "x_forwarded_for", "user_agent", "request_id", "authority", "upstream_host", "upstream_cluster",
        "upstream_transport_failure_reason", "downstream_local_address", "downstream_remote_address",
        "requested_server_name", "route_name", "trace_id", "span_id", "source_principal", "source_workload",
        "destination_service", "attempts",
    ),
}  # fmt: skip
"""What stored arrays are read by: other keys of access records are another number, and every number stays."""

ACCESS_SHAPE: Final = next(number for number, keys in _SHAPES.items() if keys == ACCESS_KEYS)
_access_values = itemgetter(*ACCESS_KEYS)
_ACCESS_SET: Final = frozenset(ACCESS_KEYS)


class BodyEncoder:
    """Of a batch: what it packs with is made once, which takes as long as a body."""

    def __init__(self) -> None:
        self._pack: Callable[[object], bytes] = msgpack.Packer(datetime=False).pack

    def encode(self, tag: str, body: dict[str, Any]) -> bytes:
        """Raises TypeError, ValueError or OverflowError for what msgpack has no form of."""
        if tag == ACCESS_TAG:
            try:
                values = _access_values(body)
            except KeyError:  # a sender's own idea of an access record
                pass
            else:
                rest = {} if len(body) == len(values) else {k: v for k, v in body.items() if k not in _ACCESS_SET}
                return self._pack((ACCESS_SHAPE, values, rest))
        return self._pack(body)


def decode_body(blob: bytes) -> dict[str, Any]:
    """What was encoded, access records' fields in their usual order; empty for what is none."""
    value: object = msgpack.unpackb(blob, strict_map_key=False)
    if isinstance(value, list):
        shape, values, rest = value
        body: dict[str, Any] = dict(zip(_SHAPES[shape], values, strict=True))
        body.update(rest)
        return body
    return value if isinstance(value, dict) else {}
