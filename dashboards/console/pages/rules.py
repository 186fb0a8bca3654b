"""The rules page: what is stored, an editor that validates before it applies, and who runs the rules."""

from nicegui import ui

from dashboards.console.answers import Key, Resource, Rule
from dashboards.console.console import Console
from dashboards.console.control import Applied, ControlConflict, ControlRefused, ControlUnavailable
from dashboards.console.dialogs import ask, ask_to_apply
from dashboards.console.parts import button
from dashboards.console.proxies_view import ProxiesView
from dashboards.console.rules_list import ConditionsView, RulesList
from dashboards.console.shell import Frame, frame
from dashboards.console.templates import TEMPLATES
from dashboards.console.violations_view import ViolationsView

FILE_NAME = "editor.yaml"
"""What violations call the editor's text."""
READ_ONLY = (
    "Rules can be read and validated here, not changed. To change them here, install with console.editRules=true; "
    "kubectl changes them in any case."
)
_HOW = {
    True: "Start from a template with New, or with: remora apply -f FILE",
    False: "They come with: kubectl apply -f FILE",
}


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

    def __init__(self, around: Frame, wanted: Key) -> None:
        self._frame = around
        self._wanted = wanted
        self._rules: dict[Key, Rule] = {}
        self._editable = False
        self._chosen: Key | None = None
        self._etag = ""
        """Of the chosen rule as the editor got it."""
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
            self._read_only = ui.label(READ_ONLY).classes("muted read-only")
        with ui.element("div").classes("split"):
            self._list = RulesList(self._choose)
            with ui.element("section").classes("card editor"):
                with ui.element("div").classes("head"):
                    self._title = (
                        ui.label("New rule").classes("grow").style("font-weight: 600; overflow-wrap: anywhere")
                    )
                    self._meanwhile = ui.label("changed meanwhile").classes("tag bad")
                    self._unsaved = ui.label("not applied").classes("tag warn")
                    self._delete = button("Delete", "danger", self._delete_chosen, icon="delete")
                    self._validate = button("Validate", "plain", self._check, icon="fact_check")
                    self._apply = button("Apply…", "primary", self._apply_text, icon="publish")
                self._conditions = ConditionsView()
                self._editor = ui.codemirror(
                    language="YAML", indent="  ", line_wrapping=False, on_change=self._edited
                ).props('aria-label="Rule as YAML"')
                self._violations = ViolationsView(self._editor)
            with ui.element("aside").classes("card panel rules-side").props("id=proxies"):
                self._proxies = ProxiesView()
        self._edited()
        self._read_only.set_visibility(False)
        around.on_theme(self.follow_theme)
        around.on_size(self.follow_theme)

    def follow_theme(self) -> None:
        """Light or dark, as the page around."""
        self._editor.theme = "vscodeDark" if self._frame.dark else "vscodeLight"

    async def refresh(self) -> None:
        """The stored rules and the proxies' state. A text that was edited is the user's and stays; one that was not
        follows what is stored."""
        control = self._frame.console.control
        self._proxies.show(await control.status())
        listed = await control.rules()
        self._rules = {rule.key: rule for rule in listed.rules}
        self._editable = listed.editable
        self._read_only.set_visibility(not listed.editable)
        wanted, self._wanted = self._wanted, ("", "", "")
        if wanted in self._rules:
            await self._open(wanted)
        elif self._chosen in self._rules and self._is_stale() and self._editor.value == self._saved:
            await self._open(self._chosen)
        self._show_list()
        self._edited()

    def _is_stale(self) -> bool:
        """Whether the chosen rule is stored with another text than the editor got, or not any more."""
        if self._chosen is None:
            return False
        rule = self._rules.get(self._chosen)
        return rule is None or rule.etag != self._etag

    def _show_list(self) -> None:
        self._list.set(tuple(self._rules.values()), self._chosen, how=_HOW[self._editable])
        chosen = self._rules.get(self._chosen) if self._chosen is not None else None
        self._conditions.show(chosen.conditions if chosen is not None else ())

    async def _choose(self, key: Key) -> None:
        if await self._may_leave():
            await self._try_to_open(key)

    async def _try_to_open(self, key: Key) -> None:
        try:
            await self._open(key)
        except ControlUnavailable as error:
            ui.notify(str(error), type="negative")

    async def _new(self, text: str) -> None:
        if await self._may_leave():
            self._put(None, text)

    async def _may_leave(self) -> bool:
        if self._editor.value == self._saved or not self._editor.value.strip() or self._is_template():
            return True
        return await ask(
            "Leave without applying?", "What you changed in the editor will be lost.", "Leave", danger=True
        )

    def _is_template(self) -> bool:
        return any(self._editor.value == template.yaml for template in TEMPLATES)

    async def _open(self, key: Key) -> None:
        """Raises ControlUnavailable."""
        stored = await self._frame.console.control.rule(key)
        self._put(stored, stored.yaml)

    def _put(self, stored: Resource | None, text: str) -> None:
        self._remember(stored)
        self._editor.value = text
        self._violations.clear()
        self._edited()
        self._show_list()

    def _remember(self, stored: Resource | None) -> None:
        self._chosen = stored.key if stored is not None else None
        self._etag = stored.etag if stored is not None else ""
        self._saved = stored.yaml if stored is not None else ""
        self._title.set_text(f"{stored.kind} {stored.namespace}/{stored.name}" if stored is not None else "New rule")

    def _edited(self) -> None:
        has_text = bool(self._editor.value.strip())
        unsaved = has_text and self._editor.value != self._saved
        self._unsaved.set_visibility(unsaved)
        self._meanwhile.set_visibility(unsaved and self._is_stale())
        self._delete.set_visibility(self._editable and self._chosen is not None)
        self._apply.set_visibility(self._editable)
        self._validate.set_enabled(has_text)
        self._apply.set_enabled(has_text)

    async def _check(self) -> Applied | None:
        """Show what is wrong, at its lines. Where rules may be changed, the answer is what an apply would do."""
        control = self._frame.console.control
        try:
            if not self._editable:
                found = await control.analyze(FILE_NAME, self._editor.value)
                wrong = any(each.severity == "error" for each in found)
                self._violations.show(found, summary="" if wrong else "it could be applied")
                return None
            expected = {self._chosen: self._etag} if self._chosen is not None else {}
            applied = await control.apply(FILE_NAME, self._editor.value, expected, dry_run=True)
        except (ControlRefused, ControlUnavailable) as error:
            await self._refused(error)
            return None
        self._violations.show(applied.warnings, summary=_summary(applied))
        return applied

    async def _apply_text(self) -> None:
        text = self._editor.value
        planned = await self._check()
        if planned is None or not await ask_to_apply(planned):
            return
        # What is written is what was shown, over what was shown.
        expected = {change.key: change.etag for change in planned.changes}
        try:
            applied = await self._frame.console.control.apply(FILE_NAME, text, expected, dry_run=False)
        except (ControlRefused, ControlUnavailable) as error:
            await self._refused(error)
            return
        ui.notify(f"Applied: {_summary(applied)}", type="positive")
        self._saved = text
        if len(applied.changes) == 1:
            await self._adopt(applied.changes[0].key, text)
        await self._frame.once(self.refresh)

    async def _adopt(self, key: Key, text: str) -> None:
        """Go on with what was applied as it is stored now: a cluster keeps no comments, and orders fields anew."""
        try:
            stored = await self._frame.console.control.rule(key)
        except ControlUnavailable as error:
            ui.notify(str(error), type="negative")
            return
        if self._editor.value == text:
            self._put(stored, stored.yaml)
        else:
            self._remember(stored)

    async def _delete_chosen(self) -> None:
        if self._chosen is None:
            return
        kind, namespace, name = self._chosen
        question = f"Traffic that {kind} {namespace}/{name} directs goes back to what applies without it, at once."
        if not await ask(f"Delete {name}?", question, "Delete", danger=True):
            return
        try:
            await self._frame.console.control.delete(self._chosen, self._etag)
        except (ControlRefused, ControlUnavailable) as error:
            await self._refused(error)
            return
        ui.notify(f"Deleted {kind} {namespace}/{name}", type="positive")
        # The text stays, as something that could be applied again.
        self._put(None, self._editor.value)
        await self._frame.once(self.refresh)

    async def _refused(self, error: ControlRefused | ControlUnavailable) -> None:
        if isinstance(error, ControlUnavailable):
            ui.notify(str(error), type="negative")
            return
        self._violations.show(error.violations)
        if isinstance(error, ControlConflict):
            await self._frame.once(self.refresh)
            if self._is_stale():
                await self._settle()

    async def _settle(self) -> None:
        """Somebody else changed the chosen rule: theirs is loaded, or ours goes on from theirs."""
        key = self._chosen
        assert key is not None, "nothing chosen is never stale"
        if key not in self._rules:
            ui.notify("Somebody has deleted it meanwhile; applying it makes it anew.", type="warning")
            self._remember(None)
        elif await ask(
            "Somebody has changed it meanwhile",
            "Load what is stored now? What you changed in the editor will be lost. Cancel keeps your text: applying it "
            "shows how it differs from what is stored now.",
            "Load it",
            danger=True,
        ):
            await self._try_to_open(key)
        else:
            self._etag = self._rules[key].etag
        self._edited()
        self._show_list()


def _summary(applied: Applied) -> str:
    """`1 created, 2 unchanged`."""
    counts: dict[str, int] = {}
    for change in applied.changes:
        counts[change.action] = counts.get(change.action, 0) + 1
    return ", ".join(f"{number} {action}" for action, number in counts.items()) or "nothing to change"
