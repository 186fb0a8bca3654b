"""The committed JSON: where it lies, what it should be, and reading it without the SDK."""

import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

GENERATED = Path(str(files("dashboards.grafana"))) / "generated"


def committed() -> dict[str, dict[str, Any]]:
    """The committed dashboards by file name."""
    return {path.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted(GENERATED.glob("*.json"))}


def rendered() -> dict[str, str]:
    """What the committed files should say, by file name. Needs grafana-foundation-sdk."""
    from dashboards.grafana.boards import BOARDS
    from dashboards.grafana.build import render

    return {f"{board.uid}.json": render(board) for board in BOARDS}


def write(target: Path) -> list[Path]:
    """Write the dashboards' files, and remove generated ones that no board makes any more. Returns what changed."""
    target.mkdir(parents=True, exist_ok=True)
    wanted = rendered()
    changed = []
    for path in sorted(target.glob("remora-*.json")):
        if path.name not in wanted:
            path.unlink()
            changed.append(path)
    for name, text in wanted.items():
        path = target / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            changed.append(path)
    return changed


def stale(target: Path = GENERATED) -> Iterator[str]:
    """A line for each committed file that is not what the code makes."""
    wanted = rendered()
    there = {path.name: path.read_text(encoding="utf-8") for path in target.glob("*.json")}
    for name in sorted(wanted.keys() | there.keys()):
        if name not in wanted:
            yield f"{name}: no board makes it any more"
        elif name not in there:
            yield f"{name}: missing"
        elif wanted[name] != there[name]:
            yield f"{name}: not what the code makes now"
