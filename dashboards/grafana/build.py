"""Boards as Grafana's JSON, by grafana-foundation-sdk. Deterministic: the same boards give the same bytes."""

import json
from collections.abc import Sequence
from typing import Any

from grafana_foundation_sdk.builders import common, dashboard, heatmap, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import heatmap as heatmap_models
from grafana_foundation_sdk.models import prometheus as prometheus_models

from dashboards.grafana.model import Annotation, Board, Kind, Panel, Query, Threshold, Variable

TAG = "remora"
"""On every dashboard: their list of each other is made by it."""
_SOURCE = common_models.DataSourceRef(type_val="prometheus", uid="${datasource}")

_Drawn = timeseries.Panel | stat.Panel | heatmap.Panel | table.Panel


def build(board: Board) -> dict[str, Any]:
    """The dashboard as Grafana's HTTP API and provisioning take it."""
    built = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags([TAG])
        .time(board.home, "now")
        .timezone("browser")
        .refresh("30s")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .timepicker(dashboard.TimePicker().refresh_intervals(["5s", "10s", "30s", "1m", "5m"]))
        .link(_others())
        .with_variable(_data_source())
    )
    for variable in board.variables:
        built.with_variable(_variable(variable))
    for annotation in board.annotations:
        built.annotation(_annotation(annotation))
    for row in board.rows:
        heading = dashboard.Row(row.title)
        if row.collapsed:
            heading.collapsed(True)
            for panel in row.panels:
                heading.with_panel(_panel(panel))
            built.with_row(heading)
        else:
            built.with_row(heading)
            for panel in row.panels:
                built.with_panel(_panel(panel))
    content: dict[str, Any] = json.loads(json.dumps(built.build(), cls=JSONEncoder))
    _number(content["panels"])
    return content


