"""What processes log is one escaped line a record."""

import json
import logging

import pytest

from mesh.logs import JsonFormatter, LineFormatter, escape, setup


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain é ✓", "plain é ✓"),
        ("a\r\nb", "a\\r\\nb"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("nul\x00", "nul\\x00"),
        ("\u202eright to left", "\\u202eright to left"),
        ("\x85next", "\\x85next"),
    ],
)
def test_control_characters_become_escapes(text: str, expected: str) -> None:
    assert escape(text) == expected


def _record(message: str) -> logging.LogRecord:
    return logging.LogRecord("remora.test", logging.WARNING, __file__, 1, message, None, None)


def test_a_line_has_time_level_logger_and_escaped_message() -> None:
    line = LineFormatter().format(_record("two\nlines"))
    assert line.endswith("Z WARNING remora.test two\\nlines")
    assert "\n" not in line


def test_json_is_one_object_a_line() -> None:
    text = JsonFormatter().format(_record("two\nlines"))
    assert "\n" not in text
    assert json.loads(text)["message"] == "two\nlines"
    assert json.loads(text)["level"] == "warning"


def test_an_unknown_level_is_an_error() -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        with pytest.raises(ValueError):
            setup("loud")
    finally:
        root.handlers[:], _ = before
        root.setLevel(before[1])
