"""Records as lines for people."""

from typing import Any

import pytest

from collectors.store.message import MAX_MESSAGE_CHARS, render
from mesh.records import ACCESS_KEYS, ACCESS_TAG


def _named(**fields: Any) -> dict[str, Any]:
    """An access record whose fields say their names."""
    return {key: key for key in ACCESS_KEYS} | fields


def test_an_access_record_is_a_line_of_istio_s_default_format() -> None:
    body = _named(response_code=503, bytes_received=0, bytes_sent=371, duration=12.6, upstream_service_time=3.2)
    assert render(ACCESS_TAG, body) == (
        '[start_time] "method path protocol" 503 response_flags response_code_details - '
        '"upstream_transport_failure_reason" 0 371 13 3 "x_forwarded_for" "user_agent" "request_id" "authority" '
        '"upstream_host" upstream_cluster - downstream_local_address downstream_remote_address requested_server_name '
        "route_name"
    )


NOTHING = '[-] "- - -" - - - - "-" - - - - "-" "-" "-" "-" "-" - - - - - -'


@pytest.mark.parametrize(
    "body",
    [pytest.param(dict.fromkeys(ACCESS_KEYS), id="no values"), pytest.param({}, id="no fields")],
)
def test_what_an_access_record_does_not_say_is_a_dash(body: dict[str, Any]) -> None:
    assert render(ACCESS_TAG, body) == NOTHING


def test_an_access_record_without_some_of_the_fields_shows_the_others() -> None:
    assert render(ACCESS_TAG, {"path": "/a", "bytes_sent": 0}) == NOTHING.replace('"- - -"', '"- /a -"').replace(
        '"-" - - - - "-"', '"-" - 0 - - "-"', 1
    )


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        pytest.param("a ~ b", "a ~ b", id="printable ASCII stays"),
        pytest.param("grün ✓", "grün ✓", id="other printable text stays"),
        pytest.param("a\tb\x7fc", "a\\tb\\x7fc", id="ASCII's control characters are escapes"),
        pytest.param("ü\x1b[31m", "ü\\x1b[31m", id="and among other text"),
        pytest.param("a\u202eb", "a\\u202eb", id="what turns the direction of text is an escape"),
        pytest.param("half \ud800", "half \\ud800", id="half a character is an escape"),
    ],
)
def test_everything_in_a_line_is_printable(message: str, shown: str) -> None:
    assert render("app", {"message": message}) == shown
    assert shown in render(ACCESS_TAG, _named(path=message))


def test_long_lines_are_cut() -> None:
    text = render("app", {"message": "x" * (MAX_MESSAGE_CHARS + 1)})
    assert len(text) == MAX_MESSAGE_CHARS
    assert text.endswith("x…")
