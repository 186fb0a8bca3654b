"""One spelling of a path: what different readers could take for different resources is the same before routing."""

import pytest

from sidecar.http.errors import ProtocolError
from sidecar.http.paths import is_odd, normalize


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (b"/a/b?x=%2e%2e/../c", b"/a/b?x=%2e%2e/../c"),
        (b"/%61dmin", b"/admin"),
        (b"/%41", b"/A"),
        (b"/static/../admin", b"/admin"),
        (b"/static/%2e%2e/admin", b"/admin"),
        (b"/static/%2E./admin", b"/admin"),
        (b"/a\\..\\b", b"/b"),
        (b"/a/./b", b"/a/b"),
        (b"/a/.", b"/a/"),
        (b"/a/b/..", b"/a/"),
        (b"/..", b"/"),
        (b"/../../etc", b"/etc"),
        (b"/a//b", b"/a//b"),
        (b"/a%2fb", b"/a%2fb"),
        (b"/a%5cb", b"/a%5cb"),
        (b"/a%252fb", b"/a%252fb"),
        (b"/a;b=%3b", b"/a;b=%3b"),
        (b"/a%C3%A9", b"/a%C3%A9"),
        (b"/a%zz", b"/a%zz"),
        (b"/.well-known/x", b"/.well-known/x"),
        (b"/a...b", b"/a...b"),
        (b'/"<>[]^`{|}?"{}', b'/%22%3C%3E[]%5E%60%7B%7C%7D?"{}'),
    ],
)
def test_a_path_has_one_spelling(written: bytes, meant: bytes) -> None:
    assert normalize(written) == meant
    assert normalize(meant) == meant, "normalizing twice is normalizing once"


def test_an_escaped_nul_is_refused() -> None:
    with pytest.raises(ProtocolError) as refused:
        normalize(b"/a%00b")
    assert refused.value.status == 400


def test_the_usual_path_is_not_looked_at_twice() -> None:
    assert not is_odd(b"/reviews/0?page=2&sort=asc")
