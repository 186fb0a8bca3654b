"""The importable file: current, whole, and of fields that the exporter's mapping has."""

import json
from pathlib import Path
from typing import Any

import pytest

from collectors.exporters.elasticsearch.templates import Retention, pieces
from dashboards.kibana.__main__ import GENERATED, main
from dashboards.kibana.content import objects
from dashboards.kibana.objects import COLUMNS
from tests.dashboards.kibana.fields import fields_of

AGGREGATABLE = {"keyword", "long", "double", "date_nanos", "ip", "boolean"}


def mapped() -> dict[str, str]:
    """Type by field."""
    found: dict[str, str] = {}

    def walk(properties: dict[str, Any], path: str) -> None:
        for name, field in properties.items():
            if "properties" in field:
                walk(field["properties"], f"{path}{name}.")
            else:
                found[path + name] = field["type"] if field.get("index", True) else "not searched"

    for piece in pieces(Retention("none", 0, 0, 0), shards=None, replicas=None):
        walk(piece.body.get("template", {}).get("mappings", {}).get("properties", {}), "")
    return found


def test_the_committed_file_is_current() -> None:
    assert main(["--check"]) == 0, "run python -m dashboards.kibana"


def test_a_file_that_is_not_current_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = tmp_path / "old.ndjson"
    for content in (None, "{}\n"):
        if content is not None:
            old.write_text(content)
        assert main(["--check", "--to", str(old)]) == 1
        assert "is not current: run python -m dashboards.kibana" in capsys.readouterr().err
    assert main(["--to", str(old)]) == 0
    assert old.read_bytes() == GENERATED.read_bytes()


def test_each_line_is_an_object_and_the_last_counts_them() -> None:
    *found, summary = [json.loads(line) for line in GENERATED.read_text().splitlines()]
    assert [each["type"] for each in found] == ["index-pattern", "search", "search", "dashboard"]
    assert summary["exportedCount"] == len(found)


def test_every_reference_leads_to_an_object_of_the_file_and_is_used() -> None:
    known = {(each["type"], each["id"]) for each in objects()}
    for each in objects():
        for reference in each["references"]:
            assert (reference["type"], reference["id"]) in known
    board = objects()[-1]
    panels = {panel["panelIndex"]: panel for panel in json.loads(board["attributes"]["panelsJSON"])}
    for reference in board["references"]:
        index, _, name = reference["name"].partition(":")
        panel = panels[index]
        if reference["type"] == "search":
            assert panel["panelRefName"] == name
        else:
            inner = panel["embeddableConfig"]["attributes"]["references"]
            assert [each["name"] for each in inner] == [name]
    assert len(board["references"]) == len(panels)


def test_panels_lie_side_by_side() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(objects()[-1]["attributes"]["panelsJSON"]):
        place = panel["gridData"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= COLUMNS
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["title"]


def test_every_field_is_in_the_mapping_and_counted_fields_can_be() -> None:
    types = mapped()
    shown, counted = fields_of(objects())
    assert shown | counted <= types.keys()
    assert {field: types[field] for field in counted if types[field] not in AGGREGATABLE} == {}


def test_columns_of_every_layer_are_drawn_and_ordered_by_columns_that_there_are() -> None:
    for panel in json.loads(objects()[-1]["attributes"]["panelsJSON"]):
        attributes = panel["embeddableConfig"].get("attributes")
        if attributes is None:
            continue
        (layer,) = attributes["state"]["datasourceStates"]["formBased"]["layers"].values()
        assert sorted(layer["columnOrder"]) == sorted(layer["columns"])
        buckets = [layer["columns"][column]["isBucketed"] for column in layer["columnOrder"]]
        assert buckets == sorted(buckets, reverse=True), "what splits comes first"
        drawn = json.dumps(attributes["state"]["visualization"])
        for column, what in layer["columns"].items():
            assert f'"{column}"' in drawn
            by = what.get("params", {}).get("orderBy")
            assert by is None or by["columnId"] in layer["columns"]
