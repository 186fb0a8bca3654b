"""The command's contract: help that reads well, one clear line for every trouble, exit status 0, 1 or 2."""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from remora import cli
from tests.remora.conftest import FakeControl, Remora

GROUPS = {
    "multicluster": ("add", "remove"),
    "metrics": ("show", "cardinality", "prometheus-config"),
    "dashboards": ("push", "build", "check"),
}
COMMANDS = (
    "up", "run", "apply", "get", "delete", "diff", "analyze", "status", "config", "logs", "traces", "errors", "graph",
    "tap", "inspect", "inject", "install", "uninstall", "check", *GROUPS,
)  # fmt: skip
EVERY_HELP = (
    *((name,) for name in (*COMMANDS, *cli.COMPONENTS)),
    *((name, each) for name, group in GROUPS.items() for each in group),
)


def _remora(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "remora", *argv], capture_output=True, text=True, timeout=60, check=False
    )


def test_help_names_every_command() -> None:
    result = _remora("--help")
    assert result.returncode == 0
    for name in (*COMMANDS, *cli.COMPONENTS):
        assert f" {name} " in result.stdout


def test_help_is_quick() -> None:
    """CPU time of the best of three: other processes on the machine do not count."""
    code = (
        "import resource, subprocess, sys\n"
        "subprocess.run([sys.executable, '-m', 'remora', '--help'], check=True, stdout=subprocess.DEVNULL)\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(used.ru_utime + used.ru_stime)\n"
    )
    runs = [float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(3)]
    assert min(runs) < 0.6, f"{runs} s; 0.2 s on the machine this was written on"