def render(board: Board) -> str:
    """The committed file's text."""
    return json.dumps(build(board), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _number(panels: Sequence[dict[str, Any]]) -> None:
    """Ids by place, so that a link to one panel holds as long as the panels above it stay."""
    number = 0
    for outer in panels:
        for panel in (outer, *(outer.get("panels") or ())):
            number += 1
            panel["id"] = number


def _others() -> dashboard.DashboardLink:
    return (
        dashboard.DashboardLink("Remora")
        .type(models.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(True)
        .keep_time(True)
        .include_vars(True)
        .icon("external link")
        .tooltip("The mesh's other dashboards")
    )


def _data_source() -> dashboard.DatasourceVariable:
    return (
        dashboard.DatasourceVariable("datasource")
        .label("Data source")
        .description("The Prometheus that scrapes the mesh")
        .type("prometheus")
        .multi(False)
        .include_all(False)
    )


def _variable(variable: Variable) -> dashboard.QueryVariable | dashboard.CustomVariable:
    if variable.values:
        chosen = models.VariableOption(selected=True, text=variable.default, value=variable.default)
        return (
            dashboard.CustomVariable(variable.name)
            .label(variable.title)
            .description(variable.description)
            .values(",".join(variable.values))
            .current(chosen)
            .options(
                [
                    models.VariableOption(selected=value == variable.default, text=value, value=value)
                    for value in variable.values
                ]
            )
            .multi(False)
            .include_all(False)
        )
    built = (
        dashboard.QueryVariable(variable.name)
        .label(variable.title)
        .description(variable.description)
        .datasource(_SOURCE)
        .query({"query": variable.query, "refId": f"variable-{variable.name}", "qryType": 1})
        .definition(variable.query)
        .regex(variable.keep)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(variable.multi)
        .include_all(variable.multi)
    )
    if variable.multi:
        # "All" is every value that there ever will be, not a list of today's that a URL could not hold.
        built.all_value(".*").current(models.VariableOption(selected=True, text=["All"], value=["$__all"]))
    return built


def _annotation(annotation: Annotation) -> dashboard.AnnotationQuery:
    return (
        dashboard.AnnotationQuery()
        .name(annotation.name)
        .datasource(_SOURCE)
        .enable(True)
        .icon_color(annotation.color)
        .expr(annotation.expr)
        .step("60s")
        .title_format(annotation.title)
        .text_format("")
    )


def _panel(panel: Panel) -> _Drawn:
    match panel.kind:
        case Kind.LINES:
            return _lines(panel)
        case Kind.NUMBER:
            return _single(panel)
        case Kind.HEATMAP:
            return _heatmap(panel)
        case Kind.TABLE:
            return _table(panel)


def _place(drawn: Any, panel: Panel) -> None:
    """What all kinds have in common. The SDK's builders share these methods, but no type that says so."""
    drawn.title(panel.title).description(panel.description).datasource(_SOURCE)
    drawn.span(panel.width).height(panel.height).unit(panel.unit)
    for index, query in enumerate(panel.queries):
        drawn.with_target(_target(query, index, panel.kind))
    if panel.minimum is not None:
        drawn.min(panel.minimum)
    if panel.maximum is not None:
        drawn.max(panel.maximum)
    if panel.decimals is not None:
        drawn.decimals(panel.decimals)
    if panel.thresholds:
        drawn.thresholds(_thresholds(panel.thresholds))
    if panel.link is not None:
        drawn.data_links([dashboard.DashboardLink(panel.link.title).url(panel.link.address)])


def _target(query: Query, index: int, kind: Kind) -> prometheus.Dataquery:
    target = (
        prometheus.Dataquery()
        .expr(query.expr)
        .legend_format(query.legend)
        .ref_id(chr(ord("A") + index))
        .editor_mode(prometheus_models.QueryEditorMode.CODE)
        .datasource(_SOURCE)
    )
    if kind is Kind.TABLE:
        return target.instant().format(prometheus_models.PromQueryFormat.TABLE)
    target.range().exemplar(query.exemplars)
    if kind is Kind.HEATMAP:
        return target.format(prometheus_models.PromQueryFormat.HEATMAP)
    return target.format(prometheus_models.PromQueryFormat.TIME_SERIES)


def _thresholds(steps: tuple[Threshold, ...]) -> dashboard.ThresholdsConfig:
    return (
        dashboard.ThresholdsConfig()
        .mode(models.ThresholdsMode.ABSOLUTE)
        .steps([models.Threshold(value=step.value, color=step.color) for step in steps])
    )


def _lines(panel: Panel) -> timeseries.Panel:
    drawn = timeseries.Panel()
    _place(drawn, panel)
    drawn.line_width(1).fill_opacity(30 if panel.stacked else 8).show_points(common_models.VisibilityMode.NEVER)
    drawn.span_nulls(False)
    if panel.stacked:
        drawn.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL).group("A"))
    drawn.legend(
        common.VizLegendOptions()
        .display_mode(common_models.LegendDisplayMode.TABLE)
        .placement(common_models.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(["mean", "max", "lastNotNull"])
        .sort_by("Max")
        .sort_desc(True)
    )
    return drawn.tooltip(
        common.VizTooltipOptions()
        .mode(common_models.TooltipDisplayMode.MULTI)
        .sort(common_models.SortOrder.DESCENDING)
        .hide_zeros(True)
    )


def _single(panel: Panel) -> stat.Panel:
    drawn = stat.Panel()
    _place(drawn, panel)
    return (
        drawn.graph_mode(common_models.BigValueGraphMode.AREA)
        .color_mode(common_models.BigValueColorMode.VALUE)
        .text_mode(common_models.BigValueTextMode.AUTO)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
        .no_value("none")
    )


def _heatmap(panel: Panel) -> heatmap.Panel:
    drawn = heatmap.Panel()
    _place(drawn, panel)
    return (
        drawn.calculate(False)
        .cell_gap(1)
        .color(
            heatmap.HeatmapColorOptions()
            .mode(heatmap_models.HeatmapColorMode.SCHEME)
            .scheme("Spectral")
            .scale(heatmap_models.HeatmapColorScale.EXPONENTIAL)
            .exponent(0.5)
            .steps(64)
            .reverse(True)
        )
        .y_axis(heatmap.YAxisConfig().unit(panel.unit).axis_placement(common_models.AxisPlacement.LEFT))
        .show_legend()
        .exemplars_color("rgba(255,0,255,0.7)")
    )


def _table(panel: Panel) -> table.Panel:
    drawn = table.Panel()
    _place(drawn, panel)
    drawn.filterable(True).with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
    hidden = {"Time": True}
    names = {f"Value #{chr(ord('A') + index)}": query.column for index, query in enumerate(panel.queries)}
    if len(panel.queries) == 1:
        names = {"Value": panel.queries[0].column}
    drawn.with_transformation(
        models.DataTransformerConfig(
            id_val="organize", options={"excludeByName": hidden, "renameByName": names, "indexByName": {}}
        )
    )
    for column, unit in panel.units:
        drawn.override_by_name(column, [models.DynamicConfigValue(id_val="unit", value=unit)])
    return drawn.sort_by([common.TableSortByFieldState().display_name(panel.queries[0].column).desc(True)])
