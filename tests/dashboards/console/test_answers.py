from typing import Any

import pytest

from dashboards.console.answers import (
    MalformedAnswer,
    MeshStatus,
    Rejection,
    joined,
    parse_changes,
    parse_resources,
    parse_status,
    parse_violations,
)


def test_a_status_with_a_rejection_is_understood() -> None:
    answer = {
        "version": "7",
        "proxies": [
            {"workload": "a", "namespace": "d", "node_id": "n", "kind": "sidecar", "state": "rejected", "version": None,
             "sent_version": "7", "rejections": [{"type": "LDS", "path": "x.y", "message": "no", "at": 1}],
             "pushes": 2, "last_push_ms": 3, "added_later": True},
        ],
    }  # fmt: skip
    status = parse_status(answer)
    assert status.count("rejected") == 1
    assert status.proxies[0].rejections == (Rejection("LDS", "x.y", "no"),)
    assert status.proxies[0].version is None


def test_the_newest_connection_to_any_control_plane_counts() -> None:
    def status(*proxies: tuple[str, str, float | None]) -> MeshStatus:
        found = [{"node_id": node, "state": state, "connected_since": since} for node, state, since in proxies]
        return parse_status({"version": "7", "proxies": found})

    here = status(("a", "synced", 10.0), ("b", "disconnected", None), ("c", "stale", 5.0), ("d", "disconnected", None))
    there = status(("a", "rejected", 3.0), ("b", "synced", 4.0), ("c", "synced", 6.0), ("unknown here", "synced", 1.0))
    found = joined(here, [there], silent=1)
    states = {proxy.node_id: proxy.state for proxy in found.proxies}
    assert states == {"a": "synced", "b": "synced", "c": "synced", "d": "disconnected"}
    assert (found.version, found.silent) == ("7", 1)


def test_violations_changes_and_resources_are_understood() -> None:
    (violation,) = parse_violations(
        [{"file": "f", "line": 3, "path": "spec.http", "message": "m", "severity": "error"}]
    )
    assert (violation.line, violation.path) == (3, "spec.http")
    (change,) = parse_changes(
        {"changes": [{"action": "created", "kind": "K", "namespace": "n", "name": "x", "after": "y"}]}
    )
    assert (change.before, change.after) == (None, "y")
    (resource,) = parse_resources({"resources": [{"kind": "K", "namespace": "n", "name": "x", "yaml": "y"}]})
    assert resource.key == ("K", "n", "x")


@pytest.mark.parametrize(
    "answer", [None, [], "x", {}, {"proxies": 3, "version": "1"}, {"proxies": [1], "version": "1"}]
)
def test_an_answer_of_another_shape_is_an_error_and_no_crash(answer: Any) -> None:
    with pytest.raises(MalformedAnswer):
        parse_status(answer)
