"""Messages to bytes: the same message always to the same bytes, so that hashes tell whether anything changed."""

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message


def pack(message: Message) -> AnyMessage:
    """`message` in an Any, maps in the order of their keys."""
    packed = AnyMessage()
    packed.Pack(message, deterministic=True)
    return packed


def duration(seconds: float) -> Duration:
    """Seconds, rounded to nanoseconds."""
    nanos = round(seconds * 1e9)
    return Duration(seconds=nanos // 1_000_000_000, nanos=nanos % 1_000_000_000)
