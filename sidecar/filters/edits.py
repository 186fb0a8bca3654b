"""Header changes of a route, compiled: what Envoy's header parsers do with constant values.

Values are literal here: the decoder, which sees the escapes, has refused Envoy's %COMMANDS%.
"""

from collections.abc import Iterable

from sidecar.config.route import HeaderEdits
from sidecar.http.head import Header
from sidecar.http.octets import FIELD_VALUE, LOWER_TOKEN, made_of


class UnsupportedEdit(ValueError):
    """An edit that we do not carry out. `path` is the field within HeaderEdits."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class Changes:
    """One direction's changes. `apply` edits the list in place."""

    __slots__ = ("_steps",)

    def __init__(self, steps: "list[_Step]") -> None:
        self._steps = steps

    def apply(self, headers: list[Header]) -> None:
        """Level by level; within one, removals first, then sets, then additions."""
        for dropped, added in self._steps:
            if dropped:
                headers[:] = [header for header in headers if header[0] not in dropped]
            headers += added


class Edits:
    """Both directions'; None where there is nothing to do, so that the usual route pays one test."""

    __slots__ = ("request", "response")

    def __init__(self, request: Changes | None, response: Changes | None) -> None:
        self.request = request
        self.response = response


_Step = tuple[frozenset[bytes], list[Header]]

_REFUSED = frozenset(
    [
        "connection", "content-length", "host", "http2-settings", "keep-alive", "proxy-connection", "te", "trailer",
        "transfer-encoding", "upgrade",
    ]
)  # fmt: skip


def compile_edits(*levels: HeaderEdits | None) -> Edits:
    """Edits of a weighted cluster, its route, the virtual host and the table, in this order, as Envoy applies them:
    of two levels that set the same header the later wins. Raises UnsupportedEdit."""
    present = [level for level in levels if level is not None]
    request = [_step("request", level.request_remove, level.request_set, level.request_add) for level in present]
    response = [_step("response", level.response_remove, level.response_set, level.response_add) for level in present]
    return Edits(_changes(request), _changes(response))


def _changes(steps: list[_Step]) -> Changes | None:
    useful = [step for step in steps if step[0] or step[1]]
    return Changes(useful) if useful else None


def _step(
    direction: str, remove: Iterable[str], set_: Iterable[tuple[str, str]], add: Iterable[tuple[str, str]]
) -> _Step:
    removed = {_name(f"{direction}_remove", name) for name in remove}
    replaced = [(_name(f"{direction}_set", name), _value(f"{direction}_set", name, value)) for name, value in set_]
    added = [(_name(f"{direction}_add", name), _value(f"{direction}_add", name, value)) for name, value in add]
    # A header set twice has its last value.
    last = dict(replaced)
    return frozenset(removed | last.keys()), [*last.items(), *added]


def _name(path: str, name: str) -> bytes:
    if name.startswith(":") or name in _REFUSED:
        raise UnsupportedEdit(f"{path}[{name}]", "this header is the proxy's own; a host is changed by host_rewrite")
    try:
        encoded = name.encode("ascii")
    except UnicodeEncodeError:
        encoded = b""
    if not encoded or not made_of(LOWER_TOKEN, encoded):
        raise UnsupportedEdit(f"{path}[{name!r}]", "not a header name in lower case")
    return encoded


def _value(path: str, name: str, value: str) -> bytes:
    encoded = value.encode()
    if not made_of(FIELD_VALUE, encoded) or value != value.strip(" \t"):
        raise UnsupportedEdit(f"{path}[{name}]", "control characters or outer white space in the value")
    return encoded
