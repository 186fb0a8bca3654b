"""Draw a flame graph: width is share of samples, up is what was called. An SVG that needs no script to be read.

https://www.brendangregg.com/flamegraphs.html
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

_WIDTH, _ROW, _CHARACTER = 1600.0, 17, 6.6
_MIN_WIDTH = 0.5
"""Narrower frames are left out: nobody could see them."""


@dataclass(slots=True)
class _Frame:
    count: int = 0
    inner: dict[str, "_Frame"] = field(default_factory=dict)


def render(stacks: Iterable[str], title: str) -> str:
    """Of lines `outer;inner COUNT`."""
    root = _Frame()
    for line in stacks:
        stack, _, count = line.rpartition(" ")
        if not count.isdigit():
            continue
        at = root
        at.count += int(count)
        for name in stack.split(";"):
            at = at.inner.setdefault(name, _Frame())
            at.count += int(count)
    depth = _depth(root)
    height = (depth + 2) * _ROW
    boxes: list[str] = []
    if root.count:
        _draw(root, 0.0, 0, root.count, height, boxes)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH:g}" height="{height}" font-family="monospace"'
            ' font-size="11">',
            f'<text x="4" y="13">{escape(title)}, {root.count} samples</text>',
            *boxes,
            "</svg>\n",
        ]
    )


def _depth(frame: _Frame) -> int:
    deepest, level = 0, list(frame.inner.values())
    while level:
        deepest += 1
        level = [inner for each in level for inner in each.inner.values()]
    return deepest


def _draw(frame: _Frame, x: float, row: int, total: int, height: int, boxes: list[str]) -> None:
    for name, inner in sorted(frame.inner.items()):
        width = inner.count / total * _WIDTH
        if width >= _MIN_WIDTH:
            y = height - (row + 1) * _ROW
            shown = name if len(name) * _CHARACTER < width else name[: max(0, int(width / _CHARACTER) - 1)]
            label = escape(f"{name}: {inner.count / total:.1%}")
            boxes.append(
                f'<g><title>{label}</title><rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_ROW - 1}"'
                f' fill="{_color(name)}"/><text x="{x + 2:.1f}" y="{y + 12}">{escape(shown)}</text></g>'
            )
            _draw(inner, x, row + 1, total, height, boxes)
        x += width


def _color(name: str) -> str:
    """Warm, and the same for the same name in every picture."""
    seed = zlib.crc32(name.encode())
    return f"rgb({205 + seed % 50},{80 + (seed >> 8) % 130},{(seed >> 16) % 60})"
