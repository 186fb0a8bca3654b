"""Tapped requests as workers tell them."""

from dataclasses import replace
from typing import Any

from sidecar.config.listener import Direction
from sidecar.config.tap import TappedMessage, TapRecord

_MESSAGE = TappedMessage((), b"", 0, True, 1000.0, 1000.5)
_RECORD = TapRecord(
    direction=Direction.INBOUND,
    method=b"GET",
    scheme=b"http",
    authority=b"reviews:9080",
    target=b"/reviews/0",
    version="HTTP/1.1",
    request=_MESSAGE,
    status=200,
    answer=_MESSAGE,
    flags="",
    details="via_upstream",
    failure=None,
    client="127.0.0.1:40000",
    peer=None,
    upstream="127.0.0.1:9080",
    upstream_s=0.25,
    cluster="inbound|9080||",
    route="default",
    attempts=1,
    request_id=b"id",
    trace_id=b"0" * 32,
)


def tapped_message(**changes: Any) -> TappedMessage:
    return replace(_MESSAGE, **changes)


def tap_record(**changes: Any) -> TapRecord:
    return replace(_RECORD, **changes)
