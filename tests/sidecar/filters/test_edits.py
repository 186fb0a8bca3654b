"""Header edits: order of levels, removal, setting, adding, and what is refused."""

import pytest

from sidecar.config.route import HeaderEdits
from sidecar.filters.edits import UnsupportedEdit, compile_edits
from sidecar.http.head import Header


def _request(headers: list[Header], *levels: HeaderEdits | None) -> list[Header]:
    changes = compile_edits(*levels).request
    assert changes is not None
    changes.apply(headers)
    return headers


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        pytest.param([HeaderEdits(request_add=(("a", "2"),))], [(b"a", b"1"), (b"b", b"1"), (b"a", b"2")], id="add"),
        pytest.param([HeaderEdits(request_set=(("a", "2"),))], [(b"b", b"1"), (b"a", b"2")], id="set replaces"),
        pytest.param(
            [HeaderEdits(request_set=(("c", "2"),))], [(b"a", b"1"), (b"b", b"1"), (b"c", b"2")], id="set adds"
        ),
        pytest.param([HeaderEdits(request_remove=("a", "x"))], [(b"b", b"1")], id="remove"),
        pytest.param(
            [HeaderEdits(request_remove=("a",), request_add=(("a", "2"),))],
            [(b"b", b"1"), (b"a", b"2")],
            id="removal comes before addition",
        ),
        pytest.param(
            [HeaderEdits(request_set=(("a", "2"), ("a", "3")))], [(b"b", b"1"), (b"a", b"3")], id="the last set wins"
        ),
        pytest.param(
            [HeaderEdits(request_set=(("a", "route"),)), None, HeaderEdits(request_set=(("a", "table"),))],
            [(b"b", b"1"), (b"a", b"table")],
            id="of two levels the outer is applied last",
        ),
        pytest.param(
            [HeaderEdits(request_add=(("c", "route"),)), HeaderEdits(request_remove=("c",))],
            [(b"a", b"1"), (b"b", b"1")],
            id="an outer level removes what an inner one added",
        ),
        pytest.param(
            [HeaderEdits(request_set=(("a", "100%"),))], [(b"b", b"1"), (b"a", b"100%")], id="values are literal"
        ),
        pytest.param([HeaderEdits(request_set=(("a", "é"),))], [(b"b", b"1"), (b"a", "é".encode())], id="UTF-8"),
    ],
)
def test_requests(levels: list[HeaderEdits | None], expected: list[Header]) -> None:
    assert _request([(b"a", b"1"), (b"b", b"1")], *levels) == expected


def test_every_one_of_a_repeated_header_is_replaced() -> None:
    assert _request([(b"a", b"1"), (b"a", b"2")], HeaderEdits(request_set=(("a", "3"),))) == [(b"a", b"3")]


def test_directions_are_apart() -> None:
    edits = compile_edits(HeaderEdits(response_set=(("server", "x"),), response_remove=("via",)))
    assert edits.request is None
    assert edits.response is not None
    headers = [(b"via", b"1"), (b"server", b"y")]
    edits.response.apply(headers)
    assert headers == [(b"server", b"x")]


def test_applying_twice_leaves_the_compiled_edits_alone() -> None:
    changes = compile_edits(HeaderEdits(request_add=(("a", "1"),))).request
    assert changes is not None
    for _ in range(2):
        headers: list[Header] = []
        changes.apply(headers)
        headers.append((b"later", b"1"))
        assert headers == [(b"a", b"1"), (b"later", b"1")]


def test_nothing_to_do_is_none() -> None:
    edits = compile_edits(None, HeaderEdits(), None)
    assert (edits.request, edits.response) == (None, None)


@pytest.mark.parametrize(
    ("edits", "path"),
    [
        pytest.param(HeaderEdits(request_set=((":path", "/"),)), "request_set[:path]", id="a pseudo-header"),
        pytest.param(HeaderEdits(request_set=(("host", "x"),)), "request_set[host]", id="host"),
        pytest.param(HeaderEdits(request_remove=("content-length",)), "request_remove[content-length]", id="framing"),
        pytest.param(HeaderEdits(response_add=(("Upper", "x"),)), "response_add['Upper']", id="upper case"),
        pytest.param(HeaderEdits(response_add=(("a b", "x"),)), "response_add['a b']", id="no token"),
        pytest.param(HeaderEdits(response_add=(("", "x"),)), "response_add['']", id="no name"),
        pytest.param(HeaderEdits(response_set=(("a", "x\r\nb: c"),)), "response_set[a]", id="a line break"),
        pytest.param(HeaderEdits(response_set=(("a", "x\x00"),)), "response_set[a]", id="a control character"),
        pytest.param(HeaderEdits(response_set=(("a", " x"),)), "response_set[a]", id="outer white space"),
    ],
)
def test_refuses(edits: HeaderEdits, path: str) -> None:
    with pytest.raises(UnsupportedEdit) as refused:
        compile_edits(edits)
    assert refused.value.path == path
