"""Which requests a tap wants."""

import random

import pytest

from sidecar.config.tap import TapFilter
from sidecar.http.head import RequestHead
from sidecar.tap.matching import Matcher


def head(target: bytes = b"/reviews/0?full=1", method: bytes = b"GET", **ours: bytes) -> RequestHead:
    fields = [(b"x-team", b"red"), (b"x-team", b"blue"), (b"accept", b"text/html")]
    named = {name.replace("_", "-").encode(): value for name, value in ours.items()}
    return RequestHead(method, target, b"reviews.example:9080", fields, ours=named)


def wants(wanted: TapFilter, request: RequestHead) -> bool:
    return Matcher(wanted, random.Random(1)).wants(request)


@pytest.mark.parametrize(
    ("path", "matches"),
    [
        ("", True),
        ("/reviews", True),
        ("/reviews/0", True),
        ("/ratings", False),
        ("/reviews/0?full=1", False),  # a glob of one character, and the query is none of the path
        ("/reviews/*", True),
        ("*/0", True),
        ("/reviews/[0-9]", True),
        ("/reviews/[1-9]", False),
        ("/REVIEWS", False),
        ("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", False),
    ],
)
def test_paths_are_prefixes_or_globs(path: str, matches: bool) -> None:
    assert wants(TapFilter(path=path), head()) is matches


def test_a_glob_never_backtracks_for_long() -> None:
    evil = head(target=b"/" + b"a" * 60_000)
    assert not wants(TapFilter(path="*a" * 400 + "b"), evil)


def test_methods_in_any_case() -> None:
    assert wants(TapFilter(methods=("post", "get")), head())
    assert not wants(TapFilter(methods=("post",)), head())


@pytest.mark.parametrize(
    ("name", "value", "matches"),
    [
        ("x-team", None, True),
        ("x-team", "blue", True),
        ("x-team", "b*", True),
        ("x-team", "green", False),
        ("x-none", None, False),
        ("user-agent", "curl/*", True),
        ("host", "reviews.*", True),
        (":authority", "ratings*", False),
        ("host", None, True),
    ],
)
def test_every_value_of_a_field_is_looked_at(name: str, value: str | None, matches: bool) -> None:
    assert wants(TapFilter(headers=((name, value),)), head(user_agent=b"curl/8")) is matches


def test_all_conditions_must_hold() -> None:
    assert not wants(TapFilter(path="/reviews", methods=("POST",)), head())


def test_a_share_of_requests_is_drawn() -> None:
    matcher = Matcher(TapFilter(sample_percent=25.0), random.Random(7))
    drawn = sum(matcher.wants(head()) for _ in range(10_000))
    assert 2300 < drawn < 2700
    assert not any(Matcher(TapFilter(sample_percent=0.0), random.Random(7)).wants(head()) for _ in range(100))


@pytest.mark.parametrize(("status", "matches"), [(404, True), (503, True), (200, False), (0, False), (600, False)])
def test_statuses_are_ranges(status: int, matches: bool) -> None:
    matcher = Matcher(TapFilter(statuses=((404, 404), (500, 599))), random.Random(1))
    assert matcher.wants_status(status) is matches
