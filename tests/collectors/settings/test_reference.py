"""docs/settings.md has every field of every model, with its default and what it means."""

import re

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from collectors.settings import reference
from tests.collectors.settings.models import models

TEXT = reference.PATH.read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(?P<name>[a-z_]+)` \| (?P<type>.+?) \| (?P<default>.*?) \| (?P<meaning>.*) \|$", re.MULTILINE)


def test_the_page_is_current() -> None:
    assert reference.render() == TEXT, "write it anew: python -m collectors.settings.reference"


@pytest.mark.parametrize("model", models(), ids=lambda model: f"{model.__module__}.{model.__name__}")
def test_every_field_is_there_and_says_what_it_is_for(model: type[BaseModel]) -> None:
    rows: dict[str, list[re.Match[str]]] = {}
    for row in ROW.finditer(TEXT):
        rows.setdefault(row["name"], []).append(row)
    for name, field, meaning in reference.fields_of(model):
        assert meaning, f"{model.__name__}.{name} has no docstring"
        wanted = " ".join(meaning.split()).replace("|", "\\|")
        (row, *_) = [one for one in rows.get(name, []) if one["meaning"] == wanted] or [None]
        assert row is not None, f"{model.__name__}.{name} is not on the page"
        if field.default is PydanticUndefined:
            assert row["default"] == "*required*"
        elif isinstance(field.default, bool):
            assert row["default"] == f"`{str(field.default).lower()}`"
        elif isinstance(field.default, int | float | str) and field.default != "" and name != "fsync":
            assert row["default"].startswith("`"), f"{model.__name__}.{name} has a default"


@pytest.mark.parametrize(
    ("row"),
    [
        "| `from_end` | `true` or `false` | `false` |",
        "| `tag` | text, at least 1, at most 256 | `containers.{namespace}.{pod}.{container}` |",
        "| `field` | text, at least 1, at most 256 | `message` |",
        "| `max_bytes` | size, at least 256KiB | `1GiB` |",
        "| `fsync` | ",
        "| `retry_max` | duration, at least 1ms, at most 1h | `30s` |",
        "| `retention` | duration, at least 1m, at most 3650d | `24h` |",
        "| `max_age` | duration, at least 1s |  |",
        "| `max_connections` | whole number, at least 1, at most 65,536 | `1024` |",
        "| `policies` | list of mapping, at least 1, at most 64 | *required* |",
        "| `continue` | `true` or `false` | `false` |",
    ],
)
def test_types_bounds_and_defaults_are_in_the_file_s_words(row: str) -> None:
    assert row in TEXT


def test_links_within_the_page_lead_somewhere() -> None:
    for anchor in set(re.findall(r"\]\(#([a-z]+)\)", TEXT)):
        assert f'<a id="{anchor}"></a>' in TEXT
