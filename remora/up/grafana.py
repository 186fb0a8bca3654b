"""Dashboards and data sources into a Grafana once the mesh is up. A Grafana that is away holds no mesh up."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from remora.failure import Failure
from remora.grafana import Target, push_all

FOLDER = "Remora"


@dataclass(frozen=True, slots=True)
class Grafana:
    """What `--grafana` and the flags beside it said."""

    target: Target
    prometheus: str | None = None
    """Who scrapes the mesh, as Grafana reaches it; None: dashboards take whatever Prometheus Grafana knows."""
    elasticsearch: str | None = None
    """Where logs go."""


def push_at_start(grafana: Grafana, jaeger: str, say: Callable[[str], None]) -> None:
    """Blocks for as long as Grafana takes; says in a line what became of it, and one for each conflict."""
    from dashboards.grafana.datasources import Sources
    from dashboards.grafana.push import Action

    sources = Sources(grafana.prometheus, grafana.elasticsearch, jaeger)
    try:
        results = push_all(grafana.target, sources, FOLDER, overwrite=False)
    except Failure as failure:
        for line in failure.lines:
            say(f"{line}: the mesh goes on without its dashboards there; later: remora dashboards push")
        return
    for result in results:
        if result.action is Action.CONFLICT:
            say(f"Grafana: {result.kind} {result.name} is not written: {result.why}")
    counts = Counter(result.action.value for result in results if result.action is not Action.CONFLICT)
    told = ", ".join(f"{number} {action}" for action, number in sorted(counts.items()))
    say(f"Grafana {grafana.target.url}: {told or 'nothing written'}")
