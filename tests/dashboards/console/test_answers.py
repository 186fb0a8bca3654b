from typing import Any

import pytest

from dashboards.console.answers import (
    MalformedAnswer,
    Rejection,
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
