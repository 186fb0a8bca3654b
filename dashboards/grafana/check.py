"""Whether dashboards are whole: what a person needs at night and a careless edit leaves out. Looks at Grafana's JSON
and not at our types, so that nothing the SDK drops goes unnoticed. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dashboards.grafana.model import Kind

Json = Mapping[str, Any]

_UID = re.compile(r"[a-zA-Z0-9_-]{1,40}\Z")
"""https://grafana.com/docs/grafana/latest/developers/http_api/dashboard/#identifier-id-vs-unique-identifier-uid"""
_USED = re.compile(r"\$\{?([a-zA-Z_]\w*)")
_GRAFANAS_OWN = re.compile(r"__\w+\Z")
_KINDS = frozenset(kind.value for kind in Kind)


def complaints(dashboard: Json) -> list[str]:
    """Every fault, as `TITLE: PANEL: what is missing`; empty when all is well."""
    where = str(dashboard.get("title") or dashboard.get("uid") or "a dashboard without title")
    found = [f"{where}: {fault}" for fault in _of_board(dashboard)]
    ids: set[object] = set()
    for panel in panels(dashboard):
        name = f"{where}: {panel.get('title') or 'panel ' + str(panel.get('id'))}"
        found += [f"{name}: {fault}" for fault in _of_panel(panel)]
        found += [f"{name}: no variable ${used}" for used in sorted(_unknown(panel, dashboard))]
        if panel.get("id") in ids:
            found.append(f"{name}: its id {panel.get('id')} is another's too")
        ids.add(panel.get("id"))
    return found


def panels(dashboard: Json) -> Iterator[Json]:
    """Every panel that draws something, those of closed rows too."""
    for panel in dashboard.get("panels") or ():
        if panel.get("type") == "row":
            yield from panel.get("panels") or ()
        else:
            yield panel


def _of_board(dashboard: Json) -> Iterator[str]:
    for key in ("title", "description"):
        if not str(dashboard.get(key) or "").strip():
            yield f"no {key}"
    if not _UID.match(str(dashboard.get("uid") or "")):
        yield f"its uid {dashboard.get('uid')!r} is none of 1 to 40 letters, digits, - and _"
    if dashboard.get("id") is not None:
        yield "has an id: that is one installation's, and another's dashboard elsewhere"
    for variable in _variables(dashboard):
        for key in ("label", "description"):
            if not variable.get(key):
                yield f"variable {variable.get('name')}: no {key}"


def _of_panel(panel: Json) -> Iterator[str]:
    kind = panel.get("type")
    if kind not in _KINDS:
        yield f"draws as {kind!r}; there are {', '.join(sorted(_KINDS))}"
    for key in ("title", "description"):
        if not str(panel.get(key) or "").strip():
            yield f"no {key}"
    if not panel.get("fieldConfig", {}).get("defaults", {}).get("unit"):
        yield "no unit"
    targets: Sequence[Json] = panel.get("targets") or ()
    if not targets:
        yield "asks nothing"
    for target in targets:
        yield from _of_target(target, kind)
    options = panel.get("options") or {}
    if kind == Kind.LINES.value and not (options.get("legend") or {}).get("showLegend"):
        yield "its legend is not shown"
    if kind == Kind.HEATMAP.value and not (options.get("legend") or {}).get("show"):
        yield "its legend is not shown"
    place = panel.get("gridPos") or {}
    if place.get("x", 0) + place.get("w", 0) > 24:
        yield f"is wider than the page: {place}"


def _of_target(target: Json, kind: object) -> Iterator[str]:
    ref = target.get("refId")
    if not target.get("expr"):
        yield f"query {ref}: no expression"
    if not str(target.get("legendFormat") or "").strip() or target.get("legendFormat") == "__auto":
        yield f"query {ref}: no legend"
    if (target.get("datasource") or {}).get("uid") != "${datasource}":
        yield f"query {ref}: not of the chosen data source"
    if kind == Kind.HEATMAP.value and target.get("format") != "heatmap":
        yield f"query {ref}: format {target.get('format')!r} draws no heat map"


def _variables(dashboard: Json) -> Sequence[Json]:
    found: Sequence[Json] = (dashboard.get("templating") or {}).get("list") or ()
    return found


def _unknown(panel: Json, dashboard: Json) -> set[str]:
    known = {str(variable.get("name")) for variable in _variables(dashboard)}
    used = {
        name
        for target in panel.get("targets") or ()
        for name in _USED.findall(str(target.get("expr")))
        if not _GRAFANAS_OWN.match(name)
    }
    return used - known
