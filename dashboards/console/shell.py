"""The frame around every page: navigation, the mesh's state, the theme, and one place that says what is wrong."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from nicegui import events, ui

from dashboards.console.console import Console
from dashboards.console.control import ControlUnavailable
from dashboards.console.formatting import count
from dashboards.console.palette import DARK, LIGHT, Palette
from dashboards.console.parts import icon_button
from dashboards.console.telemetry import TelemetryUnavailable

REFRESH_S = 2.0
THEME_COOKIE = "remora_theme"

_TABS = (
    ("/", "Graph", "hub"),
    ("/services", "Services", "dns"),
    ("/traces", "Traces", "account_tree"),
    ("/logs", "Logs", "subject"),
    ("/errors", "Errors", "error_outline"),
    ("/rules", "Rules", "rule"),
)

_HEAD = (
    '<link rel="stylesheet" href="/assets/console.css">'
    '<script src="/assets/console.js"></script>'
    '<meta name="referrer" content="no-referrer">'
)


class Frame:
    """One open page: what it looks like, and its regular refresh."""

    def __init__(self, console: Console, title: str) -> None:
        self.console = console
        self._visible = True
        self._troubles: dict[str, str] = {}
        self._refreshes: list[Callable[[], Awaitable[None]]] = []
        self._theme_listeners: list[Callable[[], None]] = []
        self._size_listeners: list[Callable[[], None]] = []
        self.width, self.height = 1280, 800
        """Of the browser's window, once it said so."""
        theme = ui.context.client.request.cookies.get(THEME_COOKIE)
        self._theme = ui.dark_mode({"dark": True, "light": False}.get(theme or ""))
        self._dark = self._theme.value is True
        ui.page_title(f"{title} · Remora")
        ui.add_head_html(_HEAD)
        self._header(title)
        self._banner = ui.element("div").classes("banner hidden").props('role="status"')
        with self._banner:
            ui.icon("cloud_off")
            self._trouble = ui.label()
        self.body = ui.element("main").classes("page")
        ui.on("viewport", self._resized)
        ui.on("visible", self._seen)
        ui.on("theme", self._theme_switched)

    @property
    def palette(self) -> Palette:
        """Colours of the present theme."""
        return DARK if self._dark else LIGHT

    @property
    def dark(self) -> bool:
        """Whether the browser shows the dark theme, as far as known."""
        return self._dark

    def on_theme(self, listener: Callable[[], None]) -> None:
        """Call when dark changes to light or back."""
        self._theme_listeners.append(listener)

    def on_size(self, listener: Callable[[], None]) -> None:
        """Call when the window has another size."""
        self._size_listeners.append(listener)

    async def live(self, refresh: Callable[[], Awaitable[None]], *, every_s: float = REFRESH_S) -> None:
        """Refresh now, and again and again while someone looks; what the sources cannot answer goes to the banner."""
        guarded = self._guarded(refresh)
        await guarded()
        self._refreshes.append(guarded)

        async def tick() -> None:
            if self._visible:
                await guarded()

        ui.timer(every_s, tick, immediate=False)

    async def once(self, action: Callable[[], Awaitable[None]]) -> None:
        """Do it now, with the same care."""
        await self._guarded(action)()

    async def measure(self) -> None:
        """Learn the window's size and theme; returns when the browser is connected and has answered."""
        await ui.context.client.connected()
        found = await ui.run_javascript(
            "[window.innerWidth, window.innerHeight, document.body.classList.contains('body--dark')]", timeout=5.0
        )
        self._take(*found)

    def _guarded(self, action: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            name = getattr(action, "__qualname__", repr(action))
            try:
                await action()
            except (TelemetryUnavailable, ControlUnavailable) as error:
                self._say(name, str(error))
            else:
                self._say(name, "")

        return run

    def _say(self, source: str, text: str) -> None:
        if self._troubles.get(source, "") == text:
            return
        self._troubles[source] = text
        shown = " ".join(dict.fromkeys(text for text in self._troubles.values() if text))
        self._trouble.set_text(f"{shown} This page goes on by itself when it is back." if shown else "")
        self._banner.classes(remove="hidden") if shown else self._banner.classes("hidden")

    def _header(self, active: str) -> None:
        with ui.element("header").classes("bar"):
            with ui.link(target="/").classes("brand"):
                ui.element("img").props('src="/assets/remora.svg" alt=""')
                ui.label("Remora")
            with ui.element("nav").classes("row-line grow").props('aria-label="Pages"'):
                for path, title, icon in _TABS:
                    with ui.link(target=path).classes("tab" + (" active" if title == active else "")):
                        ui.icon(icon)
                        ui.label(title)
            self._state = ui.link("connecting", "/rules#proxies").classes("mesh-state")
            icon_button("contrast", "Switch between dark and light").on(
                "click", js_handler="() => remora.switchTheme()"
            )

    async def show_mesh_state(self) -> None:
        """Ask the control plane how the proxies are; the header says it in a few words."""
        try:
            status = await self.console.control.status()
        except ControlUnavailable:
            self._state.set_text("control plane unreachable")
            self._state.classes(remove="ok warn", add="bad")
            return
        rejected, disconnected = status.count("rejected"), status.count("disconnected")
        synced, total = status.count("synced"), len(status.proxies)
        if rejected:
            text, kind = f"{count(rejected, 'proxy').replace('proxys', 'proxies')} rejected the rules", "bad"
        elif not total:
            text, kind = "no proxies yet", "warn"
        elif synced == total:
            text, kind = f"all {total} proxies synced" if total > 1 else "1 proxy synced", "ok"
        else:
            away = f", {disconnected} disconnected" if disconnected else ""
            text, kind = f"{synced} of {total} proxies synced{away}", "warn"
        self._state.set_text(text)
        self._state.classes(remove="ok warn bad", add=kind)

    def _theme_switched(self, event: events.GenericEventArguments) -> None:
        dark = isinstance(event.args, dict) and event.args.get("dark") is True
        # The element, too, which would otherwise put back what it was made with.
        self._dark = self._theme.value = dark
        for listener in self._theme_listeners:
            listener()

    def _resized(self, event: events.GenericEventArguments) -> None:
        args: dict[str, Any] = event.args if isinstance(event.args, dict) else {}
        self._take(args.get("width"), args.get("height"), args.get("dark"))

    def _take(self, width: object, height: object, dark: object) -> None:
        """What a browser says of itself: numbers within reason, or left as it was."""
        changed = False
        if isinstance(width, int | float) and isinstance(height, int | float):
            size = int(min(max(width, 320), 8_000)), int(min(max(height, 240), 8_000))
            changed = size != (self.width, self.height)
            self.width, self.height = size
        if self._theme.value is None and isinstance(dark, bool) and dark != self._dark:
            self._dark = dark
            changed = True
        if changed:
            for listener in self._size_listeners:
                listener()

    async def _seen(self, event: events.GenericEventArguments) -> None:
        self._visible = not (isinstance(event.args, dict) and event.args.get("visible") is False)
        if self._visible:
            for refresh in self._refreshes:
                await refresh()


@contextmanager
def frame(console: Console, title: str) -> Iterator[Frame]:
    """Build a page inside: `with frame(console, "Traces") as page:`."""
    page = Frame(console, title)
    ui.timer(REFRESH_S, page.show_mesh_state)
    with page.body:
        yield page
