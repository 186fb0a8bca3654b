"""What commands print can not command the terminal."""

import json

import pytest

from remora.output import Format, json_text, print_data

HOSTILE = "\x1b[31m \x9b31m \x7f \x85 \u202e \u2028 \r\n é 日本"


@pytest.mark.parametrize("how", [Format.JSON, Format.YAML])
def test_data_has_no_control_characters_but_line_feeds(how: Format, capsys: pytest.CaptureFixture[str]) -> None:
    print_data({"user_agent": HOSTILE}, how)
    out = capsys.readouterr().out
    assert not [c for c in out if c in "\x1b\x9b\x7f\x85\r"]


def test_json_is_the_same_data_and_its_letters_stay_readable() -> None:
    text = json_text([HOSTILE], indent=2)
    assert json.loads(text) == [HOSTILE]
    assert "é 日本" in text
    assert "\u202e" not in text
    assert json_text({"a": "\n"}).count("\n") == 0
