"""The settings file as models, or every violation in it with file, line and path."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from collectors.settings.buffers import SIGNALS
from collectors.settings.document import Document, Invalid, Steps, Violation, read
from collectors.settings.explain import did_you_mean, explain
from collectors.settings.reach import unreachable
from collectors.settings.registry import EXPORTERS, PROCESSORS, RECEIVERS, TypeMissing, load_type
from collectors.settings.routes import RouteSettings
from collectors.settings.surroundings import Surroundings
from collectors.settings.types import DIRECTORY

MAX_COMPONENTS = 200
"""Of one kind."""
_SECTIONS = ("receivers", "processors", "routes", "exporters")


@dataclass(frozen=True, slots=True)
class Component:
    """One receiver, processor or exporter."""

    name: str
    type: str
    module: Any
    settings: Any
    """An instance of the module's Settings."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """A file without violations."""

    path: Path
    receivers: tuple[Component, ...]
    processors: dict[str, Component]
    exporters: dict[str, Component]
    routes: tuple[RouteSettings, ...]
    warnings: tuple[Violation, ...] = ()
    """What will be wrong, or is for others; the settings can be used."""

    def has(self, kind: Literal["receivers", "processors"], type_: str) -> bool:
        """Whether it names a component of this type."""
        found = self.receivers if kind == "receivers" else self.processors.values()
        return any(component.type == type_ for component in found)


def load(path: Path, around: Surroundings | None = None) -> Configuration:
    """Raises Invalid with every violation, OSError if it cannot be read. With `around` also what only shows where the
    settings are used: ports, the mesh, certificates, paths."""
    document = read(path)
    return _Loader(document, path, around, list(document.violations)).load()


