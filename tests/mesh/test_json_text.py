"""JSON that somebody else wrote."""

import pytest

from mesh.json_text import parse_json


def test_what_is_json_is_read() -> None:
    assert parse_json('{"a": [1]}') == {"a": [1]}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("{", id="cut off"),
        pytest.param("[" * 100_000, id="deep lists"),
        pytest.param('{"a":' * 100_000 + "1" + "}" * 100_000, id="deep objects, whole"),
    ],
)
def test_what_cannot_be_read_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)
