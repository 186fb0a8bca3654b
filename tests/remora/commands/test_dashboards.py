"""`remora dashboards`, as a user types it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from remora import cli
from tests.dashboards.grafana.fake_grafana import TOKEN, FakeGrafana, RunningGrafana

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*argv: str) -> tuple[int, str, str]:
        status = cli.run(("dashboards", *argv))
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return command


@pytest.fixture
def grafana() -> Iterator[RunningGrafana]:
    running = RunningGrafana(FakeGrafana())
    yield running
    running.close()


@pytest.fixture
def token(tmp_path: Path) -> str:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o600)
    return str(path)


def test_a_push_shows_what_became_of_each_thing(run: Run, grafana: RunningGrafana, token: str) -> None:
    argv = ("push", "--grafana", grafana.url, "--token-file", token, "--prometheus", "http://prometheus:9090")
    status, out, err = run(*argv)
    assert (status, err) == (0, "")
    assert out.count("created") == 8
    status, out, _ = run(*argv, "-o", "json")
    assert status == 0
    assert {(each["kind"], each["action"]) for each in json.loads(out)} == {
        ("data source", "unchanged"),
        ("folder", "unchanged"),
        ("dashboard", "unchanged"),
    }


def test_a_conflict_is_exit_status_1_and_says_how_to_go_on(run: Run, grafana: RunningGrafana, token: str) -> None:
    argv = ("push", "--grafana", grafana.url, "--token-file", token, "--folder", "Mesh")
    run(*argv)
    saved = grafana.state.dashboards["remora-mesh"]
    saved.messages[:] = ["remora dashboards push " + "0" * 32]  # of an older release
    grafana.state.edit("remora-mesh", title="Ours")
    status, out, _ = run(*argv)
    assert status == 1
    line = next(line for line in out.splitlines() if "conflict" in line)
    assert "remora-mesh" in line
    assert "ada" in line
    assert "--overwrite" in line
    assert run(*argv, "--overwrite")[0] == 0
    assert saved.content["title"] == "Remora / Mesh"


def test_a_token_file_that_others_can_read_is_refused(run: Run, grafana: RunningGrafana, token: str) -> None:
    Path(token).chmod(0o644)
    status, out, err = run("push", "--grafana", grafana.url, "--token-file", token)
    assert (status, out) == (1, "")
    assert err.startswith("--token-file: ")
    assert TOKEN not in err
    assert grafana.state.asked == []


@pytest.mark.parametrize(
    ("content", "wanted"),
    [(b"", "this is no token"), (b"two words", "this is no token"), (b"\xff", "this is no token"), (None, "No such")],
    ids=["empty", "two words", "not text", "not there"],
)
def test_what_is_no_token_is_refused(
    run: Run, grafana: RunningGrafana, token: str, content: bytes | None, wanted: str
) -> None:
    if content is None:
        Path(token).unlink()
    else:
        Path(token).write_bytes(content)
    status, _, err = run("push", "--grafana", grafana.url, "--token-file", token)
    assert status == 1
    assert wanted in err
    assert grafana.state.asked == []


def test_a_wrong_token_is_one_line_without_the_token(run: Run, grafana: RunningGrafana, token: str) -> None:
    Path(token).write_text("glsa_other")
    status, out, err = run("push", "--grafana", grafana.url, "--token-file", token)
    assert (status, out) == (1, "")
    assert err == f"Grafana: {grafana.url} does not know the token (401): --token-file with a service account's token\n"


def test_a_server_that_is_no_grafana_gets_nothing(run: Run, grafana: RunningGrafana, token: str) -> None:
    grafana.state.prefix = "/elsewhere"
    root = grafana.url.removesuffix("/elsewhere")
    status, _, err = run("push", "--grafana", root, "--token-file", token)
    assert status == 1
    assert "does not answer as a Grafana does" in err
    assert grafana.state.writes == []


@pytest.mark.parametrize(
    ("argv", "wanted"),
    [
        (("push",), "--grafana"),
        (("push", "--grafana", "http://x:1", "--prometheus", "x:9090"), "'x:9090' is no address"),
        (("push", "--grafana", "http://x:1", "--scrape-interval", "often"), "'often' is no length of time"),
        (("build",), "DIR"),
        (("build", "/nonexistent", "--folder", "//"), "is no title for a folder"),
        (("check", "--prometheus", "http://x:1", "--window", "wide"), "'wide' is no length of time"),
    ],
)
def test_wrong_use_is_exit_status_2(run: Run, argv: tuple[str, ...], wanted: str) -> None:
    status, out, err = run(*argv)
    assert (status, out) == (2, "")
    assert wanted in err


def test_build_writes_files_and_says_which(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "grafana"
    argv = ("build", str(target), "--prometheus", "http://prometheus:9090", "--path", "/dashboards")
    status, out, _ = run(*argv)
    assert status == 0
    written = sorted(path for path in target.rglob("*") if path.is_file())
    assert sorted(out.split()) == [str(path) for path in written]
    assert len(written) == 8
    assert "path: /dashboards" in (target / "provisioning/dashboards/remora.yaml").read_text()
    assert run(*argv)[:2] == (0, "")


def test_build_into_a_place_that_cannot_be_written_is_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    status, _, err = run("build", str(tmp_path / "file"))
    assert status == 1
    assert err.startswith("cannot write ")
    assert err.count("\n") == 1


def test_check_says_that_all_is_well(run: Run) -> None:
    assert run("check") == (0, "6 dashboards: no fault\n", "")


def test_check_without_the_prometheus_that_it_was_given_fails(run: Run) -> None:
    status, _, err = run("check", "--prometheus", "http://127.0.0.1:1")
    assert status == 1
    assert err.startswith("no answer of Prometheus: http://127.0.0.1:1: ")
