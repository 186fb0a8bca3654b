"""libyaml's events make the nodes that ruamel.yaml makes, or none."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.nodes import Node, ScalarNode

from control.api import yaml_events
from control.api.yaml_events import MAX_LEVELS, Unsure, compose_all

SAMPLES = sorted(Path(yaml_events.__file__).parents[2].glob("**/samples/**/*.yaml"))


def shown(node: Node, within: tuple[int, ...] = ()) -> Any:
    """All of a node that anybody looks at; of its place that is the line."""
    if id(node) in within:
        return "around"
    where = node.start_mark.line
    if isinstance(node, ScalarNode):
        nothing = not node.value and not node.style  # a key's, whose place is looked at instead
        return str(node.tag), node.value, node.style or None, None if nothing else where
    inside = (*within, id(node))
    children = [child for each in node.value for child in (each if isinstance(each, tuple) else (each,))]
    return str(node.tag), where, [shown(child, inside) for child in children]


def agree(text: str) -> bool:
    """Whether the quick reader was sure; then the other one must say the same."""
    try:
        nodes = compose_all(text)
    except Unsure:
        return False
    composed = list(YAML(typ="safe", pure=True).compose_all(text))
    assert [shown(node) for node in nodes] == [shown(node) for node in composed]
    return True


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_the_samples_are_read_quickly_and_alike(path: Path) -> None:
    assert agree(path.read_text())


@pytest.mark.parametrize(
    ("text", "sure"),
    [
        pytest.param("", True, id="nothing"),
        pytest.param("# only a comment\n", True, id="a comment"),
        pytest.param("a: 1\n---\nb: [x, {y: z}]\n---\n- - - deep\n", True, id="documents and nesting"),
        pytest.param("a: [1, 0o17, 0x1F, 1_000, 1.5, .inf, ~, null, true, no, 2026-01-01, <<, =]\n", True, id="words"),
        pytest.param(
            "a: '1'\nb: \"true\"\nc: |\n  x\n  y\nd: >-\n  folded\n  text\n", True, id="quoted and block text"
        ),
        pytest.param("a: &x {b: 1}\nc: *x\n", True, id="an alias"),
        pytest.param("&a [*a]\n", True, id="a list within itself"),
        pytest.param("? [a, b]\n: c\n? {d: e}\n: f\n", True, id="keys that are no text"),
        pytest.param("a: grüße, 日本\n", True, id="other letters"),
        pytest.param("a:\nb:\n- x\n", True, id="an empty value"),
        pytest.param("- \n- x\n", False, id="an empty item"),
        pytest.param("a: b\tc\n", False, id="a tab"),
        pytest.param("a: !!str 5\n", False, id="a tag"),
        pytest.param("a: ! 5\n", False, id="a bare tag"),
        pytest.param("%YAML 1.1\n---\na: yes\n", False, id="a directive"),
        pytest.param("a: 1\n...\n", False, id="an end of a document"),
        pytest.param("a: *nothing\n", False, id="an alias of nothing"),
        pytest.param("a: &x 1\nb: &x 2\n", False, id="an anchor twice"),
        pytest.param("a: \u2028b\n", False, id="a line separator"),
        pytest.param("a: \x85b\n", False, id="a next-line character"),
        pytest.param("a: \ud800\n", False, id="half a surrogate pair"),
        pytest.param("a: 😀\n", False, id="beyond the basic plane"),
        pytest.param("a: [\n", False, id="an open list"),
        pytest.param("a: b: c\n", False, id="a colon too many"),
        pytest.param("[" * 100_000, False, id="very deep"),
        pytest.param("- " * 100_000 + "x\n", False, id="very deep, in blocks"),
        pytest.param("[" * (MAX_LEVELS + 1) + "]" * (MAX_LEVELS + 1) + "\n", False, id="too deep"),
    ],
)
def test_both_readers_agree_or_the_quick_one_passes(text: str, sure: bool) -> None:
    assert agree(text) == sure


WORDS = ["a", "b: ", ": ", "- ", "? ", "\n", "\n  ", "\n- ", "\n\n", "[", "]", "{", "}", ", ", "'", '"', "#", " # c\n",
         "|\n  x", ">-\n  y", "&x ", "*x", "1", "0x1", "1.5", "true", "~", "---\n", "...\n", "\t", "\\", "%", "@", "!",
         "é", "<<: ", "=", "'a'", '"b"', "a: 1\n", "- a\n", "\r\n", "\r"]  # fmt: skip


@given(st.lists(st.sampled_from(WORDS), max_size=14).map("".join))
def test_any_text_is_read_alike_or_left_to_the_other(text: str) -> None:
    agree(text)


WITHOUT = """
from control.api.yaml_documents import read
from control.api.yaml_events import Unsure, compose_all
try:
    compose_all("a: 1")
except Unsure:
    print("unsure", [document.value for document in read("a: 1")])
"""


def test_without_the_extension_all_is_left_to_the_other(tmp_path: Path) -> None:
    # As on a platform that it cannot be had for: the first of that name on the path is none.
    (tmp_path / "_ruamel_yaml.py").write_text("raise ImportError('no wheel for this platform')\n")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("unsure [{'a': 1}]\n", "")
