"""Routes by path, headers and query: Envoy's semantics as tables."""

import pytest

from sidecar.config.route import (
    DirectResponse,
    HeaderMatch,
    MatchKind,
    QueryMatch,
    Route,
    RouteConfiguration,
    RouteMatch,
    StringMatch,
    VirtualHost,
)
from sidecar.http.head import Header, RequestHead
from sidecar.routing.explain import explain
from sidecar.routing.table import InvalidRoutes, RouteTable

EXACT, PREFIX, SUFFIX = MatchKind.EXACT, MatchKind.PREFIX, MatchKind.SUFFIX
CONTAINS, REGEX, PRESENT = MatchKind.CONTAINS, MatchKind.REGEX, MatchKind.PRESENT


def _head(target: str = "/", *headers: tuple[str, str], host: str = "a", method: str = "GET") -> RequestHead:
    fields: list[Header] = [(name.encode(), value.encode()) for name, value in headers]
    return RequestHead(method.encode(), target.encode(), host.encode(), fields)


def _route(name: str, match: RouteMatch) -> Route:
    return Route(name, match, DirectResponse(200))


def _config(*matches: RouteMatch) -> RouteConfiguration:
    routes = tuple(_route(str(position), match) for position, match in enumerate(matches))
    return RouteConfiguration("table", (VirtualHost("a", ("a",), routes),))


def _match(config: RouteConfiguration, head: RequestHead) -> str | None:
    """The name of the matching route; serving and explaining must agree."""
    found = RouteTable(config, lambda host, route: route.name).match(head)
    explained = explain(config, head).route
    assert found == (explained.name if explained else None)
    return found


def _path(kind: MatchKind, value: str, **more: bool) -> RouteMatch:
    return RouteMatch(StringMatch(kind, value, more.get("ignore_case", False)), more.get("separated", False))


@pytest.mark.parametrize(
    ("match", "target", "matches"),
    [
        pytest.param(_path(EXACT, "/a"), "/a", True, id="exact: equal"),
        pytest.param(_path(EXACT, "/a"), "/a?x=1", True, id="exact: the query is no part of the path"),
        pytest.param(_path(EXACT, "/a"), "/a#part", True, id="exact: nor is a fragment"),
        pytest.param(_path(EXACT, "/a"), "/a/", False, id="exact: a trailing slash is another path"),
        pytest.param(_path(EXACT, "/a"), "/A", False, id="exact: case counts"),
        pytest.param(_path(EXACT, "/a", ignore_case=True), "/A", True, id="exact: unless it is ignored"),
        pytest.param(_path(PREFIX, "/api"), "/apis", True, id="prefix: not by segments"),
        pytest.param(_path(PREFIX, "/api"), "/ap", False, id="prefix: shorter"),
        pytest.param(_path(PREFIX, "/API", ignore_case=True), "/api/v1", True, id="prefix: case ignored"),
        pytest.param(_path(PREFIX, "/"), "/anything?x", True, id="prefix: a slash takes all"),
        pytest.param(_path(PREFIX, "/a?x"), "/a?x=1", False, id="prefix: never matches into the query"),
        pytest.param(_path(PREFIX, "/a", separated=True), "/a", True, id="separated: itself"),
        pytest.param(_path(PREFIX, "/a", separated=True), "/a/b", True, id="separated: below"),
        pytest.param(_path(PREFIX, "/a", separated=True), "/a?b=/c", True, id="separated: with a query"),
        pytest.param(_path(PREFIX, "/a", separated=True), "/ab", False, id="separated: not beside"),
        pytest.param(_path(PREFIX, "/a", separated=True, ignore_case=True), "/A/b", True, id="separated: case ignored"),
        pytest.param(_path(REGEX, "/v[0-9]+/.*"), "/v12/x?y", True, id="regex: the whole path"),
        pytest.param(_path(REGEX, "/v[0-9]+"), "/v12/x", False, id="regex: not a part of it"),
        pytest.param(_path(REGEX, "/V1", ignore_case=True), "/v1", True, id="regex: case ignored"),
    ],
)
def test_paths(match: RouteMatch, target: str, matches: bool) -> None:
    assert _match(_config(match), _head(target)) == ("0" if matches else None)


def _header(name: str, kind: MatchKind, value: str = "", **more: bool) -> HeaderMatch:
    return HeaderMatch(
        name,
        StringMatch(kind, value, more.get("ignore_case", False)),
        more.get("invert", False),
        more.get("missing_is_empty", False),
    )


