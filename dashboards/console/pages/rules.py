"""The rules page: what is stored, an editor that validates before it applies, and who runs the rules."""

from nicegui import ui

from dashboards.console.answers import Resource
from dashboards.console.console import Console
from dashboards.console.control import Applied, ControlRefused, ControlUnavailable
from dashboards.console.dialogs import ask, ask_to_apply
from dashboards.console.parts import button
from dashboards.console.proxies_view import ProxiesView
from dashboards.console.shell import Frame, frame
from dashboards.console.templates import TEMPLATES
from dashboards.console.violations_view import ViolationsView

FILE_NAME = "editor.yaml"
"""What violations call the editor's text."""

NOT_RULES = frozenset({"Workload"})
"""Listed by the control plane, but registered by their sidecars: not for editing here."""


def register(console: Console) -> None:
    """Serve `/rules`."""

    @ui.page("/rules")
    async def page(kind: str = "", namespace: str = "", name: str = "") -> None:
        with frame(console, "Rules") as around:
            rules = RulesPage(around, (kind, namespace, name))
        await around.live(rules.refresh)
        await around.measure()
        rules.follow_theme()


class RulesPage:
    """One tab's editor."""

    def __init__(self, around: Frame, wanted: tuple[str, str, str]) -> None:
        self._frame = around
        self._wanted = wanted
        self._resources: tuple[Resource, ...] = ()
        self._listed: tuple[tuple[str, str, str], ...] | None = None
        self._chosen: tuple[str, str, str] | None = None
        self._saved = ""
        """The editor's text as it is stored; what differs from it is not saved."""
        with ui.element("div").classes("toolbar"):
            ui.html("<h1>Rules</h1>", sanitize=False)
            with button("New", "primary", lambda: None, icon="add"), ui.menu():
                for template in TEMPLATES:
                    entry = ui.menu_item(on_click=lambda text=template.yaml: self._new(text))
                    with entry, ui.element("div").classes("row-line"):
                        ui.icon(template.icon).classes("muted")
                        ui.label(template.title)
            ui.element("div").classes("grow")
        with ui.element("div").classes("split"):
            self._list = ui.element("nav").classes("card rules-list").props('aria-label="Stored rules"')
            with ui.element("section").classes("card editor"):
                with ui.element("div").classes("head"):
                    self._title = (
                        ui.label("New rule").classes("grow").style("font-weight: 600; overflow-wrap: anywhere")
                    )
                    self._unsaved = ui.label("not applied").classes("tag warn")
                    self._delete = button("Delete", "danger", self._delete_chosen, icon="delete")
                    self._validate = button("Validate", "plain", self._check, icon="fact_check")
                    self._apply = button("Apply…", "primary", self._apply_text, icon="publish")
                self._editor = ui.codemirror(
                    language="YAML", indent="  ", line_wrapping=False, on_change=self._edited
                ).props('aria-label="Rule as YAML"')
                self._violations = ViolationsView(self._editor)
            with ui.element("aside").classes("card panel rules-side").props("id=proxies"):
                self._proxies = ProxiesView()
        self._edited()
        around.on_theme(self.follow_theme)
        around.on_size(self.follow_theme)

    def follow_theme(self) -> None:
        """Light or dark, as the page around."""
        self._editor.theme = "vscodeDark" if self._frame.dark else "vscodeLight"

    async def refresh(self) -> None:
        """The stored rules and the proxies' state. The editor's text is the user's and stays."""
        control = self._frame.console.control
        self._proxies.show(await control.status())
        stored = await control.resources()
        self._resources = tuple(resource for resource in stored if resource.kind not in NOT_RULES)
        self._show_list()
        wanted = next((one for one in self._resources if one.key == self._wanted), None)
        if wanted is not None:
            self._wanted = ("", "", "")
            self._open(wanted)

    def _show_list(self) -> None:
        keys = tuple(resource.key for resource in self._resources)
        if keys == self._listed:
            return
        self._listed = keys
        self._list.clear()
        with self._list:
            if not keys:
                ui.label("No rules yet").style("font-weight: 600; padding: 8px 10px 0")
                ui.label("Start from a template with New, or with: remora apply -f FILE").classes("muted").style(
                    "padding: 4px 10px"
                )
            kind = ""
            for resource in sorted(self._resources, key=lambda resource: resource.key):
                if resource.kind != kind:
                    kind = resource.kind
                    ui.label(kind).classes("group")
                with ui.element("button").classes("rule").props("type=button") as entry:
                    ui.label(resource.name)
                    ui.label(resource.namespace).classes("ns")
                entry.classes("chosen" if resource.key == self._chosen else "")
                entry.on("click", lambda _, key=resource.key: self._choose(key))

    async def _choose(self, key: tuple[str, str, str]) -> None:
        resource = next((one for one in self._resources if one.key == key), None)
        if resource is not None and await self._may_leave():
            self._open(resource)

    async def _new(self, text: str) -> None:
        if await self._may_leave():
            self._put(None, text, saved="")

    async def _may_leave(self) -> bool:
        if self._editor.value == self._saved or not self._editor.value.strip() or self._is_template():
            return True
        return await ask(
            "Leave without applying?", "What you changed in the editor will be lost.", "Leave", danger=True
        )

    def _is_template(self) -> bool:
        return any(self._editor.value == template.yaml for template in TEMPLATES)

    def _open(self, resource: Resource) -> None:
        self._put(resource.key, resource.yaml, saved=resource.yaml)

    def _put(self, key: tuple[str, str, str] | None, text: str, *, saved: str) -> None:
        self._chosen = key
        self._saved = saved
        self._title.set_text(f"{key[0]} {key[1]}/{key[2]}" if key else "New rule")
        self._editor.value = text
        self._violations.clear()
        self._edited()
        self._listed = None
        self._show_list()

    def _edited(self) -> None:
        has_text = bool(self._editor.value.strip())
        self._unsaved.set_visibility(has_text and self._editor.value != self._saved)
        self._delete.set_visibility(self._chosen is not None)
        self._validate.set_enabled(has_text)
        self._apply.set_enabled(has_text)

    async def _check(self) -> Applied | None:
        """Ask what an apply would do; shows what is wrong, at its lines."""
        try:
            applied = await self._frame.console.control.apply(FILE_NAME, self._editor.value, dry_run=True)
        except ControlRefused as error:
            self._violations.show(error.violations)
            return None
        except ControlUnavailable as error:
            ui.notify(str(error), type="negative")
            return None
        self._violations.show(applied.warnings, summary=_summary(applied))
        return applied

    async def _apply_text(self) -> None:
        text = self._editor.value
        planned = await self._check()
        if planned is None or not await ask_to_apply(planned):
            return
        try:
            applied = await self._frame.console.control.apply(FILE_NAME, text, dry_run=False)
        except ControlRefused as error:
            self._violations.show(error.violations)
            return
        except ControlUnavailable as error:
            ui.notify(str(error), type="negative")
            return
        ui.notify(f"Applied: {_summary(applied)}", type="positive")
        self._saved = text
        await self._frame.once(self.refresh)
        if len(applied.changes) == 1:
            change = applied.changes[0]
            stored = next(
                (one for one in self._resources if one.key == (change.kind, change.namespace, change.name)), None
            )
            if stored is not None and self._editor.value == text:
                self._chosen = stored.key
                self._title.set_text(f"{stored.kind} {stored.namespace}/{stored.name}")
                self._listed = None
                self._show_list()
        self._edited()

    async def _delete_chosen(self) -> None:
        if self._chosen is None:
            return
        kind, namespace, name = self._chosen
        question = f"Traffic that {kind} {namespace}/{name} directs goes back to what applies without it, at once."
        if not await ask(f"Delete {name}?", question, "Delete", danger=True):
            return
        try:
            await self._frame.console.control.delete(kind, namespace, name)
        except ControlRefused as error:
            self._violations.show(error.violations)
            return
        except ControlUnavailable as error:
            ui.notify(str(error), type="negative")
            return
        ui.notify(f"Deleted {kind} {namespace}/{name}", type="positive")
        # The text stays, as something that could be applied again.
        self._put(None, self._editor.value, saved="")
        await self._frame.once(self.refresh)


def _summary(applied: Applied) -> str:
    """`1 created, 2 unchanged`."""
    counts: dict[str, int] = {}
    for change in applied.changes:
        counts[change.action] = counts.get(change.action, 0) + 1
    return ", ".join(f"{number} {action}" for action, number in counts.items()) or "nothing to change"
