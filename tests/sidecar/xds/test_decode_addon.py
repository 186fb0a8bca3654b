"""Addon scripts in a listener: what is understood, and what is refused with its path."""

from typing import Any

import pytest

from sidecar.config.addon import Addon
from sidecar.config.listener import Listener
from sidecar.xds.decode import decode
from sidecar.xds.kinds import Kind
from sidecar.xds.rejected import Rejected
from tests.sidecar.xds.resources import TYPE, chain, listener, manager, merged, pack, rds

VALUE = "filter_chains[0].filters[0].typed_config.http_filters[1].typed_config.value"


def addon_filter(*rules: dict[str, Any], **changes: Any) -> dict[str, Any]:
    config = {
        "@type": TYPE + "xds.type.v3.TypedStruct",
        "type_url": TYPE + "remora.filters.http.addon",
        "value": {"addons": list(rules)} | changes,
    }
    return {"name": "remora.filters.http.addon", "is_optional": True, "typed_config": config}


def resource(*filters: dict[str, Any]) -> dict[str, Any]:
    http = manager(rds=rds("r"))
    router = http["http_filters"].pop()
    http["http_filters"] += [*filters, router]
    return listener("l", 80, chain(http))


def decoded(*filters: dict[str, Any]) -> tuple[Addon, ...]:
    found = decode(Kind.LDS, pack(Kind.LDS, resource(*filters))).value
    assert isinstance(found, Listener)
    http = found.filter_chains[0].http
    assert http is not None
    return http.addons


RULE: dict[str, Any] = {"name": "default/a", "script": "a.py"}


def test_the_shortest_rule_gets_the_defaults() -> None:
    assert decoded(addon_filter(RULE)) == (Addon("default/a", "a.py"),)
    assert decoded() == ()


@pytest.mark.parametrize(
    ("changes", "path", "why"),
    [
        ({"script": "../a.py"}, "script", "not the name of a .py file"),
        ({"script": "a.py\n"}, "script", "not the name of a .py file"),
        ({"script": None}, "script", "is required"),
        ({"name": None}, "name", "is required"),
        ({"match.path": "a"}, "match.path", "does not begin with /"),
        ({"match.methods": ["G T"]}, "match.methods", "is no method"),
        ({"match.methods": "GET"}, "match.methods", "no list of texts"),
        ({"match.headers": ["a b=1"]}, "match.headers", "no header's name"),
        ({"match.hosts": ["x"] * 65}, "match.hosts", "at most 64"),
        ({"match.status": "5xx"}, "match.status", "is not supported"),
        ({"timeoutSeconds": 31}, "timeoutSeconds", "from 0.001 to 30"),
        ({"timeoutSeconds": "1s"}, "timeoutSeconds", "must be a number"),
        ({"samplePercent": 101}, "samplePercent", "from 0 to 100"),
        ({"maxBodyBytes": 1.5}, "maxBodyBytes", "no whole number"),
        ({"maxBodyBytes": True}, "maxBodyBytes", "no whole number"),
        ({"onFailure": "maybe"}, "onFailure", "supported: close, open"),
        ({"retries": 1}, "retries", "is not supported"),
    ],
)
def test_what_is_wrong_is_refused_with_its_path(changes: dict[str, Any], path: str, why: str) -> None:
    with pytest.raises(Rejected) as raised:
        decoded(addon_filter(merged(RULE, changes)))
    assert raised.value.path == f"{VALUE}.addons[0].{path}"
    assert why in raised.value.why


@pytest.mark.parametrize(
    ("filters", "why"),
    [
        ([addon_filter()], "has 0 rules"),
        ([addon_filter(RULE, RULE)], "two rules of one name"),
        ([addon_filter(*({**RULE, "name": str(n)} for n in range(17)))], "has 17 rules"),
        ([addon_filter(RULE, other=1)], "is not supported"),
        ([addon_filter(RULE), addon_filter(RULE)], "is a second"),
    ],
)
def test_what_can_not_be_together_is_refused(filters: list[dict[str, Any]], why: str) -> None:
    with pytest.raises(Rejected, match=why):
        decoded(*filters)
