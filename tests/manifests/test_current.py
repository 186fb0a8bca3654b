"""What is below manifests/ is what remora/install makes of itself now."""

from pathlib import Path

from remora.install.files import files
from tests.manifests.programs import MANIFESTS

MADE = ("crds", "helm", "kustomize", "samples", "schemas")


def test_the_files_are_current(update_golden: bool) -> None:
    made = files()
    if update_golden:
        for name, text in made.items():
            (MANIFESTS / name).parent.mkdir(parents=True, exist_ok=True)
            (MANIFESTS / name).write_text(text, encoding="utf-8")
    stale = [name for name, text in made.items() if _text(MANIFESTS / name) != text]
    assert stale == [], "python -m remora.install writes them anew; read the diff before committing it"
    there = {
        str(path.relative_to(MANIFESTS))
        for folder in MADE
        for path in (MANIFESTS / folder).rglob("*")
        if path.is_file()
    }
    assert there - set(made) == set(), "nothing makes these any more: python -m remora.install removes them"


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None
