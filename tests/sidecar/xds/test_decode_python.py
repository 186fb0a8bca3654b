"""A filter in Python among a listener's HTTP filters: understood whole, or rejected with its path."""

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from envoy.extensions.filters.http.fault.v3 import fault_pb2  # noqa: F401  json_format finds types that are imported
from xds.type.v3 import typed_struct_pb2  # noqa: F401

from sidecar.config.listener import Http, Listener
from sidecar.config.python_filter import FilterMatch, PythonFilter
from sidecar.xds.decode import decode
from sidecar.xds.kinds import Kind
from sidecar.xds.rejected import Rejected
from tests.sidecar.xds.resources import TYPE, chain, listener, manager, pack, rds

SMALL = {"name": "default/x", "class": "X", "source": "x = 1\n"}
FAULT, ROUTER = manager()["http_filters"]


def python(value: dict[str, Any], type_url: str = "remora.filters.http.python") -> dict[str, Any]:
    typed = {"@type": TYPE + "xds.type.v3.TypedStruct", "type_url": type_url, "value": value}
    return {"name": "p", "typed_config": typed}


def decoded(*filters: dict[str, Any]) -> Http:
    http = manager(rds=rds("r"), http_filters=list(filters))
    value = decode(Kind.LDS, pack(Kind.LDS, listener("l", 80, chain(http)))).value
    assert isinstance(value, Listener)
    found = value.chains[0].http
    assert found is not None
    return found


def rejection(*filters: dict[str, Any]) -> tuple[str, str]:
    with pytest.raises(Rejected) as raised:
        decoded(*filters)
    prefix = "filter_chains[0].filters[0].typed_config."
    assert raised.value.path.startswith(prefix)
    return raised.value.path.removeprefix(prefix), raised.value.why


def test_what_is_not_said_has_its_default() -> None:
    http = decoded(python(SMALL), FAULT, ROUTER)
    assert http.filters == (PythonFilter("default/x", "x = 1\n", "X", after_fault=False),)
    assert http.fault_filter


def test_the_fault_filter_parts_them() -> None:
    http = decoded(python(SMALL), FAULT, python({**SMALL, "name": "default/y"}), ROUTER)
    assert [(each.name, each.after_fault) for each in http.filters] == [("default/x", False), ("default/y", True)]
    assert decoded(python(SMALL), ROUTER).filters[0].after_fault


def test_everything_that_can_be_said() -> None:
    match = {"hosts": ["A.example", "*.b"], "routes": ["r"], "pathPrefixes": ["/p"]}
    value = {**SMALL, "config": '{"a": 1}', "match": match, "timeout": "1.5s", "failurePolicy": "FAIL_OPEN"}
    http = decoded(python({**value, "maxBodyBytes": 0}), ROUTER)
    assert http.filters == (
        PythonFilter(
            "default/x",
            "x = 1\n",
            "X",
            '{"a": 1}',
            FilterMatch(("a.example", "*.b"), ("r",), ("/p",)),
            1.5,
            True,
            0,
        ),
    )


VALUE = "http_filters[0].typed_config.value"