@dataclass(slots=True)
class _Loader:
    document: Document
    path: Path
    around: Surroundings | None
    violations: list[Violation] = field(default_factory=list)
    warnings: list[Violation] = field(default_factory=list)

    def load(self) -> Configuration:
        value = self.document.value
        if not isinstance(value, dict):
            self._wrong((), f"must be a mapping with {', '.join(_SECTIONS)}")
            raise Invalid(self.violations)
        for key in value:
            if key not in _SECTIONS:
                hint = did_you_mean(key, list(_SECTIONS)) or f"; known are {', '.join(_SECTIONS)}"
                self._wrong((key,), f"is unknown{hint}")
        receivers = tuple(self._receivers(value.get("receivers")))
        processors = dict(self._named("processors", value.get("processors"), PROCESSORS))
        exporters = dict(self._named("exporters", value.get("exporters"), EXPORTERS))
        routes = tuple(self._routes(value.get("routes")))
        self._judge(processors, exporters, routes)
        if self.around is not None:
            self._judge_place(self.around, receivers, processors, exporters)
        if self.violations:
            raise Invalid(sorted(self.violations, key=lambda one: one.line))
        return Configuration(
            self.path,
            receivers,
            {name: one for name, one in processors.items() if one is not None},
            {name: one for name, one in exporters.items() if one is not None},
            tuple(route for route in routes if route is not None),
            tuple(sorted(self.warnings, key=lambda one: one.line)),
        )

    def _wrong(self, steps: Steps, message: str) -> None:
        if not any(self._hides(broken, steps) for broken in self.document.broken):
            self.violations.append(self.document.violation(steps, message))

    @staticmethod
    def _hides(broken: Steps, steps: Steps) -> bool:
        """Whether what is missing or wrong there may be so because of what was left out of the YAML."""
        return steps[: len(broken)] == broken

    def _mapping(self, section: str, value: object) -> dict[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            self._wrong((section,), "must be a mapping (name: ...)")
            return {}
        if len(value) > MAX_COMPONENTS:
            self._wrong((section,), f"has {len(value)} entries; at most {MAX_COMPONENTS}")
            return {}
        return value

    def _receivers(self, value: object) -> Iterator[Component]:
        for name, settings in self._mapping("receivers", value).items():
            steps: Steps = ("receivers", name)
            module = self._type(steps, name, RECEIVERS)
            if module is not None and (parsed := self._model(steps, module.Settings, settings)) is not None:
                yield Component(name, name, module, parsed)

    def _named(self, section: str, value: object, types: dict[str, str]) -> Iterator[tuple[str, Component | None]]:
        """None for one that is there and wrong: routes may name it."""
        for name, entry in self._mapping(section, value).items():
            steps: Steps = (section, name)
            if not name or len(name) > 64 or not all(c.isascii() and (c.isalnum() or c in "_-") for c in name):
                self._wrong(steps, "is no name; use up to 64 letters, digits, _ and -")
            if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
                where = (*steps, "type") if isinstance(entry, dict) else steps
                self._wrong(where, f"needs a type; one of {', '.join(types)}")
                yield name, None
                continue
            module = self._type((*steps, "type"), entry["type"], types)
            rest = {key: one for key, one in entry.items() if key != "type"}
            parsed = None if module is None else self._model(steps, module.Settings, rest)
            yield name, None if parsed is None else Component(name, entry["type"], module, parsed)

    def _type(self, steps: Steps, name: str, types: dict[str, str]) -> Any:
        if name not in types:
            self._wrong(
                steps, f"is no type that there is{did_you_mean(name, list(types))}; there are {', '.join(types)}"
            )
            return None
        try:
            return load_type(types[name])
        except TypeMissing as error:
            self._wrong(steps, f"{name} {error}")
            return None

    def _model(self, steps: Steps, model: type[BaseModel], value: object) -> BaseModel | None:
        try:
            return model.model_validate({} if value is None else value, context={DIRECTORY: self.path.parent})
        except ValidationError as error:
            for within, message in explain(error, model):
                self._wrong((*steps, *within), message)
            return None

    def _routes(self, value: object) -> Iterator[RouteSettings | None]:
        if not isinstance(value, list) or not value:
            self._wrong(("routes",), "must be a list with at least one route: - exporters: [NAME]")
            return
        if len(value) > MAX_COMPONENTS:
            self._wrong(("routes",), f"has {len(value)} entries; at most {MAX_COMPONENTS}")
            return
        for index, entry in enumerate(value):
            route = self._model(("routes", index), RouteSettings, entry)
            assert route is None or isinstance(route, RouteSettings)
            yield route

    # What one part says of another.

    def _judge(
        self,
        processors: dict[str, Component | None],
        exporters: dict[str, Component | None],
        routes: tuple[RouteSettings | None, ...],
    ) -> None:
        for index, route in enumerate(routes):
            if route is not None:
                self._references(index, route, "processors", processors)
                self._references(index, route, "exporters", exporters)
        for place, takers in unreachable(routes):
            names = " and ".join(f"routes[{one}] (line {self._line(('routes', one))})" for one in takers)
            self._wrong(
                ("routes", place),
                f"never gets a record: {names} before it take{'s' if len(takers) == 1 else ''} all that it matches; "
                "put it before, write continue: true there, or remove it",
            )
        whole = bool(routes) and all(route is not None for route in routes)
        for section, components in (("processors", processors), ("exporters", exporters)):
            named = {name for route in routes if route is not None for name in getattr(route, section)}
            for name in components.keys() - named if whole else ():
                self._wrong((section, name), "is used by no route; name it in one, or remove it")
        stores = [name for name, one in exporters.items() if one is not None and one.type == "store"]
        for name in stores[1:]:
            self._wrong(("exporters", name), f"is a second store, {stores[0]} is the first; there can be one")

    def _references(
        self, index: int, route: RouteSettings, section: str, components: dict[str, Component | None]
    ) -> None:
        names = getattr(route, section)
        for position, name in enumerate(names):
            steps: Steps = ("routes", index, section, position)
            if name not in components:
                hint = did_you_mean(name, list(components)) or f"; there are {', '.join(components) or 'none'}"
                self._wrong(steps, f"{name[:64]!r} is not under {section}{hint}")
            elif name in names[:position]:
                self._wrong(steps, f"names {name} a second time")
            elif (component := components[name]) is not None:
                self._fits(steps, route, component)

    def _fits(self, steps: Steps, route: RouteSettings, component: Component) -> None:
        takes = getattr(component.settings, "takes", SIGNALS)
        others = [signal for signal in route.signals() if signal not in takes]
        if others and (steps[2] == "exporters" or len(others) == len(route.signals())):
            can = ", ".join(signal for signal in SIGNALS if signal in takes)
            self._wrong(
                steps,
                f"{component.name} ({component.type}) takes {can}, and this route has {', '.join(others)} too; write "
                f"match: {{signals: [{can}]}}, and another route for the rest",
            )

    def _line(self, steps: Steps) -> int:
        return self.document.lines.get(steps, 1)

    # What the place where they are used says of them.

    def _judge_place(
        self,
        around: Surroundings,
        receivers: tuple[Component, ...],
        processors: dict[str, Component | None],
        exporters: dict[str, Component | None],
    ) -> None:
        # Where settings are used alone: it loads cryptography, and looks at files and ports.
        from collectors.settings.place import judge_place

        there: list[tuple[Steps, Any]] = [(("receivers", one.name), one.settings) for one in receivers]
        for section, components in (("processors", processors), ("exporters", exporters)):
            there += [((section, name), one.settings) for name, one in components.items() if one is not None]
        for steps, message, is_warning in judge_place(there, self.path, around):
            if is_warning:
                self.warnings.append(self.document.violation(steps, f"warning: {message}"))
            else:
                self._wrong(steps, message)