@pytest.mark.parametrize("name", [(), *((each,) for each in GROUPS)], ids=lambda name: " ".join(name) or "remora")
def test_help_lists_the_commands_that_are_tested_here_and_no_other(
    name: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([*name, "--help"]) == 0
    listed = re.findall(r"^│ ([a-z][a-z-]*) ", capsys.readouterr().out, re.M)
    assert sorted(listed) == sorted(each[-1] for each in EVERY_HELP if each[:-1] == name)


@pytest.mark.parametrize("name", EVERY_HELP, ids=" ".join)
def test_every_commands_help_has_an_example(name: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(SystemExit):  # of a component's own parser
        assert cli.run([*name, "--help"]) == 0
    _, _, after = capsys.readouterr().out.lower().partition("example")
    assert f"remora {name[0]}" in after


@pytest.mark.parametrize(
    "argv",
    [
        ("nonsense",),
        ("--nonsense",),
        ("apply",),
        ("apply", "--nonsense"),
        ("get",),
        ("get", "vs", "-o", "xml"),
        ("config", "nonsense", "x"),
        ("up", "--for", "soon"),
        ("up", "--console-port", "99999"),
        ("up", "--collector-config", "c.yaml", "--elasticsearch", "http://127.0.0.1:9200"),
        ("run", "--service", "x"),
        ("run", "--service", "x", "--port", "1", "--protocol", "udp", "--", "true"),
        ("run", "--service", "x", "--tcp-upstream", "cache:6379", "--", "true"),
        ("run", "--service", "x", "--tcp-upstream", "cache:6379=70000", "--", "true"),
        ("run", "--service", "x", "--tcp-upstream", "6379=7000", "--", "true"),
        ("logs", "--limit", "0"),
        ("metrics", "prometheus-config", "--alertmanager", "a:²"),
        ("metrics", "prometheus-config", "--node-exporter", "a:0"),
        ("status", "--state", ""),
    ],
)
def test_wrong_use_is_one_line_and_status_2(argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "--help" in captured.err
    assert "Value error" not in captured.err


def test_an_unknown_command_points_to_the_help_that_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    cli.run(["nonsense"])
    assert capsys.readouterr().err == "remora: No such command 'nonsense'. (see remora --help)\n"


@contextlib.contextmanager
def _as_nobody() -> Iterator[None]:
    """Root may read everything; for as long as the block runs we are not root."""
    if os.geteuid() != 0:
        yield
        return
    os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@pytest.mark.parametrize("argv", [("status",), ("get", "vs"), ("logs",)], ids=" ".join)
def test_a_state_that_can_not_be_read_is_an_answer_and_no_wrong_use(
    argv: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"
    state.write_text("")
    # First with a file in its place, so that everything is imported: nobody may not read every Python installation.
    assert cli.run([*argv, "--state", str(state)]) == 1
    state.unlink()
    state.mkdir()
    (state / "control.json").write_text("{}")
    state.chmod(0)
    capsys.readouterr()
    try:
        with _as_nobody():
            status = cli.run([*argv, "--state", str(state)])
    finally:
        state.chmod(0o700)
    captured = capsys.readouterr()
    assert (status, captured.out, captured.err.count("\n")) == (1, "", 1), captured.err
    assert str(state) in captured.err
    assert "Permission denied" in captured.err


@pytest.mark.parametrize(
    "argv", [("status",), ("get", "vs"), ("analyze",), ("run", "--service", "x", "--port", "1", "ls")]
)
def test_without_a_mesh_the_answer_is_how_to_start_one(
    argv: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command, *rest = argv
    assert cli.run([command, "--state", str(tmp_path), *rest]) == 1
    assert capsys.readouterr().err == f"no mesh runs with state {tmp_path}: start one with `remora up`\n"


def test_a_control_plane_that_is_gone_is_one_line(control: FakeControl, remora: Remora, unused_tcp_port: int) -> None:
    (control.state / "control.json").write_text(json.dumps({"rest": f"https://127.0.0.1:{unused_tcp_port}"}))
    result = remora("status")
    assert result.status == 1
    assert "does not answer" in result.err
    assert result.err.count("\n") == 1


@pytest.mark.parametrize("content", ["{", "[]", ""])
def test_a_damaged_state_is_one_line(control: FakeControl, remora: Remora, content: str) -> None:
    (control.state / "control.json").write_text(content)
    result = remora("status")
    assert (result.status, result.err.count("\n")) == (1, 1)
    assert "is damaged" in result.err


def test_a_token_that_others_can_read_is_refused(control: FakeControl, remora: Remora) -> None:
    (control.state / "admin.token").chmod(0o644)
    result = remora("status")
    assert result.status == 1
    assert "chmod 0600" in result.err


def test_the_mesh_is_asked_directly_whatever_proxy_is_set(
    control: FakeControl, remora: Remora, monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{unused_tcp_port}")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{unused_tcp_port}")
    control.answer("GET", "/v1/resources/vs", {"resources": []})
    assert remora("get", "vs").status == 0


def test_a_reader_that_has_seen_enough_ends_it_quietly(control: FakeControl) -> None:
    proxies = [{"workload": "x" * 100_000, "state": "synced"}] * 20
    control.answer("GET", "/v1/status", {"version": "1", "proxies": proxies})
    process = subprocess.Popen(
        [sys.executable, "-m", "remora", "status", "--state", str(control.state), "-o", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    deadline = time.monotonic() + 30
    assert process.wait(timeout=deadline - time.monotonic()) == 0
    assert process.stderr.read() == ""
    process.stderr.close()


@pytest.mark.parametrize("argv", [("--help",), ("--version",), ("apply", "--help")])
@pytest.mark.parametrize(
    ("redirect", "said"),
    [
        pytest.param("| true", "", id="a reader that is gone"),
        pytest.param(">&-", "", id="none at all"),
        pytest.param("> /dev/full", "remora: cannot write to standard output: No space left on device\n", id="full"),
    ],
)
def test_an_output_that_takes_nothing_is_no_traceback(argv: tuple[str, ...], redirect: str, said: str) -> None:
    result = subprocess.run(
        ["sh", "-c", f'"$0" -m remora "$@" {redirect}', sys.executable, *argv],
        stderr=subprocess.PIPE, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.stderr == said


@pytest.mark.parametrize("name", COMMANDS)
def test_no_flag_s_help_asks_for_a_value(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert "--help" in text
    assert "<bool>" not in text