@pytest.mark.parametrize(
    ("match", "headers", "matches"),
    [
        pytest.param(_header("user", EXACT, "jason"), [("user", "jason")], True, id="exact: equal"),
        pytest.param(_header("user", EXACT, "jason"), [("user", "Jason")], False, id="exact: case counts"),
        pytest.param(_header("user", EXACT, "jason", ignore_case=True), [("user", "JASON")], True, id="case ignored"),
        pytest.param(_header("user", EXACT, "jason"), [], False, id="exact: missing never matches"),
        pytest.param(_header("user", EXACT, "jason", invert=True), [], False, id="inverted: missing never matches"),
        pytest.param(_header("user", EXACT, "jason", invert=True), [("user", "ann")], True, id="inverted: another"),
        pytest.param(_header("user", EXACT, "jason", invert=True), [("user", "jason")], False, id="inverted: equal"),
        pytest.param(_header("u", EXACT, "", missing_is_empty=True), [], True, id="missing as empty: equals empty"),
        pytest.param(
            _header("u", EXACT, "x", invert=True, missing_is_empty=True), [], True, id="missing as empty: is not x"
        ),
        pytest.param(_header("u", PRESENT), [("u", "")], True, id="present: empty is there"),
        pytest.param(_header("u", PRESENT), [], False, id="present: missing"),
        pytest.param(_header("u", PRESENT, invert=True), [], True, id="absent: missing"),
        pytest.param(_header("u", PRESENT, invert=True), [("u", "1")], False, id="absent: there"),
        pytest.param(_header("u", EXACT, "a,b"), [("u", "a"), ("x", ""), ("u", "b")], True, id="repeated: one text"),
        pytest.param(_header("u", EXACT, "a"), [("u", "a"), ("u", "b")], False, id="repeated: none goes unseen"),
        pytest.param(_header("u", PREFIX, "ab"), [("u", "abc")], True, id="prefix"),
        pytest.param(_header("u", SUFFIX, "bc"), [("u", "abc")], True, id="suffix"),
        pytest.param(_header("u", CONTAINS, "b"), [("u", "abc")], True, id="contains"),
        pytest.param(_header("u", CONTAINS, "B"), [("u", "abc")], False, id="contains: case counts"),
        pytest.param(
            _header("cookie", REGEX, "^(.*?;)?(user=jason)(;.*)?$"), [("cookie", "a=b;user=jason")], True, id="regex"
        ),
        pytest.param(_header("cookie", REGEX, "jason"), [("cookie", "user=jason")], False, id="regex: the whole value"),
        pytest.param(_header(":method", EXACT, "GET"), [], True, id="the method"),
        pytest.param(_header(":method", EXACT, "POST", invert=True), [], True, id="any method but"),
        pytest.param(_header(":authority", EXACT, "a"), [], True, id="the host"),
        pytest.param(_header(":scheme", EXACT, "https"), [], False, id="the scheme"),
        pytest.param(_header(":path", EXACT, "/p?q=1"), [], True, id="the path with its query"),
    ],
)
def test_headers(match: HeaderMatch, headers: list[tuple[str, str]], matches: bool) -> None:
    assert _match(_config(RouteMatch(headers=(match,))), _head("/p?q=1", *headers)) == ("0" if matches else None)


def _query(kind: MatchKind, value: str = "") -> QueryMatch:
    return QueryMatch("q", StringMatch(kind, value))


@pytest.mark.parametrize(
    ("match", "target", "matches"),
    [
        pytest.param(_query(EXACT, "1"), "/?q=1", True, id="equal"),
        pytest.param(_query(EXACT, "1"), "/?p=2&q=1&r", True, id="among others"),
        pytest.param(_query(EXACT, "1"), "/?q=2&q=1", False, id="the first value counts"),
        pytest.param(_query(EXACT, "1"), "/?xq=1", False, id="another parameter's end"),
        pytest.param(_query(EXACT, "1"), "/q=1", False, id="a path is no query"),
        pytest.param(_query(EXACT, "1"), "/#?q=1", False, id="nor is a fragment"),
        pytest.param(_query(EXACT, "a=b"), "/?q=a=b", True, id="an equals sign in the value"),
        pytest.param(_query(EXACT, "a b"), "/?q=a%20b", False, id="compared without decoding, as in Envoy"),
        pytest.param(_query(PRESENT), "/?q", True, id="present without a value"),
        pytest.param(_query(PRESENT), "/?qq=1", False, id="absent"),
        pytest.param(_query(EXACT, ""), "/?q", True, id="no value is the empty value"),
    ],
)
def test_query_parameters(match: QueryMatch, target: str, matches: bool) -> None:
    assert _match(_config(RouteMatch(query=(match,))), _head(target)) == ("0" if matches else None)


def test_all_conditions_of_a_route_must_hold() -> None:
    both = RouteMatch(StringMatch(PREFIX, "/a"), headers=(_header("u", PRESENT),), query=(_query(PRESENT),))
    config = _config(both, RouteMatch())
    assert _match(config, _head("/a?q", ("u", "1"))) == "0"
    assert _match(config, _head("/a", ("u", "1"))) == "1"
    assert _match(config, _head("/a?q")) == "1"
    assert _match(config, _head("/b?q", ("u", "1"))) == "1"


