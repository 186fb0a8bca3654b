"""The boards and the JSON made of them."""

import json
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.grafana.boards import BOARDS
from dashboards.grafana.build import TAG, build, render
from dashboards.grafana.check import complaints, panels
from dashboards.grafana.files import GENERATED, committed, stale, write
from dashboards.grafana.model import Board, Panel

EVERY = pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)


@EVERY
def test_a_board_is_whole(board: Board) -> None:
    assert complaints(build(board)) == []


@EVERY
def test_the_committed_file_is_what_the_code_makes(board: Board) -> None:
    path = GENERATED / f"{board.uid}.json"
    assert path.read_text(encoding="utf-8") == render(board), "stale: python -m dashboards.grafana"


def test_no_committed_file_is_of_a_board_that_is_gone() -> None:
    assert list(stale()) == []
    assert [dashboard["uid"] for dashboard in committed().values()] == sorted(board.uid for board in BOARDS)


@EVERY
def test_grafanas_own_types_read_it_back_as_it_is(board: Board) -> None:
    """What the SDK's types, made from Grafana's schema, do not know would be lost on the way there and back."""
    content = build(board)
    again = json.loads(json.dumps(Dashboard.from_json(content), cls=JSONEncoder))
    assert again == content


def test_uids_and_titles_are_of_one_board_each() -> None:
    for kind in ("uid", "title"):
        found = [getattr(board, kind) for board in BOARDS]
        assert len(set(found)) == len(found)


def test_the_boards_are_those_that_bookmarks_and_links_name() -> None:
    """A uid that changes breaks every link to the board: this list only grows."""
    assert {board.uid for board in BOARDS} >= {
        "remora-mesh",
        "remora-service",
        "remora-workload",
        "remora-control-plane",
        "remora-collectors",
        "remora-performance",
    }


@EVERY
def test_links_between_boards_lead_to_boards_and_their_variables(board: Board) -> None:
    variables = {each.uid: {variable.name for variable in each.variables} for each in BOARDS}
    for panel in board.panels():
        if panel.link is None:
            continue
        path, _, query = panel.link.address.partition("?")
        uid = path.removeprefix("/d/")
        assert uid in variables, panel.title
        named = [part.split("=")[0].removeprefix("var-") for part in query.split("&") if part.startswith("var-")]
        assert set(named) <= variables[uid], panel.title


@EVERY
def test_a_link_takes_only_labels_that_every_series_of_its_panel_has(board: Board) -> None:
    """Grafana would leave `${__field.labels.NAME}` empty, and the board would open with everything chosen."""
    for panel in board.panels():
        for label in _labels_of(panel.link.address) if panel.link is not None else ():
            for query in panel.queries:
                assert label in query.expr or label in query.legend, f"{panel.title}: {label}"


def _labels_of(link: str) -> list[str]:
    parts = link.replace("${__data.fields.", "${__field.labels.").split("${__field.labels.")[1:]
    return [part.split("}")[0] for part in parts]


@EVERY
def test_panels_fit_beside_each_other(board: Board) -> None:
    cells: set[tuple[int, int]] = set()
    for panel in _open_panels(build(board)):
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in cells, f"{panel['title']} covers another"
                cells.add((x, y))


def _open_panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return list(dashboard["panels"])


@EVERY
def test_a_row_leaves_no_empty_place(board: Board) -> None:
    for row in board.rows:
        line = 0
        for panel in row.panels:
            line = panel.width if line + panel.width > 24 else line + panel.width
        assert line == 24, f"{row.title}: its last line is {line} wide"


def test_every_board_leads_to_the_others() -> None:
    for dashboard in committed().values():
        assert dashboard["tags"] == [TAG]
        assert [(link["type"], link["tags"], link["keepTime"]) for link in dashboard["links"]] == [
            ("dashboards", [TAG], True)
        ]


def test_latencies_have_exemplars_and_rates_have_none() -> None:
    for board in BOARDS:
        for panel, query in board.queries():
            if query.exemplars:
                assert "_bucket" in query.expr, f"{board.title}: {panel.title}: only buckets have exemplars"
    assert any(query.exemplars for board in BOARDS for _, query in board.queries())


def test_a_number_that_may_be_empty_says_why() -> None:
    for board in BOARDS:
        for panel, query in board.queries():
            assert query.may_be_empty == "" or len(query.may_be_empty.split()) > 2, panel.title


def test_writing_twice_changes_nothing(tmp_path: Any) -> None:
    assert len(write(tmp_path)) == len(BOARDS)
    assert write(tmp_path) == []
    (tmp_path / "remora-gone.json").write_text("{}")
    (tmp_path / "of-a-user.json").write_text("{}")
    assert [path.name for path in write(tmp_path)] == ["remora-gone.json"]
    assert (tmp_path / "of-a-user.json").exists()


def test_panels_of_closed_rows_are_checked_too() -> None:
    inner = {"id": 3, "type": "stat", "title": "inner"}
    found = list(panels({"panels": [{"type": "row", "panels": [inner]}, {"id": 4, "type": "stat"}]}))
    assert [panel["id"] for panel in found] == [3, 4]


def test_both_reporters_are_beside_each_other_on_the_service_board() -> None:
    service = next(board for board in BOARDS if board.uid == "remora-service")
    both: list[Panel] = [
        panel
        for panel in service.panels()
        if {'reporter="source"', 'reporter="destination"'}
        <= {f'reporter="{side}"' for query in panel.queries for side in ("source", "destination") if side in query.expr}
    ]
    assert {panel.title for panel in both} >= {"Requests", "Success", "Latency at the quantile"}
