"""The fields that Kibana's objects name."""

import json
import re
from typing import Any


def fields_of(objects: list[dict[str, Any]]) -> tuple[set[str], set[str]]:
    """Those that are shown or asked for, and those that are counted or split by."""
    shown: set[str] = set()
    counted: set[str] = set()
    for each in objects:
        attributes = each["attributes"]
        shown |= set(attributes.get("columns", ()))
        shown |= set(json.loads(attributes.get("fieldFormatMap", "{}")))
        for panel in json.loads(attributes.get("panelsJSON", "[]")):
            for layer in _layers(panel):
                counted |= {column["sourceField"] for column in layer["columns"].values()}
    for query in re.findall(r"([a-z_][a-z_.]*[a-z_]) (?::|>=|<=)", json.dumps(objects)):
        shown.add(query)
    return shown, counted - {"___records___"}


def _layers(panel: dict[str, Any]) -> list[dict[str, Any]]:
    attributes = panel["embeddableConfig"].get("attributes")
    if attributes is None:
        return []
    return list(attributes["state"]["datasourceStates"]["formBased"]["layers"].values())
