"""SPIFFE ids are parsed strictly: what two readers could understand differently is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.spiffe import InvalidSpiffeId, SpiffeId


def test_an_id_is_parsed_and_written_back() -> None:
    uri = "spiffe://cluster.local/ns/default/sa/bookinfo-reviews"
    identity = SpiffeId.parse(uri)
    assert identity == SpiffeId("cluster.local", "default", "bookinfo-reviews")
    assert str(identity) == uri
    assert identity.principal == "cluster.local/ns/default/sa/bookinfo-reviews"


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "https://cluster.local/ns/default/sa/x",
        "SPIFFE://cluster.local/ns/default/sa/x",
        "spiffe://Cluster.Local/ns/default/sa/x",
        "spiffe://cluster.local:443/ns/default/sa/x",
        "spiffe://user@cluster.local/ns/default/sa/x",
        "spiffe://cluster.local/ns/default/sa/x?q",
        "spiffe://cluster.local/ns/default/sa/x#f",
        "spiffe://cluster.local/ns/default/sa/x/",
        "spiffe://cluster.local/ns//sa/x",
        "spiffe://cluster.local/ns/a/sa/",
        "spiffe://cluster.local/ns/a/b/sa/x",
        "spiffe://cluster.local/ns/%61/sa/x",
        "spiffe://cluster.local/ns/../sa/x",
        "spiffe://cluster.local/ns/a.b/sa/x",
        "spiffe://cluster.local/ns/a/sa/x\n",
        "spiffe://cluster.local/ns/a/sa/x\x00",
        "spiffe://cluster.local/ns/a/sa/" + "x" * 3000,
        "spiffe:///ns/a/sa/x",
    ],
)
def test_anything_but_the_exact_form_is_refused(uri: str) -> None:
    with pytest.raises(InvalidSpiffeId):
        SpiffeId.parse(uri)


@given(
    st.text(max_size=80) | st.from_regex(r"[a-zA-Z0-9._-]{1,20}/ns/[a-z0-9.-]{1,9}/sa/[a-z0-9.%-]{1,9}", fullmatch=True)
)
def test_parsing_gives_an_id_that_writes_the_same_text_or_refuses(text: str) -> None:
    try:
        identity = SpiffeId.parse("spiffe://" + text)
    except InvalidSpiffeId:
        return
    assert str(identity) == "spiffe://" + text
