"""What `remora up --grafana` does at the start, with a Grafana and without."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from remora.grafana import Target
from remora.up.grafana import Grafana, push_at_start
from tests.dashboards.grafana.fake_grafana import TOKEN, FakeGrafana, RunningGrafana


@pytest.fixture
def grafana() -> Iterator[RunningGrafana]:
    running = RunningGrafana(FakeGrafana())
    yield running
    running.close()


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN)
    path.chmod(0o600)
    return path


def test_everything_is_pushed_once_and_told_in_a_line(grafana: RunningGrafana, token: Path) -> None:
    said: list[str] = []
    wanted = Grafana(Target(grafana.url, token), prometheus="http://127.0.0.1:9090")
    push_at_start(wanted, "http://127.0.0.1:16686", said.append)
    assert said == [f"Grafana {grafana.url}: 9 created"]
    assert set(grafana.state.sources) == {"remora-prometheus", "remora-jaeger"}
    push_at_start(wanted, "http://127.0.0.1:16686", said.append)
    assert said[1] == f"Grafana {grafana.url}: 9 unchanged"


def test_a_conflict_has_a_line_of_its_own(grafana: RunningGrafana, token: Path) -> None:
    said: list[str] = []
    wanted = Grafana(Target(grafana.url, token))
    push_at_start(wanted, "http://127.0.0.1:16686", said.append)
    grafana.state.dashboards["remora-mesh"].provisioned = True
    push_at_start(wanted, "http://127.0.0.1:16686", said.append)
    assert "dashboard Remora / Mesh is not written: it comes from a file" in said[1]
    assert said[2] == f"Grafana {grafana.url}: 7 unchanged"


def test_a_grafana_that_is_not_there_is_said_and_nothing_else(tmp_path: Path) -> None:
    said: list[str] = []
    push_at_start(Grafana(Target("http://127.0.0.1:1")), "http://127.0.0.1:16686", said.append)
    (line,) = said
    assert line.startswith("Grafana: cannot reach http://127.0.0.1:1")
    assert line.endswith("later: remora dashboards push")
