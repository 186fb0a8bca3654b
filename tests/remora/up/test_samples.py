"""Bookinfo's first rules are stored once, and never over the user's."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from control.api.parse import parse
from control.api.source import SourceFile
from remora.client import Control
from remora.failure import Failure
from remora.state import State
from remora.up import samples
from tests.remora.conftest import FakeControl


def _stored(control: FakeControl, kind: str, *names: str) -> None:
    resources = [{"kind": kind, "namespace": "default", "name": name} for name in names]
    control.answer("GET", f"/v1/resources/{kind}?namespace=default", {"resources": resources})


@pytest.fixture
def client(control: FakeControl) -> Iterator[Control]:
    for kind in ("Gateway", "VirtualService", "DestinationRule"):
        _stored(control, kind)
    control.answer("POST", "/v1/apply", {"changes": [], "warnings": []})
    with Control(State(control.state)) as made:
        yield made


def _applied(control: FakeControl) -> list[str]:
    return [file["text"] for method, path, body in control.requests if path == "/v1/apply" for file in body["files"]]


def test_the_rules_are_valid() -> None:
    parsed = parse([SourceFile(rule.name, rule.text) for rule in samples.rules()])
    assert [str(each) for each in parsed.violations] == []
    assert len(parsed.resources) == len(samples.rules()) == 6


def test_they_are_applied_the_first_time_only(control: FakeControl, client: Control) -> None:
    state = State(control.state)
    assert samples.apply_once(state, client) is True
    assert len(_applied(control)) == 6
    assert samples.apply_once(state, client) is False
    assert len(_applied(control)) == 6


def test_what_the_user_stored_stays(control: FakeControl, client: Control) -> None:
    _stored(control, "VirtualService", "bookinfo")
    _stored(control, "DestinationRule", "reviews", "mine")
    samples.apply_once(State(control.state), client)
    texts = _applied(control)
    assert len(texts) == 4
    assert not any("name: bookinfo\n" in text or "host: reviews" in text for text in texts)


def test_a_failed_apply_is_tried_again_by_the_next_up(control: FakeControl, client: Control, tmp_path: Path) -> None:
    control.answer("POST", "/v1/apply", {"error": "disk full"}, status=500)
    with pytest.raises(Failure, match="disk full"):
        samples.apply_once(State(control.state), client)
    control.answer("POST", "/v1/apply", {"changes": [], "warnings": []})
    assert samples.apply_once(State(control.state), client) is True
