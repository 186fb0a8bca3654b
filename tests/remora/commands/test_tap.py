"""`remora tap` against a fake sidecar."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.remora.conftest import FakeControl, Remora
from tests.remora.tap.exchanges import FakeSidecar, exchange, serving, unanswered

DONE = {"type": "end", "matched": 2, "sent": 2, "dropped": 0, "why": "max"}


@pytest.fixture
def sidecar(control: FakeControl) -> Iterator[FakeSidecar]:
    with serving(FakeSidecar([exchange(), unanswered()], DONE)) as fake:
        register(control, "reviews-v3", fake.url)
        yield fake


def register(control: FakeControl, name: str, admin: str) -> None:
    resource = {"kind": "Workload", "namespace": "default", "name": name, "document": {"spec": {"admin": admin}}}
    control.answer("GET", "/v1/resources/workload", {"resources": [resource]})


def test_requests_are_shown_and_counted(remora: Remora, sidecar: FakeSidecar) -> None:
    result = remora("tap", "reviews-v3")
    assert result.status == 0
    first, second = result.out.splitlines()
    assert "  201  POST  http://reviews:9080/reviews/0" in first
    assert "[DC: downstream_remote_disconnect]" in second
    assert result.err == "2 requests seen, 2 shown, none dropped (--max is reached)\n"


def test_what_is_asked_for_reaches_the_sidecar(remora: Remora, sidecar: FakeSidecar) -> None:
    remora(
        "tap", "reviews-v3", "--path", "/a*", "--method", "GET", "--method", "POST", "--status", "5xx", "-H", "x=1",
        "--direction", "inbound", "--sample", "12.5", "--max", "2", "--for", "30", "--max-body", "0", "--show-secrets",
    )  # fmt: skip
    (wish,) = sidecar.wishes
    assert wish == {
        "path": "/a*",
        "methods": ["GET", "POST"],
        "statuses": ["5xx"],
        "headers": ["x=1"],
        "direction": "inbound",
        "sample": 12.5,
        "max": 2,
        "seconds": 30.0,
        "max_body": 0,
        "show_secrets": True,
    }


def test_json_is_a_line_each_as_the_sidecar_told_it(remora: Remora, sidecar: FakeSidecar) -> None:
    result = remora("tap", "reviews-v3", "-o", "json")
    assert [json.loads(line) for line in result.out.splitlines()] == sidecar.lines


def test_an_archive_is_whole_and_its_owners_alone(remora: Remora, sidecar: FakeSidecar, tmp_path: Path) -> None:
    path = tmp_path / "out.har"
    assert remora("tap", "reviews-v3", "-o", "har", "--output", str(path)).status == 0
    assert len(json.loads(path.read_text())["log"]["entries"]) == 2
    assert path.stat().st_mode & 0o777 == 0o600


def test_terminal_controls_in_requests_are_shown_and_not_obeyed(remora: Remora, sidecar: FakeSidecar) -> None:
    sidecar.lines[0]["target"] = "/\x1b[2J\x9b"
    out = remora("tap", "reviews-v3", "-v").out
    assert "\x1b" not in out
    assert "\x9b" not in out


def test_a_workload_that_does_not_exist_is_one_line(remora: Remora, control: FakeControl) -> None:
    register(control, "reviews-v3", "http://127.0.0.1:1")
    result = remora("tap", "nobody")
    assert (result.status, result.err) == (1, "no workload nobody is registered; known: reviews-v3\n")


@pytest.mark.parametrize("admin", ["http://192.0.2.1:80", "https://127.0.0.1:1", "http://127.0.0.1", "", "http://a:1"])
def test_only_a_sidecar_of_this_machine_is_asked(admin: str, remora: Remora, control: FakeControl) -> None:
    register(control, "reviews-v3", admin)
    result = remora("tap", "reviews-v3")
    assert result.status == 1
    assert "it can be tapped on its machine only" in result.err


def test_a_sidecar_that_is_not_there_is_one_line(remora: Remora, control: FakeControl) -> None:
    register(control, "reviews-v3", "http://127.0.0.1:1")
    result = remora("tap", "reviews-v3")
    assert result.status == 1
    assert result.err.startswith("the sidecar's admin endpoint http://127.0.0.1:1 does not answer")


def test_a_refusal_is_passed_on(remora: Remora, sidecar: FakeSidecar) -> None:
    sidecar.refusal = (400, "statuses[0]: 'x' is no status\n")
    result = remora("tap", "reviews-v3")
    assert (result.status, result.err) == (1, "the sidecar refuses the tap: statuses[0]: 'x' is no status\n")


def test_without_mitmproxy_a_flow_file_is_one_line(
    remora: Remora, sidecar: FakeSidecar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REMORA_INSPECT", str(tmp_path / "nothing"))
    result = remora("tap", "reviews-v3", "-o", "flow", "--output", str(tmp_path / "a.flow"))
    assert result.status == 1
    assert result.err == "mitmproxy is not installed: run `remora inspect install` (once, about 130 MB)\n"
    assert sidecar.wishes == []


def test_ctrl_c_ends_it_in_order(control: FakeControl, tmp_path: Path) -> None:
    """A process of its own, since it is one that the signal is for."""
    path = tmp_path / "out.har"
    with serving(FakeSidecar([exchange()])) as fake:
        register(control, "reviews-v3", fake.url)
        command = [sys.executable, "-P", "-m", "remora", "tap", "reviews-v3", "-o", "har", "--output", str(path)]
        environ = {**os.environ, "REMORA_STATE": str(control.state)}
        process = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True)
        assert fake.told.wait(20)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=20)
    assert (process.returncode, told) == (0, "3 requests seen, 1 shown, 2 dropped\n")
    assert len(json.loads(path.read_text())["log"]["entries"]) == 1
