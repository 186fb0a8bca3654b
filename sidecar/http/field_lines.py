"""Fields that many heads share, made ready once for either protocol."""

from typing import Final

from sidecar.http.h1_render import render_fields
from sidecar.http.head import Header


class FieldLines:
    """The same fields as pairs (HTTP/2 packs them) and as rendered lines (HTTP/1.1 copies them)."""

    __slots__ = ("headers", "lines")

    def __init__(self, headers: list[Header]) -> None:
        self.headers = headers
        self.lines = render_fields(headers)

    def __repr__(self) -> str:
        return f"<FieldLines {self.lines!r}>"


NO_FIELDS: Final = FieldLines([])
