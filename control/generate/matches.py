"""Conditions of the mesh to Envoy's route match."""

from envoy.config.route.v3.route_components_pb2 import HeaderMatcher, QueryParameterMatcher, RouteMatch
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from control.ir.matches import Compare, RequestMatch, TextMatch


def route_match(match: RequestMatch) -> RouteMatch:
    """First match wins, in the order of the routes."""
    message = RouteMatch(
        headers=[_header(each.name, each.match, each.invert) for each in match.headers],
        query_parameters=[_query(each.name, each.match) for each in match.query],
    )
    path = match.path
    if path is None:
        message.prefix = "/"
    elif path.compare is Compare.EXACT:
        message.path = path.value
    elif path.compare is Compare.PREFIX:
        message.prefix = path.value
    else:
        message.safe_regex.regex = path.value
    if path is not None and path.ignore_case:
        message.case_sensitive.value = False
    return message


def string_matcher(match: TextMatch) -> StringMatcher:
    """An empty prefix cannot be said in Envoy; parsing refuses it."""
    if match.compare is Compare.EXACT:
        return StringMatcher(exact=match.value, ignore_case=match.ignore_case)
    if match.compare is Compare.PREFIX:
        return StringMatcher(prefix=match.value, ignore_case=match.ignore_case)
    return StringMatcher(safe_regex=RegexMatcher(regex=match.value))


def _header(name: str, match: TextMatch, invert: bool) -> HeaderMatcher:
    if match.compare is Compare.PRESENT:
        return HeaderMatcher(name=name, present_match=True, invert_match=invert)
    return HeaderMatcher(
        name=name,
        string_match=string_matcher(match),
        invert_match=invert,
        # Without the header the condition "not equal to" holds (Istio withoutHeaders).
        treat_missing_header_as_empty=invert,
    )


def _query(name: str, match: TextMatch) -> QueryParameterMatcher:
    return QueryParameterMatcher(name=name, string_match=string_matcher(match))
