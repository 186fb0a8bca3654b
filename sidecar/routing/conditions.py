"""A route's match as a list of tests, each with its wording: serving runs tests, `explain` shows words. Pure."""

from collections.abc import Callable
from typing import NamedTuple

from sidecar.config.route import HeaderMatch, MatchKind, QueryMatch, RouteMatch, StringMatch
from sidecar.http.head import RequestHead
from sidecar.routing.regex import compile_regex
from sidecar.routing.regex_syntax import InvalidRegex

Test = Callable[[RequestHead, bytes], bool]
"""Of a request's head and its path without the query."""

TextTest = Callable[[bytes], bool]


class InvalidRoutes(ValueError):
    """A table that cannot be built. `path` is the field within RouteConfiguration."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class Condition(NamedTuple):
    """One test of a route's match."""

    words: str
    """For people, e.g. `header end-user is jason`."""
    test: Test


def path_of(head: RequestHead) -> bytes:
    """The path as routes compare it: without query and fragment."""
    target = head.target
    # Not `in`: of bytes in bytes, it first makes an exception of their being no integer, and drops it.
    if target.find(b"?") >= 0 or target.find(b"#") >= 0:
        return target.partition(b"#")[0].partition(b"?")[0]
    return target


def compile_match(match: RouteMatch, field: str) -> list[Condition]:
    """The tests that must all pass; none: every request matches. Raises InvalidRoutes, naming `field` and below."""
    conditions = []
    path = None if match.connect else _path_condition(match, f"{field}.path")
    if path is not None:
        conditions.append(path)
    conditions += [_header_condition(each, f"{field}.headers[{i}]") for i, each in enumerate(match.headers)]
    conditions += [_query_condition(each, f"{field}.query[{i}]") for i, each in enumerate(match.query)]
    return conditions


def _path_condition(match: RouteMatch, field: str) -> Condition | None:
    kind = match.path.kind
    if kind not in (MatchKind.EXACT, MatchKind.PREFIX, MatchKind.REGEX):
        raise InvalidRoutes(field, f"paths are not compared by {kind.value}")
    if kind is MatchKind.PREFIX and not match.path_separated and match.path.value in ("", "/"):
        return None  # every path begins with a slash
    if kind is MatchKind.PREFIX and match.path_separated:
        return Condition(f"path is or is below {match.path.value}", _separated(match.path))
    test = _text_test(match.path, field)
    return Condition(f"path {_words(match.path)}", lambda head, path: test(path))


def _separated(wanted: StringMatch) -> Test:
    """`/a` matches `/a` and what is below it (Envoy's path_separated_prefix)."""
    prefix = wanted.value.encode()
    if wanted.ignore_case:
        prefix = prefix.lower()
    below = prefix + b"/"
    if wanted.ignore_case:
        return lambda head, path: path.lower() == prefix or path.lower().startswith(below)
    return lambda head, path: path == prefix or path.startswith(below)


def _header_condition(match: HeaderMatch, field: str) -> Condition:
    words = f"header {match.name} {'is not such that it ' if match.invert else ''}{_words(match.match)}"
    read = _reader(match.name, field)
    invert = match.invert
    if match.match.kind is MatchKind.PRESENT:
        # A missing header treated as empty is there.
        always = match.missing_is_empty
        words = f"header {match.name} is {'absent' if invert else 'present'}"
        return Condition(words, lambda head, path: (always or read(head) is not None) != invert)
    test = _text_test(match.match, field)
    missing = (test(b"") != invert) if match.missing_is_empty else False

    def matches(head: RequestHead, path: bytes) -> bool:
        value = read(head)
        return missing if value is None else test(value) != invert

    return Condition(words, matches)


def _reader(name: str, field: str) -> Callable[[RequestHead], bytes | None]:
    """A header's value: several are one, joined by commas, as in Envoy."""
    match name:
        case ":method":
            return lambda head: head.method
        case ":path":
            return lambda head: head.target
        case ":authority" | "host":
            return lambda head: head.authority
        case ":scheme":
            return lambda head: head.scheme
    if name.startswith(":") or not name or not name.isascii() or name != name.lower():
        raise InvalidRoutes(f"{field}.name", f"{name!r} is not a header name in lower case or a known pseudo-header")
    wanted = name.encode()

    def read(head: RequestHead) -> bytes | None:
        found: bytes | None = None
        for key, value in head.headers:
            if key == wanted:
                found = value if found is None else found + b"," + value
        return found

    return read


def _query_condition(match: QueryMatch, field: str) -> Condition:
    name = match.name.encode()
    words = f"query parameter {match.name} {_words(match.match)}"
    if match.match.kind is MatchKind.PRESENT:
        return Condition(words, lambda head, path: _parameter(head.target, name) is not None)
    test = _text_test(match.match, field)

    def matches(head: RequestHead, path: bytes) -> bool:
        value = _parameter(head.target, name)
        return value is not None and test(value)

    return Condition(words, matches)


def _parameter(target: bytes, name: bytes) -> bytes | None:
    """The first value of a query parameter, not percent-decoded, as Envoy compares it; without `=` it is empty."""
    query = target.partition(b"#")[0].partition(b"?")[2]
    if name not in query:
        return None
    for pair in query.split(b"&"):
        key, _, value = pair.partition(b"=")
        if key == name:
            return value
    return None


def _text_test(match: StringMatch, field: str) -> TextTest:
    wanted = match.value.encode()
    if match.kind is MatchKind.REGEX:
        try:
            return compile_regex(f"(?i:{match.value})" if match.ignore_case else match.value)
        except InvalidRegex as error:
            raise InvalidRoutes(field, f"regular expression {match.value[:100]!r}: {error}") from error
    if match.ignore_case:
        exact = _sensitive(match.kind, wanted.lower(), field)
        return lambda text: exact(text.lower())
    return _sensitive(match.kind, wanted, field)


def _sensitive(kind: MatchKind, wanted: bytes, field: str) -> TextTest:
    match kind:
        case MatchKind.EXACT:
            return wanted.__eq__
        case MatchKind.PREFIX:
            return lambda text: text.startswith(wanted)
        case MatchKind.SUFFIX:
            return lambda text: text.endswith(wanted)
        case MatchKind.CONTAINS:
            return lambda text: wanted in text
        case _:
            raise InvalidRoutes(field, f"texts are not compared by {kind.value}")


def _words(match: StringMatch) -> str:
    verb = {
        MatchKind.EXACT: "is",
        MatchKind.PREFIX: "begins with",
        MatchKind.SUFFIX: "ends with",
        MatchKind.CONTAINS: "contains",
        MatchKind.REGEX: "matches",
        MatchKind.PRESENT: "is present",
    }[match.kind]
    if match.kind is MatchKind.PRESENT:
        return verb
    return f"{verb} {match.value}{' in any case' if match.ignore_case else ''}"
