"""The console's pages, one module each; `register` makes the framework serve them."""

from dashboards.console.console import Console
from dashboards.console.pages import errors, graph, logs, missing, rules, services, trace, traces

PAGES = (graph, services, traces, trace, logs, errors, rules, missing)


def register(console: Console) -> None:
    """Serve every page for `console`."""
    for page in PAGES:
        page.register(console)
