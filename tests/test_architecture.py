"""ARCHITECTURE.md names what there is."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "ARCHITECTURE.md").read_text()
PARTS = ("", "sidecar", "control", "collectors", "dashboards", "remora")
"""Where a path in a picture may begin."""
NO_PATHS = {"kind/name"}


def there(path: str) -> bool:
    """A folder, a file with or without its ending, or, with `*`, one of them. A decision is known by its number."""
    return any(any((ROOT / part).glob(f"{path}{end}")) for part in PARTS for end in ("", ".py", ".md", "-*.md"))


@pytest.mark.parametrize("path", sorted(set(re.findall(r"[a-z_0-9]+(?:/[a-z_0-9*]+)+", TEXT)) - NO_PATHS))
def test_a_path_that_is_named_is_there(path: str) -> None:
    assert there(path)


def test_every_folder_of_a_part_is_named() -> None:
    folders = {path.parent.relative_to(ROOT) for part in PARTS[1:] for path in (ROOT / part).glob("*/__init__.py")}
    assert len(folders) > 40
    assert sorted(str(folder) for folder in folders if not re.search(rf"\b{folder.name}\b", TEXT)) == []


def test_every_decision_is_in_the_table_under_its_number() -> None:
    listed = re.findall(r"^\| \[(\d+)\]\(docs/decisions/(\d{4}-[a-z0-9-]+\.md)\) \| \S", TEXT, re.M)
    assert [int(number) for number, _ in listed] == [int(name[:4]) for _, name in listed]
    assert [name for _, name in listed] == sorted(path.name for path in (ROOT / "docs" / "decisions").glob("*.md"))
