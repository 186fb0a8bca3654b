"""Who runs the rules: every proxy's state as the control plane knows it, with the reason where one refused."""

from nicegui import ui

from dashboards.console.answers import MeshStatus, Proxy
from dashboards.console.formatting import count, duration, shorten

_ORDER = {"rejected": 0, "stale": 1, "disconnected": 2, "synced": 3}


class ProxiesView:
    """The list; built anew only when something in it changed."""

    def __init__(self) -> None:
        ui.html('<h3 class="small">Who runs these rules</h3>', sanitize=False)
        self._version = ui.label().classes("muted")
        self._box = ui.element("div").style("display: flex; flex-direction: column; gap: 8px")
        self._shown: tuple[Proxy, ...] | None = None

    def show(self, status: MeshStatus) -> None:
        """Fill in."""
        version = f"Rules at version {shorten(status.version, 20)}" if status.version else ""
        silent = f"{count(status.silent, 'control plane')} did not answer" if status.silent else ""
        self._version.set_text(" · ".join(filter(None, (version, silent))))
        if status.proxies == self._shown:
            return
        self._shown = status.proxies
        self._box.clear()
        with self._box:
            if not status.proxies:
                ui.label("No sidecar or gateway is connected yet.").classes("muted")
            for proxy in sorted(
                status.proxies, key=lambda one: (_ORDER.get(one.state, 0), one.namespace, one.workload)
            ):
                _show(proxy)


def _show(proxy: Proxy) -> None:
    known = proxy.state if proxy.state in _ORDER else "other"
    with ui.element("div").classes("stat"):
        with ui.element("div").classes("row-line").style("flex-wrap: nowrap"):
            ui.label(proxy.workload).classes("grow").style("font-weight: 500; overflow-wrap: anywhere")
            ui.label(proxy.state).classes(f"tag state-{known}")
        push = f" · last push {duration(proxy.last_push_ms)}" if proxy.last_push_ms is not None else ""
        ui.label(f"{proxy.namespace} · {proxy.kind} · version {proxy.version or 'none'}{push}").classes("what")
        for rejection in proxy.rejections:
            ui.label(f"{rejection.type} {rejection.path}").classes("mono health-failing").style(
                "overflow-wrap: anywhere"
            )
            ui.label(rejection.message).style("overflow-wrap: anywhere; font-size: 12.5px")
