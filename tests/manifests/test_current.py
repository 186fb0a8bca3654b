"""What is below manifests/ is what remora/install makes of itself now."""

from pathlib import Path

import pytest

from remora.install.__main__ import main
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


def test_into_another_directory_they_are_written_and_nothing_there_is_removed(tmp_path: Path) -> None:
    own = tmp_path / "helm" / "mine.yaml"
    own.parent.mkdir()
    own.write_text("a chart of somebody's own")
    assert main([str(tmp_path)]) == 0
    assert own.exists()
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == {
        *files(),
        "helm/mine.yaml",
    }


def test_wrong_use_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(["--to"])
    assert caught.value.code == 2
    assert not list(tmp_path.iterdir())
