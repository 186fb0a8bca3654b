"""How samples become pictures and shares."""

import xml.etree.ElementTree as ElementTree

from tests.bench.flame import render
from tests.bench.profile import shares

_STACKS = [
    "main;uv_run (uvloop/loop.so);receive (sidecar/listeners/connection.py);parse (sidecar/http/h1_lines.py) 30",
    "main;uv_run (uvloop/loop.so);receive (sidecar/listeners/connection.py);parse (sidecar/http/h1_lines.py);malloc 10",
    "main;uv_run (uvloop/loop.so);CPyDef_recorder___Telemetry___finish (__native_6434.c:298367) 40",
    "main;<script>&co 20",
    "main;uv_run (uvloop/loop.so);write (libc.so.6) 900",
    "",
]


def test_a_sample_is_of_the_innermost_known_part_and_system_calls_are_the_kernels() -> None:
    found = shares(_STACKS, kernel=0.5)
    assert found.kernel == 50.0
    assert found.parts == {"parsing and rendering": 20.0, "telemetry": 20.0, "interpreter and the rest": 10.0}


def test_no_samples_are_no_shares() -> None:
    assert shares([], kernel=0.0).parts == {}


def test_a_picture_shows_every_frame_with_its_share() -> None:
    root = ElementTree.fromstring(render(_STACKS, "worker & co"))
    space = "{http://www.w3.org/2000/svg}"
    titles = {title.text for title in root.iter(f"{space}title")}
    assert "main: 100.0%" in titles
    assert "<script>&co: 2.0%" in titles
    assert "parse (sidecar/http/h1_lines.py): 4.0%" in titles
    widths = {box.find(f"{space}title").text: box.find(f"{space}rect").get("width") for box in root.iter(f"{space}g")}  # type: ignore[union-attr]
    assert widths["<script>&co: 2.0%"] == "32.0"


def test_a_picture_of_nothing_is_still_one() -> None:
    assert ElementTree.fromstring(render([], "idle")).tag.endswith("svg")