@pytest.mark.parametrize(
    ("changes", "path", "why"),
    [
        pytest.param({"name": None}, "name", "is required", id="no name"),
        pytest.param({"class": "a b"}, "class", "no name of a class", id="no class"),
        pytest.param({"source": None}, "file", "is required", id="no text"),
        pytest.param({"source": 5}, "source", "no text", id="a number for a text"),
        pytest.param({"source": "x" * 70_000}, "source", "longer than", id="too long"),
        pytest.param({"file": "/x"}, "file", "combined", id="two texts"),
        pytest.param({"config": "{"}, "config", "not JSON", id="no JSON"),
        pytest.param({"config": "[]"}, "config", "no JSON object", id="a list"),
        pytest.param({"config": "[" * 16_000}, "config", "not JSON", id="brackets"),
        pytest.param({"timeout": "0s"}, "timeout", "from 0.001s", id="no time"),
        pytest.param({"timeout": "1m"}, "timeout", "from 0.001s", id="minutes"),
        pytest.param({"failurePolicy": "OPEN"}, "failurePolicy", "supported: FAIL_CLOSE", id="policy"),
        pytest.param({"maxBodyBytes": -1}, "maxBodyBytes", "from 0 to", id="less than nothing"),
        pytest.param({"maxBodyBytes": 1.5}, "maxBodyBytes", "whole", id="half a byte"),
        pytest.param({"maxBodyBytes": True}, "maxBodyBytes", "whole", id="a truth value"),
        pytest.param({"match": []}, "match", "mapping", id="a list for a mapping"),
        pytest.param({"match": {"hosts": "a"}}, "match.hosts", "list", id="a text for a list"),
        pytest.param({"match": {"hosts": ["a*"]}}, "match.hosts", "SUFFIX", id="a wildcard in the middle"),
        pytest.param({"match": {"routes": [str(at) for at in range(65)]}}, "match.routes", "at most 64", id="many"),
        pytest.param({"match": {"pathPrefixes": ["a"]}}, "match.pathPrefixes", "begin with /", id="no path"),
        pytest.param({"match": {"host": "a"}}, "match.host", "not supported", id="an unknown condition"),
        pytest.param({"vmConfig": {}}, "vmConfig", "not supported", id="an unknown field"),
    ],
)
def test_what_is_not_understood_is_rejected_with_its_path(changes: dict[str, Any], path: str, why: str) -> None:
    value = {key: each for key, each in {**SMALL, **changes}.items() if each is not None}
    found, said = rejection(python(value), ROUTER)
    assert found == f"{VALUE}.{path}"
    assert why in said


@pytest.mark.parametrize(
    ("filters", "path", "why"),
    [
        pytest.param((python(SMALL, "envoy.lua"), ROUTER), "http_filters[0].typed_config.type_url", "lua", id="other"),
        pytest.param((ROUTER, python(SMALL)), "http_filters", "the router must be the last", id="behind the router"),
        pytest.param((python(SMALL), python(SMALL), ROUTER), "http_filters", "one name", id="twice"),
        pytest.param((python(SMALL), FAULT), "http_filters", "then the router", id="no router"),
        pytest.param(
            (*(python({**SMALL, "name": f"a/{at}"}) for at in range(17)), ROUTER),
            "http_filters",
            "at most 16",
            id="many",
        ),
    ],
)
def test_their_place_is_checked(filters: tuple[dict[str, Any], ...], path: str, why: str) -> None:
    found, said = rejection(*filters)
    assert found == path
    assert why in said


def test_a_file_is_read_once_and_is_the_one_that_is_meant(tmp_path: Path) -> None:
    path = tmp_path / "filter.py"
    path.write_text("y = 2\n")
    digest = hashlib.sha256(b"y = 2\n").hexdigest()
    value = {"name": "default/x", "class": "X", "file": str(path), "sha256": digest}
    assert decoded(python(value), ROUTER).filters[0].source == "y = 2\n"
    path.write_text("y = 3\n")
    assert rejection(python(value), ROUTER) == (f"{VALUE}.sha256", f"{path} is another file")


def test_what_is_no_readable_file_is_rejected(tmp_path: Path) -> None:
    pipe, large, binary = tmp_path / "pipe", tmp_path / "large", tmp_path / "binary"
    os.mkfifo(pipe)
    large.write_bytes(b"#" * 70_000)
    binary.write_bytes(b"\xff\xfe")
    cases = {
        str(pipe): "is no file",
        str(tmp_path): "is no file",
        str(large): "longer than",
        str(binary): "not UTF-8",
        str(tmp_path / "none"): "No such file",
        "relative.py": "no absolute path",
    }
    for path, why in cases.items():
        found, said = rejection(python({"name": "default/x", "class": "X", "file": path}), ROUTER)
        assert found == f"{VALUE}.file"
        assert why in said
