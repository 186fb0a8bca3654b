import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dashboards.console.app import Options, parse
from dashboards.console.doors import ClusterDoor


def test_the_flags_of_the_contract_are_understood(tmp_path: Path) -> None:
    given = parse(["--state", str(tmp_path), "--listen", "[::1]:0", "--ready-fd", "5", "--lifeline-fd", "6"])
    assert given == Options(tmp_path, "::1", 0, 5, 6)


def test_in_a_cluster_it_is_told_where_the_control_plane_is_and_how_to_prove_itself() -> None:
    given = parse(["--control", "https://control.svc:15014", "--root", "/r.pem", "--token-file", "/t"])
    assert given.control == ClusterDoor("https://control.svc:15014", Path("/r.pem"), Path("/t"))
    assert parse([]).control is None


def test_by_default_it_listens_on_loopback_and_finds_the_usual_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REMORA_STATE", "/somewhere/remora")
    assert parse([]) == Options(Path("/somewhere/remora"), "127.0.0.1", 20001)
    monkeypatch.delenv("REMORA_STATE")
    monkeypatch.setenv("XDG_STATE_HOME", "/xdg")
    assert parse([]).state == Path("/xdg/remora")


@pytest.mark.parametrize(
    "argv",
    [["--listen", "20001"], ["--listen", ":20001"], ["--listen", "127.0.0.1:70000"], ["--listen", "127.0.0.1:-1"],
     ["--ready-fd", "x"], ["--lifeline-fd", "-1"], ["--stat", "x"], ["extra"],
     ["--control", "https://c"], ["--root", "r", "--token-file", "t"],
     ["--control", "http://c", "--root", "r", "--token-file", "t"],
     ["--control", "https://c/path", "--root", "r", "--token-file", "t"]],
)  # fmt: skip
def test_wrong_flags_are_exit_status_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(argv)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("remora console: ")
    assert argv[0] in said
    assert said.count("\n") == 1


def test_help_has_an_example_and_is_there_before_the_framework_is_imported() -> None:
    script = (
        "import sys\nfrom dashboards.console.app import parse\n"
        "try:\n    parse(['--help'])\nfinally:\n    assert 'nicegui' not in sys.modules, 'nicegui was imported'\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert "example:\n  remora console --state" in done.stdout


def _fails(argv: list[str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dashboards.console.app", *argv], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 1, done
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_a_port_in_use_is_one_line_and_exit_status_1(state: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = _fails(["--state", str(state), "--listen", f"127.0.0.1:{port}"])
    assert said == f"remora console: cannot listen on 127.0.0.1:{port}: Address already in use\n"


def test_a_state_directory_that_is_not_there_is_one_line_and_exit_status_1(tmp_path: Path) -> None:
    assert "does not exist" in _fails(["--state", str(tmp_path / "gone")])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_status_0(console: Callable[..., Any], number: signal.Signals) -> None:
    running = console()
    running.process.send_signal(number)
    assert running.process.wait(10) == 0
    assert running.errors.read_text() == ""


def test_it_ends_when_its_parent_is_gone(console: Callable[..., Any]) -> None:
    running = console()
    os.close(running.lifeline)
    running.lifeline = -1
    assert running.process.wait(10) == 0


def test_it_serves_soon_and_leaves_nothing_behind(console: Callable[..., Any], state: Path) -> None:
    before = time.monotonic()
    running = console()
    took = time.monotonic() - before
    assert took < 20, f"{took:.1f} s to start"
    assert list(state.iterdir()) == []
    assert running.url.startswith(f"http://127.0.0.1:{running.port}/?token=")


def test_the_address_goes_to_a_file_of_the_user_s_alone_instead_of_the_log(
    state: Path, tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    file = tmp_path / "console.url"
    argv = [sys.executable, "-m", "dashboards.console.app", "--state", str(state), "--listen", "127.0.0.1:0"]
    with subprocess.Popen([*argv, "--url-file", str(file)], stdout=subprocess.PIPE, text=True) as process:
        try:
            asyncio.run(eventually(file.exists, "the file", within=20))
            assert re.fullmatch(r"http://127\.0\.0\.1:[0-9]+/\?token=\S+\n", file.read_text())
            assert file.stat().st_mode & 0o777 == 0o600
        finally:
            process.terminate()
        assert process.communicate(timeout=10)[0] == ""
    assert "cannot write" in _fails(["--state", str(state), "--listen", "127.0.0.1:0", "--url-file", "/gone/url"])
