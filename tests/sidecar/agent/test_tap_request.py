"""What may be asked of `POST /tap`."""

import json
from typing import Any

import pytest

from sidecar.agent.tap_request import BadTap, TapRequest, parse_tap
from sidecar.config.listener import Direction
from sidecar.config.tap import TapFilter


def test_nothing_asks_for_everything() -> None:
    assert parse_tap(b"") == parse_tap(b"{}") == TapRequest(TapFilter())


def test_everything_that_can_be_said() -> None:
    plain = {
        "path": "/a/*",
        "methods": ["GET"],
        "headers": ["X-Team=b*", "Cookie", "a="],
        "statuses": ["5xx", "404", 429, "400-403", "0"],
        "direction": "outbound",
        "sample": 12.5,
        "max": 7,
        "max_body": 100,
        "seconds": 60,
        "show_secrets": True,
    }
    wanted = TapFilter(
        "/a/*",
        ("GET",),
        (("x-team", "b*"), ("cookie", None), ("a", "")),
        ((500, 599), (404, 404), (429, 429), (400, 403), (0, 0)),
        Direction.OUTBOUND,
        12.5,
        100,
    )
    assert parse_tap(json.dumps(plain).encode()) == TapRequest(wanted, 7, 60.0, True)


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({"pth": "/"}, "'pth': unknown field"),
        ({"path": 1}, "path: must be a text"),
        ({"path": "a"}, "path: must begin with /"),
        ({"path": "/" + "a" * 2000}, "path: must be a text of 1 to 1024"),
        ({"path": "/\x00"}, "path: must be a text"),
        ({"methods": "GET"}, "methods: must be a list"),
        ({"methods": ["GE T"]}, r"methods\[0\]: 'GE T' is no method"),
        ({"methods": ["GET"] * 17}, "methods: must be a list of at most 16"),
        ({"headers": ["a b=1"]}, r"headers\[0\]: 'a b' is no header's name"),
        ({"statuses": ["6xx"]}, r"statuses\[0\]: '6xx' is no status"),
        ({"statuses": ["500-400"]}, r"statuses\[0\]: '500-400' ends before it begins"),
        ({"statuses": [True]}, r"statuses\[0\]: must be a text"),
        ({"direction": "sideways"}, "direction: 'sideways' is no direction"),
        ({"direction": ["inbound"]}, "direction: .* is no direction"),
        ({"sample": 101}, "sample: must be a number from 0 to 100"),
        ({"sample": float("nan")}, "sample: must be a number"),
        ({"sample": True}, "sample: must be a number"),
        ({"max": 0}, "max: must be a whole number"),
        ({"max": 1.5}, "max: must be a whole number"),
        ({"max_body": 1e9}, "max_body: must be a whole number"),
        ({"seconds": 0}, "seconds: must be a number"),
        ({"seconds": 1e9}, "seconds: must be a number"),
        ({"show_secrets": "yes"}, "show_secrets: must be true or false"),
        ([], "the body must be a JSON object"),
    ],
)
def test_what_can_not_be_is_refused_with_its_path(plain: Any, message: str) -> None:
    with pytest.raises(BadTap, match=message):
        parse_tap(json.dumps(plain).encode())


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(BadTap, match="no JSON"):
        parse_tap(body)
