"""docs/limits.md says what the code does."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from sidecar.agent.metric_names import HELP
from sidecar.bootstrap import _parser
from sidecar.config.cluster import Cluster, Http2, Thresholds
from sidecar.config.listener import Http
from sidecar.listeners.context import COUNTERS
from sidecar.overload import memory

TEXT = (Path(__file__).parents[3] / "docs" / "limits.md").read_text()
CLIENTS, UPSTREAMS, PROCESS = re.split(r"^## (?:Upstreams|The process)$", TEXT, flags=re.M)


def defaults(text: str) -> dict[str, float]:
    """Of the table's rows, by name."""
    return {name: float(value) for name, value in re.findall(r"^\| `([a-z_]+)` \| ([0-9.]+)", text, re.M)}


def test_the_defaults_for_clients_are_the_codes() -> None:
    stated = defaults(CLIENTS)
    assert len(stated) == 15
    assert stated == {name: float(getattr(Http(), name)) for name in stated}


def test_no_limit_of_a_connection_manager_is_left_out() -> None:
    limits = {each.name for each in fields(Http) if re.search(r"timeout|max_|_bytes|_duration|delayed", each.name)}
    assert limits == set(defaults(CLIENTS))


def test_the_defaults_for_upstreams_are_the_codes() -> None:
    stated = defaults(UPSTREAMS)
    settings = (Thresholds(), Http2(), Cluster("any"))
    assert {each.name for each in (*fields(Thresholds), *fields(Http2))} <= set(stated)
    actual = {name: next(getattr(each, name) for each in settings if hasattr(each, name)) for name in stated}
    assert stated == {name: float(value) for name, value in actual.items()}


def test_the_flags_exist() -> None:
    stated = re.findall(r"^\| `(--[a-z-]+)` \|", PROCESS, re.M)
    assert stated == ["--max-connections", "--max-listener-connections", "--memory-limit"]
    known = _parser().format_help()
    assert all(flag in known for flag in stated)


@pytest.mark.parametrize("mark", ["SHED", "CLOSE"])
def test_the_marks_are_the_codes(mark: str) -> None:
    row = re.search(rf"^\| `{mark}` \| ([0-9.]+) \| ([0-9.]+) \|", PROCESS, re.M)
    assert row is not None
    assert (float(row[1]), float(row[2])) == (getattr(memory, f"{mark}_AT"), getattr(memory, f"{mark}_UNTIL"))


def test_every_counter_is_named_and_has_a_help_text() -> None:
    for _, metric in COUNTERS:
        assert metric in TEXT or metric == "envoy_listener_downstream_cx_total", metric
        assert metric in HELP, metric
