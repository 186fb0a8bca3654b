"""The list of hot modules, and what mypyc asks of them that nothing else would tell."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.compile import HOT, compile_into
from sidecar.compiled import INTERPRETED_VARIABLE, ROOT, sources_digest, usable


def test_every_hot_module_is_there_once() -> None:
    assert [name for name in HOT if not (ROOT / "sidecar" / f"{name}.py").exists()] == []
    assert len(set(HOT)) == len(HOT)


@pytest.mark.parametrize("name", HOT)
def test_no_function_gives_exceptions_of_two_types_one_name(name: str) -> None:
    """Compiled, the second `except ... as error` raises TypeError: the name has the first one's type."""
    tree = ast.parse((ROOT / "sidecar" / f"{name}.py").read_text())
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            types: dict[str, set[str]] = {}
            for node in _own(function):
                if isinstance(node, ast.ExceptHandler) and node.name and node.type:
                    types.setdefault(node.name, set()).add(ast.unparse(node.type))
            assert {each: seen for each, seen in types.items() if len(seen) > 1} == {}, function.name


def _own(function: ast.AST) -> Iterator[ast.AST]:
    """Its nodes without those of functions within it, whose names are others."""
    for node in ast.iter_child_nodes(function):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
            yield from _own(node)


def test_a_build_of_other_sources_is_not_used(tmp_path: Path) -> None:
    assert usable(tmp_path) is None
    (tmp_path / "compiled.sha256").write_text("0" * 64)
    assert usable(tmp_path) is None


def test_a_build_of_these_sources_is_used_unless_the_environment_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(INTERPRETED_VARIABLE, raising=False)
    (tmp_path / "compiled.sha256").write_text(sources_digest(ROOT))
    assert usable(tmp_path) == tmp_path
    assert compile_into(tmp_path, ROOT) is False, "it is up to date"
    monkeypatch.setenv(INTERPRETED_VARIABLE, "1")
    assert usable(tmp_path) is None
