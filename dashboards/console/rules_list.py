"""The stored rules of all namespaces, by kind, each with what the mesh says of it."""

from collections.abc import Awaitable, Callable, Sequence

from nicegui import ui

from dashboards.console.answers import Condition, Key, Rule

MAX_LISTED = 500
"""A browser draws so many at once; the filter finds the others."""
Choose = Callable[[Key], Awaitable[None]]


def verdict(conditions: Sequence[Condition]) -> tuple[str, str]:
    """In a word, and the kind of its tag; two empty texts where nothing is said of it."""
    failed = {each.type: each for each in conditions if each.status != "True"}
    if "Accepted" in failed:
        return "not accepted", "bad"
    if "Analyzed" in failed:
        return ("errors", "bad") if failed["Analyzed"].reason == "Errors" else ("warnings", "warn")
    if "ResolvedRefs" in failed:
        return "unresolved", "warn"
    if "Programmed" in failed:
        return "not programmed", "warn"
    return ("accepted", "ok") if any(each.type == "Accepted" for each in conditions) else ("", "")


def matches(rule: Rule, text: str) -> bool:
    """Whether all words of `text` are in its kind, namespace, name or verdict."""
    about = f"{rule.kind} {rule.namespace}/{rule.name} {verdict(rule.conditions)[0]}".lower()
    return all(word in about for word in text.lower().split())


class RulesList:
    """Drawn anew only when something in it is another."""

    def __init__(self, on_choose: Choose) -> None:
        self._on_choose = on_choose
        self._rules: tuple[Rule, ...] = ()
        self._chosen: Key | None = None
        self._how = ""
        self._shown: object = None
        with ui.element("nav").classes("card rules-list").props('aria-label="Stored rules"'):
            self._filter = (
                ui.input(placeholder="Name, namespace, kind, state", on_change=self._show)
                .props('dense outlined clearable debounce=200 aria-label="Filter rules"')
                .classes("filter")
            )
            self._box = ui.element("div")

    def set(self, rules: Sequence[Rule], chosen: Key | None, *, how: str) -> None:
        """`how` rules come here, for people who have none."""
        self._rules, self._chosen, self._how = tuple(rules), chosen, how
        self._show()

    def _show(self) -> None:
        found = sorted(
            (rule for rule in self._rules if matches(rule, self._filter.value or "")), key=lambda rule: rule.key
        )
        self._filter.set_visibility(bool(self._rules))
        now = ([(rule.key, rule.conditions) for rule in found], self._chosen, self._how)
        if now == self._shown:
            return
        self._shown = now
        self._box.clear()
        with self._box:
            if not self._rules:
                ui.label("No rules yet").style("font-weight: 600; padding: 8px 10px 0")
                ui.label(self._how).classes("muted").style("padding: 4px 10px")
            elif not found:
                ui.label("No rule matches.").classes("muted").style("padding: 8px 10px")
            kind = ""
            for rule in found[:MAX_LISTED]:
                if rule.kind != kind:
                    kind = rule.kind
                    ui.label(kind).classes("group")
                self._entry(rule)
            if len(found) > MAX_LISTED:
                ui.label(f"… and {len(found) - MAX_LISTED:,} more; filter to find them").classes("muted").style(
                    "padding: 8px 10px"
                )

    def _entry(self, rule: Rule) -> None:
        with ui.element("button").classes("rule").props("type=button") as entry:
            with ui.element("div").classes("row-line").style("flex-wrap: nowrap"):
                ui.label(rule.name).classes("grow").style("overflow-wrap: anywhere")
                word, kind = verdict(rule.conditions)
                if word:
                    ui.label(word).classes(f"tag {kind}")
            ui.label(rule.namespace).classes("ns")
        entry.classes("chosen" if rule.key == self._chosen else "")
        entry.on("click", lambda _, key=rule.key: self._on_choose(key))


class ConditionsView:
    """What is to be said of the chosen rule as it is stored; nothing where all is well."""

    def __init__(self) -> None:
        self._box = ui.element("div").classes("conditions").props('role="status"')
        self._shown: tuple[Condition, ...] = ()
        self._box.set_visibility(False)

    def show(self, conditions: Sequence[Condition]) -> None:
        """Fill in."""
        failed = tuple(each for each in conditions if each.status != "True")
        if failed == self._shown:
            return
        self._shown = failed
        self._box.set_visibility(bool(failed))
        self._box.clear()
        with self._box:
            for each in failed:
                with ui.element("div").classes("row-line").style("flex-wrap: nowrap; align-items: flex-start"):
                    ui.label(f"{each.type}: {each.reason}").classes(
                        "tag " + ("warn" if each.reason == "Warnings" or each.type == "Programmed" else "bad")
                    )
                    ui.label(each.message).style("overflow-wrap: anywhere")
