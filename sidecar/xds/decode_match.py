"""`RouteMatch` and what it is made of: path, header and query conditions."""

from sidecar.config.route import HeaderMatch, MatchKind, QueryMatch, RouteMatch, StringMatch
from sidecar.routing.regex import compile_regex
from sidecar.routing.regex_syntax import InvalidRegex
from sidecar.xds.fields import Fields

MAX_REGEX_CHARACTERS = 1024
"""Longer patterns are rejected: every request would pay for them."""

_KINDS = {
    "exact": MatchKind.EXACT,
    "prefix": MatchKind.PREFIX,
    "suffix": MatchKind.SUFFIX,
    "contains": MatchKind.CONTAINS,
}
_DEPRECATED_HEADER = {
    "exact_match": MatchKind.EXACT,
    "prefix_match": MatchKind.PREFIX,
    "suffix_match": MatchKind.SUFFIX,
    "contains_match": MatchKind.CONTAINS,
}


def decode_route_match(fields: Fields) -> RouteMatch:
    kind = fields.which("path_specifier")
    ignore_case = not fields.wrapped("case_sensitive", True)
    separated = connect = False
    match kind:
        case "prefix":
            path = StringMatch(MatchKind.PREFIX, fields.text("prefix"), ignore_case)
        case "path":
            path = StringMatch(MatchKind.EXACT, fields.text("path"), ignore_case)
        case "safe_regex":
            # Envoy does not apply case_sensitive to regular expressions either.
            path = StringMatch(MatchKind.REGEX, decode_regex(fields.must("safe_regex")))
        case "path_separated_prefix":
            path = StringMatch(MatchKind.PREFIX, fields.text("path_separated_prefix"), ignore_case)
            separated = True
            if not path.value.startswith("/") or path.value.endswith("/"):
                raise fields.reject(kind, "must start with / and not end with it")
        case "connect_matcher":
            fields.must("connect_matcher")  # has no fields
            path = StringMatch(MatchKind.PREFIX, "/")
            connect = True
        case _:
            supported = "prefix, path, safe_regex, path_separated_prefix, connect_matcher"
            raise fields.reject(kind or "prefix", f"supported: {supported}")
    return RouteMatch(
        path,
        separated,
        tuple(_decode_header(each) for each in fields.children("headers")),
        tuple(_decode_query(each) for each in fields.children("query_parameters")),
        connect,
    )


def decode_regex(fields: Fields) -> str:
    """An RE2 pattern; it is compared with the whole text."""
    if fields.has("google_re2"):
        fields.informational("google_re2")  # says only that the pattern is RE2, which every pattern is
    pattern = fields.required("regex")
    if len(pattern) > MAX_REGEX_CHARACTERS:
        raise fields.reject("regex", f"is longer than {MAX_REGEX_CHARACTERS} characters")
    try:
        compile_regex(pattern)  # as the worker will, to whom it is too late to refuse it by its path
    except InvalidRegex as error:
        raise fields.reject("regex", f"is not a regular expression: {error}") from error
    return pattern


def decode_string_match(fields: Fields) -> StringMatch:
    """`type.matcher.v3.StringMatcher`."""
    kind = fields.which("match_pattern")
    ignore_case = bool(fields.value("ignore_case"))
    if kind in _KINDS:
        return StringMatch(_KINDS[kind], fields.text(kind), ignore_case)
    if kind == "safe_regex":
        return StringMatch(MatchKind.REGEX, decode_regex(fields.must(kind)))
    raise fields.reject(kind or "", f"supported: {', '.join(_KINDS)}, safe_regex")


def _decode_header(fields: Fields) -> HeaderMatch:
    name = fields.required("name").lower()
    if name == "host":
        name = ":authority"  # as in Envoy, where both are one
    invert = bool(fields.value("invert_match"))
    missing_is_empty = bool(fields.value("treat_missing_header_as_empty"))
    kind = fields.which("header_match_specifier")
    match kind:
        case "string_match":
            comparison = decode_string_match(fields.must(kind))
        case "present_match":
            # `present_match: false` means absent; inverting it means present again.
            invert ^= not fields.value(kind)
            comparison = StringMatch(MatchKind.PRESENT)
        case None:
            comparison = StringMatch(MatchKind.PRESENT)
        case "safe_regex_match":
            comparison = StringMatch(MatchKind.REGEX, decode_regex(fields.must(kind)))
        case str() if kind in _DEPRECATED_HEADER:
            comparison = StringMatch(_DEPRECATED_HEADER[kind], fields.text(kind))
        case _:
            raise fields.reject(kind, "is not supported; use string_match or present_match")
    return HeaderMatch(name, comparison, invert, missing_is_empty)


def _decode_query(fields: Fields) -> QueryMatch:
    name = fields.required("name")
    kind = fields.which("query_parameter_match_specifier")
    if kind == "string_match":
        return QueryMatch(name, decode_string_match(fields.must(kind)))
    if kind == "present_match" and not fields.value(kind):
        raise fields.reject(kind, "matching on a parameter's absence is not supported")
    return QueryMatch(name, StringMatch(MatchKind.PRESENT))
