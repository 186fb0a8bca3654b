"""Kibana's saved objects as its import takes them, of the versions that Kibana 8.9 wrote: later ones migrate them.
https://www.elastic.co/docs/explore-analyze/find-and-organize/saved-objects

Ids are words, and stay: importing again replaces what is there and keeps links whole.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]

_CORE = "8.8.0"
_VERSIONS = {"index-pattern": "8.0.0", "search": "8.0.0", "dashboard": "8.9.0"}

COLUMNS = 48
"""The width of a dashboard, in Kibana's units."""


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel with its place: columns of 48, rows of some 20 pixels."""

    title: str
    x: int
    y: int
    width: int
    height: int
    content: "Lens | SearchOf"


@dataclass(frozen=True, slots=True)
class SearchOf:
    """The panel shows a saved search."""

    id: str


@dataclass(frozen=True, slots=True)
class Lens:
    """A visualization by value: one layer of columns, each under an id, and how it is drawn."""

    kind: str
    """`lnsXY`, `lnsDatatable` or `lnsMetric`."""
    query: str
    """KQL."""
    columns: dict[str, Object]
    drawn: Object
    """With `LAYER` where the layer's id goes."""


LAYER = "layer"


def data_view(id_: str, name: str, pattern: str, formats: dict[str, Object]) -> Object:
    """`formats`: by field."""
    attributes = {
        "title": pattern,
        "name": name,
        "timeFieldName": "@timestamp",
        "fieldFormatMap": _text(formats),
        "fieldAttrs": "{}",
        "fields": "[]",
        "runtimeFieldMap": "{}",
        "sourceFilters": "[]",
        "allowHidden": False,
    }
    return _object("index-pattern", id_, attributes, [])


def search(id_: str, title: str, description: str, view: str, query: str, columns: Sequence[str]) -> Object:
    """A saved search, newest first. `query` is KQL."""
    name = "kibanaSavedObjectMeta.searchSourceJSON.index"
    source = {"query": {"query": query, "language": "kuery"}, "filter": [], "indexRefName": name}
    attributes = {
        "title": title,
        "description": description,
        "columns": list(columns),
        "sort": [["@timestamp", "desc"]],
        "grid": {},
        "hideChart": False,
        "isTextBasedQuery": False,
        "timeRestore": False,
        "kibanaSavedObjectMeta": {"searchSourceJSON": _text(source)},
    }
    return _object("search", id_, attributes, [_reference(name, "index-pattern", view)])


def dashboard(id_: str, title: str, description: str, view: str, panels: Iterable[Panel]) -> Object:
    """The last hour, refreshed twice a minute."""
    made: list[Object] = []
    references: list[Object] = []
    for number, panel in enumerate(panels, start=1):
        index = str(number)
        place = {"x": panel.x, "y": panel.y, "w": panel.width, "h": panel.height, "i": index}
        common = {"panelIndex": index, "gridData": place, "title": panel.title}
        if isinstance(panel.content, SearchOf):
            name = f"panel_{index}"
            made.append({**common, "type": "search", "embeddableConfig": {"enhancements": {}}, "panelRefName": name})
            references.append(_reference(f"{index}:{name}", "search", panel.content.id))
        else:
            reference = _reference(f"indexpattern-datasource-layer-{LAYER}", "index-pattern", view)
            config = {"enhancements": {}, "attributes": _lens(panel.content, reference)}
            made.append({**common, "type": "lens", "embeddableConfig": config})
            references.append({**reference, "name": f"{index}:{reference['name']}"})
    options = {
        "useMargins": True,
        "syncColors": True,
        "syncCursor": True,
        "syncTooltips": False,
        "hidePanelTitles": False,
    }
    attributes = {
        "title": title,
        "description": description,
        "panelsJSON": _text(made),
        "optionsJSON": _text(options),
        "timeRestore": True,
        "timeFrom": "now-1h",
        "timeTo": "now",
        "refreshInterval": {"pause": False, "value": 30_000},
        "version": 1,
        "kibanaSavedObjectMeta": {
            "searchSourceJSON": _text({"query": {"query": "", "language": "kuery"}, "filter": []})
        },
    }
    return _object("dashboard", id_, attributes, references)


def render(objects: Sequence[Object]) -> str:
    """The file: one object a line, and what an export says at its end."""
    summary = {
        "excludedObjects": [],
        "excludedObjectsCount": 0,
        "exportedCount": len(objects),
        "missingRefCount": 0,
        "missingReferences": [],
    }
    return "".join(_text(each) + "\n" for each in (*objects, summary))


def _lens(lens: Lens, reference: Object) -> Object:
    layer = {"columns": lens.columns, "columnOrder": list(lens.columns), "incompleteColumns": {}, "sampling": 1}
    return {
        "title": "",
        "type": "lens",
        "visualizationType": lens.kind,
        "references": [reference],
        "state": {
            "datasourceStates": {"formBased": {"layers": {LAYER: layer}}},
            "visualization": lens.drawn,
            "query": {"query": lens.query, "language": "kuery"},
            "filters": [],
            "internalReferences": [],
            "adHocDataViews": {},
        },
    }


def _object(kind: str, id_: str, attributes: Object, references: list[Object]) -> Object:
    return {
        "type": kind,
        "id": id_,
        "attributes": attributes,
        "references": references,
        "managed": False,
        "coreMigrationVersion": _CORE,
        "typeMigrationVersion": _VERSIONS[kind],
    }


def _reference(name: str, kind: str, id_: str) -> Object:
    return {"name": name, "type": kind, "id": id_}


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
