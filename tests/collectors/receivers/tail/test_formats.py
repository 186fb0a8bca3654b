import json

import pytest

from collectors.receivers.tail.formats import Line, parse_any, parse_cri, parse_docker, parse_time, parser_of

AT = 1_769_860_800.0
"""2026-01-31T12:00:00Z"""


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        pytest.param(
            b"2026-01-31T12:00:00.250000000Z stdout F hello world", Line(AT + 0.25, "stdout", "hello world", True),
            id="whole",
        ),
        pytest.param(b"2026-01-31T12:00:00Z stderr P hel", Line(AT, "stderr", "hel", False), id="partial"),
        pytest.param(b"2026-01-31T13:00:00+01:00 stdout F a", Line(AT, "stdout", "a", True), id="another zone"),
        pytest.param(b"2026-01-31T12:00:00Z stdout F:new:tags a", Line(AT, "stdout", "a", True), id="more tags"),
        pytest.param(b"2026-01-31T12:00:00Z stdout F ", Line(AT, "stdout", "", True), id="empty"),
        pytest.param(b"2026-01-31T12:00:00Z stdout F", Line(AT, "stdout", "", True), id="empty without the blank"),
        pytest.param(b"2026-01-31T12:00:00Z stdout F  a\r", Line(AT, "stdout", " a", True), id="carriage return"),
        pytest.param(b"2026-01-31T12:00:00Z stdout F \xff", Line(AT, "stdout", "\ufffd", True), id="no UTF-8"),
        pytest.param(b"panic: oh no", Line(None, "", "panic: oh no", True), id="none of it"),
        pytest.param(b"yesterday stdout F a", Line(None, "", "yesterday stdout F a", True), id="no time"),
        pytest.param(b"2026-01-31T12:00:00Z stdlog F a", Line(None, "", "2026-01-31T12:00:00Z stdlog F a", True),
                     id="no stream"),
        pytest.param(b"2026-01-31T12:00:00Z stdout X a", Line(None, "", "2026-01-31T12:00:00Z stdout X a", True),
                     id="no tag"),
        pytest.param(b"", Line(None, "", "", True), id="nothing"),
    ],
)  # fmt: skip
def test_cri_s_lines(raw: bytes, line: Line) -> None:
    assert parse_cri(raw) == line


@pytest.mark.parametrize(
    ("document", "line"),
    [
        pytest.param({"log": "a\n", "stream": "stdout", "time": "2026-01-31T12:00:00.5Z"},
                     Line(AT + 0.5, "stdout", "a", True), id="whole"),
        pytest.param({"log": "a", "stream": "stderr", "time": "2026-01-31T12:00:00Z"},
                     Line(AT, "stderr", "a", False), id="partial"),
        pytest.param({"log": "a\n", "stream": "stdout", "time": "soon"}, Line(None, "stdout", "a", True), id="no time"),
    ],
)  # fmt: skip
def test_docker_s_lines(document: dict[str, str], line: Line) -> None:
    assert parse_docker(json.dumps(document).encode()) == line
    assert parse_any(json.dumps(document).encode()) == line


@pytest.mark.parametrize("raw", [b'{"log": 5}', b'{"message": "an application\'s own"}', b"{", b"[1]", b"{" * 100_000])
def test_json_that_is_not_docker_s_is_text(raw: bytes) -> None:
    assert parse_any(raw) == Line(None, "", raw.decode(), True)


def test_a_format_that_is_told_is_not_guessed() -> None:
    raw = b"2026-01-31T12:00:00Z stdout F a"
    assert parser_of("plain")(raw).text == raw.decode()
    assert parser_of("auto")(raw).text == "a"


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-01-31T12:00:00Z", AT),
        ("2026-01-31T12:00:00.123456789Z", pytest.approx(AT + 0.123456789, abs=1e-6)),
        ("2026-01-31T12:00:00.5+00:00", AT + 0.5),
        ("2026-01-31T12:00:00", AT),
        ("2026-13-31T12:00:00Z", None),
        ("2026-01-31T12:00:00.Zx", None),
        ("", None),
    ],
)
def test_times(text: str, time: float | None) -> None:
    assert parse_time(text) == time