def test_the_first_matching_route_wins() -> None:
    config = _config(_path(PREFIX, "/a/b"), _path(PREFIX, "/a"), _path(PREFIX, "/a/b/c"))
    assert _match(config, _head("/a/b/c")) == "0"
    assert _match(config, _head("/a/c")) == "1"
    assert _match(config, _head("/b")) is None


def test_no_other_virtual_host_is_tried_when_the_best_has_no_route() -> None:
    config = RouteConfiguration(
        "table",
        (
            VirtualHost("a", ("a",), (_route("only", _path(EXACT, "/x")),)),
            VirtualHost("all", ("*",), (_route("all", RouteMatch()),)),
        ),
    )
    assert _match(config, _head("/y", host="a")) is None
    assert _match(config, _head("/y", host="b")) == "all"


def test_connect_and_paths_are_kept_apart_whatever_their_order() -> None:
    anything, tunnels = RouteMatch(), RouteMatch(connect=True)
    asked = _head("", method="CONNECT")
    for matches in ((anything, tunnels), (tunnels, anything)):
        config = _config(*matches)
        at = matches.index(tunnels)
        assert _match(config, asked) == str(at)
        assert _match(config, _head("/")) == str(1 - at)
    assert _match(_config(anything), asked) is None
    assert _match(_config(tunnels), _head("/")) is None


def test_a_route_for_connect_has_conditions_like_others() -> None:
    wanted = RouteMatch(headers=(_header("x", MatchKind.EXACT, "1"),), connect=True)
    config = _config(wanted, RouteMatch(connect=True))
    assert _match(config, _head("", ("x", "1"), method="CONNECT")) == "0"
    assert _match(config, _head("", ("x", "2"), method="CONNECT")) == "1"
    (step, taken) = explain(config, _head("", method="CONNECT")).steps
    assert [finding.condition for finding in step.findings] == ["method is CONNECT", "header x is 1"]
    assert taken.taken


def test_a_table_without_virtual_hosts_has_no_route() -> None:
    assert _match(RouteConfiguration("empty"), _head()) is None


def test_each_route_is_built_once_with_its_virtual_host() -> None:
    built: list[tuple[str, str]] = []
    config = RouteConfiguration(
        "table", (VirtualHost("a", ("a", "b", "*.c"), (_route("0", RouteMatch()), _route("1", RouteMatch()))),)
    )
    RouteTable(config, lambda host, route: built.append((host.name, route.name)))
    assert built == [("a", "0"), ("a", "1")]


@pytest.mark.parametrize(
    ("config", "path"),
    [
        pytest.param(
            RouteConfiguration("t", (VirtualHost("a", ("x",), ()), VirtualHost("b", ("y", "X"), ()))),
            "virtual_hosts[1].domains[1]",
            id="a domain twice",
        ),
        pytest.param(
            _config(RouteMatch(), _path(REGEX, "(a")), "virtual_hosts[0].routes[1].match.path", id="a broken regex"
        ),
        pytest.param(
            _config(RouteMatch(headers=(_header("a", EXACT, "1"), _header("b", REGEX, "(?=a)")))),
            "virtual_hosts[0].routes[0].match.headers[1]",
            id="look-around",
        ),
        pytest.param(
            _config(RouteMatch(headers=(_header("X-Upper", PRESENT),))),
            "virtual_hosts[0].routes[0].match.headers[0].name",
            id="a header name that could never match",
        ),
        pytest.param(_config(_path(SUFFIX, "/a")), "virtual_hosts[0].routes[0].match.path", id="a path by suffix"),
    ],
)
def test_a_table_that_cannot_be_names_the_field(config: RouteConfiguration, path: str) -> None:
    with pytest.raises(InvalidRoutes) as refused:
        RouteTable(config, lambda host, route: route)
    assert refused.value.path == path


def test_explains_what_held_and_what_did_not() -> None:
    config = _config(
        RouteMatch(_path(PREFIX, "/api").path, headers=(_header("end-user", EXACT, "jason"),)), _path(PREFIX, "/")
    )
    told = explain(config, _head("/api/x"))
    assert told.virtual_host is not None
    assert told.virtual_host.name == "a"
    assert [[(finding.condition, finding.holds) for finding in step.findings] for step in told.steps] == [
        [("path begins with /api", True), ("header end-user is jason", False)],
        [],
    ]
    assert [step.taken for step in told.steps] == [False, True]


def test_explains_an_unknown_host() -> None:
    told = explain(_config(RouteMatch()), _head(host="elsewhere"))
    assert told.virtual_host is None
    assert told.route is None
