"""Panels and marks that several boards have."""

from dashboards.grafana.model import Annotation, Kind, Panel, Query, Threshold

CHANGES = Annotation(
    "Rules changed",
    'sum(changes(pilot_push_triggers{type="rules"}[1m])) > 0',
    "Rules changed",
    "blue",
)
RESTARTS = Annotation(
    "Worker restarted",
    "sum by (namespace, workload) (changes(remora_agent_worker_restarts_total[1m])) > 0",
    "Worker of {{namespace}}/{{workload}} restarted",
    "red",
)


def number(
    title: str,
    description: str,
    unit: str,
    expr: str,
    *,
    may_be_empty: str = "",
    thresholds: tuple[Threshold, ...] = (Threshold(None, "text"),),
    maximum: float | None = None,
    decimals: int | None = None,
    minimum: float | None = 0,
    width: int = 3,
) -> Panel:
    """One value with its recent course."""
    return Panel(
        title,
        description,
        unit,
        (Query(expr, title, may_be_empty),),
        kind=Kind.NUMBER,
        width=width,
        height=4,
        thresholds=thresholds,
        minimum=minimum,
        maximum=maximum,
        decimals=decimals,
    )
