"""What the check finds: each fault made in a board that is whole."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from dashboards.grafana.check import complaints
from dashboards.grafana.files import committed

Dashboard = dict[str, Any]


@pytest.fixture
def dashboard() -> Dashboard:
    return copy.deepcopy(committed()["remora-mesh.json"])


def _panel(dashboard: Dashboard, title: str) -> Dashboard:
    found: Dashboard = next(panel for panel in dashboard["panels"] if panel.get("title") == title)
    return found


def test_a_whole_one_has_no_fault(dashboard: Dashboard) -> None:
    assert complaints(dashboard) == []


@pytest.mark.parametrize(
    ("spoil", "wanted"),
    [
        pytest.param(lambda panel: panel.update(title=""), "no title", id="a panel without title"),
        pytest.param(lambda panel: panel.update(description=" "), "no description", id="a blank description"),
        pytest.param(lambda panel: panel["fieldConfig"]["defaults"].pop("unit"), "no unit", id="no unit"),
        pytest.param(
            lambda panel: panel["options"]["legend"].update(showLegend=False), "its legend is not shown", id="no legend"
        ),
        pytest.param(lambda panel: panel["options"].pop("legend"), "its legend is not shown", id="no legend at all"),
        pytest.param(lambda panel: panel["targets"][0].update(legendFormat=""), "query A: no legend", id="no name"),
        pytest.param(
            lambda panel: panel["targets"][0].update(legendFormat="__auto"), "query A: no legend", id="Grafana's name"
        ),
        pytest.param(lambda panel: panel["targets"][0].update(expr=""), "query A: no expression", id="no expression"),
        pytest.param(lambda panel: panel.update(targets=[]), "asks nothing", id="no query"),
        pytest.param(
            lambda panel: panel["targets"][0].update(expr="up{job=~'$job'}"), "no variable $job", id="unknown variable"
        ),
        pytest.param(
            lambda panel: panel["targets"][0].update(datasource={"uid": "P1809F7CD0C75ACF3"}),
            "query A: not of the chosen data source",
            id="the data source of one installation",
        ),
        pytest.param(lambda panel: panel.update(type="piechart"), "draws as 'piechart'", id="a kind that is not ours"),
        pytest.param(lambda panel: panel["gridPos"].update(x=20), "is wider than the page", id="too wide"),
        pytest.param(lambda panel: panel.update(id=2), "its id 2 is another's too", id="an id twice"),
    ],
)
def test_a_fault_of_a_panel_is_named_with_the_panel(
    dashboard: Dashboard, spoil: Callable[[Dashboard], object], wanted: str
) -> None:
    panel = _panel(dashboard, "Requests by service")
    spoil(panel)
    found = complaints(dashboard)
    assert len(found) == 1
    assert wanted in found[0]
    assert found[0].startswith("Remora / Mesh: ")
    assert (panel["title"] or f"panel {panel['id']}") in found[0]


@pytest.mark.parametrize(
    ("spoil", "wanted"),
    [
        pytest.param(lambda board: board.update(uid="a b"), "its uid 'a b' is none", id="a uid with a space"),
        pytest.param(lambda board: board.update(uid="x" * 41), "its uid", id="a uid of 41 characters"),
        pytest.param(lambda board: board.update(id=7), "has an id", id="an id"),
        pytest.param(lambda board: board.update(description=""), "no description", id="no description"),
        pytest.param(
            lambda board: board["templating"]["list"][1].pop("label"), "variable namespace: no label", id="no label"
        ),
    ],
)
def test_a_fault_of_the_board_is_named(dashboard: Dashboard, spoil: Callable[[Dashboard], object], wanted: str) -> None:
    spoil(dashboard)
    assert [wanted in fault for fault in complaints(dashboard)] == [True]


def test_a_heat_map_of_plain_series_is_refused(dashboard: Dashboard) -> None:
    panel = _panel(dashboard, "Latency of all requests")
    panel["targets"][0]["format"] = "time_series"
    assert "draws no heat map" in complaints(dashboard)[0]
