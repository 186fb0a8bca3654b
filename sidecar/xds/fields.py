"""Read a protobuf message field by field and know afterwards what nobody has read. Nothing is silently ignored."""

from collections.abc import Mapping
from typing import Any

from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from sidecar.xds.rejected import Rejected

MAX_DURATION_S = 315_576_000_000
"""Of google.protobuf.Duration: about 10,000 years."""


def by_name(*classes: Any) -> dict[str, type[Message]]:
    """Message classes by full name, for `unpacked`."""
    return {each.DESCRIPTOR.full_name: each for each in classes}


class Fields:
    """One message. Each reading marks its field as understood; `done` rejects whatever is set and was not read."""

    __slots__ = ("_children", "_message", "_seen", "path")

    def __init__(self, message: Message, path: str = "") -> None:
        self._message: Any = message
        self.path = path
        self._seen: set[str] = set()
        self._children: list[Fields] = []

    def at(self, name: str) -> str:
        """The path of a field of this message."""
        return f"{self.path}.{name}" if self.path else name

    def reject(self, name: str, why: str) -> Rejected:
        """To be raised: the field `name` is wrong. An empty name means the message itself."""
        return Rejected(self.at(name) if name else self.path, why)

    def has(self, name: str) -> bool:
        """Whether the field is set; does not count as reading it."""
        field = self._message.DESCRIPTOR.fields_by_name[name]
        if field.has_presence:
            return bool(self._message.HasField(name))
        return bool(getattr(self._message, name))

    def which(self, oneof: str) -> str | None:
        """The set member's name."""
        name: str | None = self._message.WhichOneof(oneof)
        return name

    def value(self, name: str) -> Any:
        """A scalar, an enum's number, or a repeated scalar."""
        self._seen.add(name)
        return getattr(self._message, name)

    def text(self, name: str) -> str:
        """A string; empty when not set."""
        text: str = self.value(name)
        return text

    def required(self, name: str) -> str:
        """A string that must not be empty."""
        text = self.text(name)
        if not text:
            raise self.reject(name, "is required")
        return text

    def texts(self, name: str) -> tuple[str, ...]:
        """A repeated string."""
        return tuple(self.value(name))

    def wrapped(self, name: str, default: Any) -> Any:
        """The value of a google.protobuf.XxxValue, or `default`."""
        self._seen.add(name)
        return getattr(self._message, name).value if self._message.HasField(name) else default

    def seconds(self, name: str, default: float | None) -> float | None:
        """A google.protobuf.Duration in seconds, or `default`; negative ones are rejected."""
        self._seen.add(name)
        if not self._message.HasField(name):
            return default
        duration = getattr(self._message, name)
        if not (0 <= duration.seconds <= MAX_DURATION_S and 0 <= duration.nanos < 1_000_000_000):
            raise self.reject(name, "is not a duration of zero or more")
        return float(duration.seconds) + float(duration.nanos) / 1e9

    def enum(self, name: str) -> str:
        """An enum's member name."""
        number = self.value(name)
        kind = self._message.DESCRIPTOR.fields_by_name[name].enum_type
        member = kind.values_by_number.get(number)
        if member is None:
            raise self.reject(name, f"{number} is no value of {kind.name}")
        member_name: str = member.name
        return member_name

    def only(self, name: str, allowed: Mapping[str, Any] | tuple[str, ...]) -> str:
        """An enum's member name, which must be one of `allowed`."""
        member = self.enum(name)
        if member not in allowed:
            raise self.reject(name, f"{member} is not supported; supported: {', '.join(allowed)}")
        return member

    def child(self, name: str) -> "Fields | None":
        """A message field, or None where it is not set."""
        self._seen.add(name)
        if not self._message.HasField(name):
            return None
        return self._adopt(getattr(self._message, name), self.at(name))

    def must(self, name: str) -> "Fields":
        """A message field that must be set."""
        child = self.child(name)
        if child is None:
            raise self.reject(name, "is required")
        return child

    def children(self, name: str) -> "list[Fields]":
        """A repeated message field."""
        self._seen.add(name)
        path = self.at(name)
        return [self._adopt(item, f"{path}[{i}]") for i, item in enumerate(getattr(self._message, name))]

    def unpacked(self, name: str, classes: Mapping[str, type[Message]]) -> "tuple[str, Fields] | None":
        """A google.protobuf.Any: the full name of its type, which must be a key of `classes`, and its message."""
        self._seen.add(name)
        if not self._message.HasField(name):
            return None
        return self._unpack(getattr(self._message, name), self.at(name), classes)

    def unpacked_map(self, name: str, classes: Mapping[str, type[Message]]) -> "dict[str, tuple[str, Fields]]":
        """A map of google.protobuf.Any."""
        self._seen.add(name)
        entries = getattr(self._message, name)
        return {key: self._unpack(entries[key], f"{self.at(name)}[{key}]", classes) for key in entries}

    def _unpack(self, packed: Any, path: str, classes: Mapping[str, type[Message]]) -> "tuple[str, Fields]":
        kind = packed.type_url.rpartition("/")[2]
        if kind not in classes:
            raise Rejected(path, f"type {kind or '(none)'} is not supported; supported: {', '.join(classes)}")
        message = classes[kind]()
        try:
            message.ParseFromString(packed.value)
        except DecodeError as error:
            raise Rejected(path, f"is not a {kind}") from error
        return kind, self._adopt(message, path)

    def informational(self, *names: str) -> None:
        """These fields change nothing that a request would notice: names for statistics, notes, sizes of buffers."""
        self._seen.update(names)

    def _adopt(self, message: Message, path: str) -> "Fields":
        child = Fields(message, path)
        self._children.append(child)
        return child

    def done(self) -> None:
        """Raises Rejected for the first field, here or below, that is set and was not read."""
        for field, _ in self._message.ListFields():
            if field.name not in self._seen:
                raise self.reject(field.name, "is not supported")
        unknown_fields: Any = UnknownFieldSet(self._message)
        for unknown in unknown_fields:
            raise self.reject("", f"has a field with the unknown number {unknown.field_number}")
        for child in self._children:
            child.done()
