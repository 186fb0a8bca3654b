"""Read `x-envoy-peer-metadata`: a protobuf Struct in base64, by which Istio's and our sidecars tell each other who they
are. What is no such thing means an unknown peer; nothing raises.

Only the wire format's part that a Struct needs is read here, so that the process that forwards bytes needs no protobuf.
https://protobuf.dev/programming-guides/encoding/
"""

import binascii
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from mesh.records import Workload
from mesh.spiffe import InvalidSpiffeId, SpiffeId

MAX_METADATA_BYTES: Final = 8192
"""Of the header's value; Istio's are below 1 KiB."""
_MAX_FIELDS: Final = 256
_MAX_TEXT: Final = 253
"""Characters of a Kubernetes name, the longest of what labels hold."""

_UNKNOWN: Final = Workload()


class _Malformed(ValueError):
    pass


def identify(metadata: bytes | None, principal: str | None) -> Workload:
    """The peer with this metadata and this proven SPIFFE URI.

    Without proof the metadata is anyone's word and is not believed; nor is it where it tells another namespace than
    the identity.
    """
    if principal is None:
        return _UNKNOWN
    try:
        namespace = SpiffeId.parse(principal).namespace
    except InvalidSpiffeId:
        return Workload(principal=principal)
    told = _UNKNOWN if metadata is None else decode(metadata)
    if told.namespace != namespace:
        return Workload(namespace=namespace, principal=principal)
    return replace(told, principal=principal)


def decode(metadata: bytes) -> Workload:
    """What the header says; unknown where it says nothing that can be read. `principal` is never set."""
    try:
        fields = _struct(_base64(metadata))
    except _Malformed:
        return _UNKNOWN
    labels = fields.get("LABELS")
    labels = labels if isinstance(labels, dict) else {}
    name = _text(fields.get("WORKLOAD_NAME"))
    app = _text(labels.get("app"))
    version = _text(labels.get("version"))
    return Workload(
        name=name or "unknown",
        namespace=_text(fields.get("NAMESPACE")) or "unknown",
        app=app or "unknown",
        version=version or "unknown",
        # Istio's order: the label, then app, then the workload's name.
        canonical_service=_text(labels.get("service.istio.io/canonical-name")) or app or name or "unknown",
        canonical_revision=_text(labels.get("service.istio.io/canonical-revision")) or version or "latest",
        cluster=_text(fields.get("CLUSTER_ID")) or "unknown",
    )


def _text(value: object) -> str:
    if isinstance(value, str) and 0 < len(value) <= _MAX_TEXT and value.isprintable():
        return value
    return ""


def _base64(text: bytes) -> bytes:
    if len(text) > MAX_METADATA_BYTES:
        raise _Malformed
    try:
        return binascii.a2b_base64(text + b"=" * (-len(text) % 4), strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise _Malformed from error


def _struct(data: bytes, depth: int = 0) -> dict[str, object]:
    """google.protobuf.Struct: field 1, repeated, is a map entry of key (1) and Value (2)."""
    found: dict[str, object] = {}
    for number, entry in _fields(data):
        if number != 1 or not isinstance(entry, bytes):
            continue
        key = ""
        value: object = None
        for part, content in _fields(entry):
            if part == 1 and isinstance(content, bytes):
                key = _utf8(content)
            elif part == 2 and isinstance(content, bytes):
                value = _value(content, depth)
        found[key] = value
        if len(found) > _MAX_FIELDS:
            raise _Malformed
    return found


def _value(data: bytes, depth: int) -> object:
    """google.protobuf.Value: texts (3) and structs (5); numbers, booleans and lists mean nothing to us."""
    value: object = None
    for number, content in _fields(data):
        if number == 3 and isinstance(content, bytes):
            value = _utf8(content)
        elif number == 5 and isinstance(content, bytes):
            if depth >= 2:
                raise _Malformed
            value = _struct(content, depth + 1)
    return value


def _utf8(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise _Malformed from error


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """(field number, content) of a message: bytes of a length-delimited field, else an integer."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise _Malformed
        content: bytes | int = 0
        if kind == 0:
            content, at = _varint(data, at)
        else:
            if kind == 2:
                size, at = _varint(data, at)
            elif kind == 1:
                size = 8
            elif kind == 5:
                size = 4
            else:  # groups are of the past
                raise _Malformed
            if size > len(data) - at:
                raise _Malformed
            content = data[at : at + size]
            at += size
        yield number, content


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _Malformed
