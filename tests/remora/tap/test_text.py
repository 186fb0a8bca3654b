"""Tapped requests in a terminal."""

import pytest

from remora.tap.text import details, summary
from tests.remora.tap.exchanges import exchange, message, read, unanswered


def test_a_line_says_what_happened() -> None:
    line = summary(read(exchange()))
    assert line.split("  ")[1:] == [
        "201", "POST", "http://reviews:9080/reviews/0?full=1&x=%C3%A9", "30.0 ms", "5 B", "inbound",
        "from bookinfo-productpage",
    ]  # fmt: skip


def test_a_request_without_an_answer_says_why() -> None:
    line = summary(read(unanswered()))
    assert "  -  POST" in line
    assert line.endswith("[DC: downstream_remote_disconnect]")


@pytest.mark.parametrize(
    ("status", "told"),
    [("0", ""), ("5", "grpc 5 NOT_FOUND"), ("16", "grpc 16 UNAUTHENTICATED"), ("17", "grpc 17"), ("x", "grpc x")],
)
def test_a_call_that_failed_says_its_grpc_status(status: str, told: str) -> None:
    answer = message([("content-type", "application/grpc")], b"") | {"trailers": [["grpc-status", status]]}
    assert (
        summary(read(exchange(status=200, response=answer))).partition("from bookinfo-productpage")[2].strip()
    ) == told


def test_details_are_as_curl_shows_them() -> None:
    assert list(details(read(exchange()))) == [
        "> POST /reviews/0?full=1&x=%C3%A9 HTTP/1.1",
        "> host: reviews:9080",
        "> content-type: application/json",
        "> cookie: a=1; b=2",
        ">",
        '> {"a": 1}',
        "< 201 Created",
        "< content-type: text/plain; charset=utf-8",
        "< set-cookie: s=1; Path=/; HttpOnly",
        "< x-caf\xe9: y",
        "<",
        "< m\u00e4de",
        "* upstream 127.0.0.1:9080, route default, cluster inbound|9080||, trace 4bf92f3577b34da6a3ce929d0e0e4736",
        "",
    ]


def test_bodies_that_are_no_text_or_long_are_told_of() -> None:
    binary = exchange(response=message([("content-type", "image/png")], b"\xff" * 2000))
    assert "< (2.0 kB, image/png)" in details(read(binary))
    long = exchange(response=message([], b"line\n" * 100, cut=3_000_000))
    lines = list(details(read(long)))
    assert "< (60 more lines)" in lines
    assert "< (cut: 3.0 MB more)" in lines
