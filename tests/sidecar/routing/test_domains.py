"""Virtual hosts by host name, in Envoy's order."""

import pytest

from sidecar.routing.domains import Domains, DuplicateDomain, InvalidDomain

_DOMAINS = (
    "reviews", "reviews:9080", "*.example.com", "*-bar.example.com", "api.*", "api.v2.*", "*.com", "*",
)  # fmt: skip


def _table(*domains: str) -> Domains[str]:
    table: Domains[str] = Domains()
    for domain in domains:
        table.add(domain, domain)
    return table


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        pytest.param(b"reviews", "reviews", id="an exact name is found"),
        pytest.param(b"reviews:9080", "reviews:9080", id="a port is part of the name"),
        pytest.param(b"reviews:9081", "*", id="another port is another name"),
        pytest.param(b"a.example.com", "*.example.com", id="the longer suffix wins over the shorter"),
        pytest.param(b"foo-bar.example.com", "*-bar.example.com", id="a suffix need not begin with a dot"),
        pytest.param(b"a.b.example.com", "*.example.com", id="a wildcard stands for several labels"),
        pytest.param(b"example.com", "*.com", id="a wildcard stands for one character at least"),
        pytest.param(b".example.com", "*.com", id="an empty first label is no match of the longer suffix"),
        pytest.param(b"api.v2.net", "api.v2.*", id="the longer prefix wins over the shorter"),
        pytest.param(b"api.net", "api.*", id="a prefix matches"),
        pytest.param(b"api.com", "*.com", id="a suffix wins over a prefix"),
        pytest.param(b"api.", "*", id="a prefix stands for one character at least"),
        pytest.param(b"elsewhere", "*", id="the star takes what is left"),
        pytest.param(b"", "*", id="so it does no host at all"),
    ],
)
def test_finds(host: bytes, expected: str) -> None:
    assert _table(*_DOMAINS).find(host) == expected


def test_finds_nothing_where_nothing_matches() -> None:
    assert _table("reviews", "*.com").find(b"ratings") is None


def test_domains_are_compared_without_case() -> None:
    assert _table("Reviews.Example").find(b"reviews.example") == "Reviews.Example"


@pytest.mark.parametrize("domain", ["reviews", "*.a", "a.*", "*"])
def test_a_domain_cannot_be_claimed_twice(domain: str) -> None:
    table = _table(domain)
    with pytest.raises(DuplicateDomain):
        table.add(domain.upper(), "again")


@pytest.mark.parametrize("domain", ["", "a*b", "*.a.*", "*a*b", "**"])
def test_refuses_what_is_no_domain(domain: str) -> None:
    with pytest.raises(InvalidDomain):
        _table(domain)
