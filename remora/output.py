"""What commands print: tables, YAML and JSON on standard output, one escaped line per trouble on standard error."""

import json
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

from mesh.logs import escape


class Format(StrEnum):
    """How an answer is shown."""

    TABLE = "table"
    YAML = "yaml"
    JSON = "json"


def print_line(text: str) -> None:
    """One line for people; control characters in it become escapes."""
    sys.stdout.write(escape(text) + "\n")


def print_error(text: str) -> None:
    """One line on standard error."""
    sys.stderr.write(escape(text) + "\n")


def print_data(data: Any, how: Format) -> None:
    """Plain values as JSON or YAML."""
    if how is Format.YAML:
        print_yaml([data])
    else:
        sys.stdout.write(json_text(data, indent=2) + "\n")


def json_text(data: Any, indent: int | None = None) -> str:
    """JSON that a terminal shows and does not obey: a client's words may hold U+009B, a terminal's CSI."""
    text = json.dumps(data, ensure_ascii=False, indent=indent)
    # Outside of strings JSON has printable characters and the line feeds of `indent` alone.
    return "".join(c if c == "\n" or c.isprintable() else _json_escape(c) for c in text)


def _json_escape(character: str) -> str:
    return json.dumps(character)[1:-1] if character != "\x7f" else "\\u007f"


def print_yaml(documents: Iterable[Any]) -> None:
    """Several documents as one YAML stream."""
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.allow_unicode = True
    yaml.width = 120
    for index, document in enumerate(documents):
        if index:
            sys.stdout.write("---\n")
        yaml.dump(document, sys.stdout)


def print_table(headers: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str) -> None:
    """Columns under `headers`; `empty` is the line to print when there is no row.

    A terminal gets them fitted to its width; a pipe gets every cell whole.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    if not cells:
        print_error(empty)
        return
    if not sys.stdout.isatty():
        _print_plain(headers, cells)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for header in headers:
        table.add_column(header, overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    Console(highlight=False).print(table)


def _print_plain(headers: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in [headers, *cells]) for column in range(len(headers))]
    for row in [headers, *cells]:
        line = "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write(line.rstrip() + "\n")


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.1f}"
    return escape(str(value))


def age(seconds: float) -> str:
    """A length of time in its largest whole unit, as kubectl shows it: `5s`, `12m`, `3h`, `9d`."""
    whole = max(0, int(seconds))
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if whole >= 2 * length:
            return f"{whole // length}{unit}"
    return f"{whole}s"
