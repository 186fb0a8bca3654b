"""A rule's text -> a class of hooks -> an instance; or what is wrong with it, and in which line."""

import asyncio
import inspect
import json
import linecache
import sys
import types
import warnings
from collections.abc import Callable
from itertools import count
from typing import Any, Final

from sidecar.config.python_filter import PythonFilter
from sidecar.filters.api import API_VERSION, Filter
from sidecar.filters.python_alarm import Alarm, Overrun, bounded, said

LOAD_S: Final = 2.0
"""Of running the module and making the instance, each: the proxy stands still meanwhile."""

HOOKS: Final = ("on_request", "on_request_body", "on_response", "on_response_body")

_numbers = count(1)


class UnusableFilter(ValueError):
    """`path` is the field: source, class or config."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class Loaded:
    """An instance, its hooks, and the module that it lives in."""

    __slots__ = ("filename", "hooks", "instance", "module", "waits")

    def __init__(self, instance: Filter, module: str, filename: str) -> None:
        self.instance = instance
        self.module = module
        self.filename = filename
        defined = [name for name in HOOKS if getattr(type(instance), name) is not getattr(Filter, name)]
        self.hooks: dict[str, Callable[..., Any]] = {name: getattr(instance, name) for name in defined}
        self.waits = frozenset(name for name in defined if inspect.iscoroutinefunction(self.hooks[name]))
        """Of the hooks, those that are `async def`."""

    def unload(self) -> None:
        """Forget the module; what still refers to it goes on."""
        sys.modules.pop(self.module, None)
        linecache.cache.pop(self.filename, None)


def load(config: PythonFilter, alarm: Alarm) -> Loaded:
    """Run the source and make the instance. Raises UnusableFilter."""
    name = f"remora_filter_{next(_numbers)}"
    filename = f"<filter {config.name}>"
    module = types.ModuleType(name)
    # Dataclasses and typing look their module up by name.
    sys.modules[name] = module
    linecache.cache[filename] = (len(config.source), None, config.source.splitlines(keepends=True), filename)
    try:
        found = _class(config, module, filename, alarm)
        instance = _instance(config, found, filename, alarm)
        # Looking at the object is user code as well, where its class says how.
        loaded: Loaded = _guarded(lambda: Loaded(instance, name, filename), "class", filename, alarm)
        return loaded
    except BaseException:
        sys.modules.pop(name, None)
        raise


def _class(config: PythonFilter, module: types.ModuleType, filename: str, alarm: Alarm) -> type[Filter]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code = compile(config.source, filename, "exec", dont_inherit=True)
    except SyntaxError as error:
        raise UnusableFilter("source", f"line {error.lineno}: {error.msg}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise UnusableFilter("source", f"is no module: {type(error).__name__}: {error}") from error
    # Running what the mesh's operator wrote is the job.
    _guarded(lambda: exec(code, module.__dict__), "source", filename, alarm)  # noqa: S102
    found: type[Filter] = _guarded(lambda: _found(config, module), "class", filename, alarm)
    return found


def _found(config: PythonFilter, module: types.ModuleType) -> type[Filter]:
    found = getattr(module, config.class_name, None)
    if not isinstance(found, type) or not issubclass(found, Filter):
        known = [key for key, each in vars(module).items() if isinstance(each, type) and issubclass(each, Filter)]
        known = [key for key in known if key != "Filter"]
        what = "is no class derived from sidecar.filters.api.Filter" if found is not None else "is not in the source"
        there = f"; there is {', '.join(sorted(known)[:5])}" if known else ""
        raise UnusableFilter("class", f"{config.class_name} {what}{there}")
    _check(config, found)
    return found


def _check(config: PythonFilter, found: type[Filter]) -> None:
    if type(found.api_version) is not int or not 1 <= found.api_version <= API_VERSION:
        raise UnusableFilter(
            "class", f"{config.class_name} is for version {found.api_version!r}; this proxy has {API_VERSION}"
        )
    for name in dir(found):
        if name.startswith("on_") and name not in HOOKS:
            raise UnusableFilter("class", f"{config.class_name}.{name} is no hook; hooks are {', '.join(HOOKS)}")
    defined = [name for name in HOOKS if getattr(found, name) is not getattr(Filter, name)]
    if not defined:
        raise UnusableFilter("class", f"{config.class_name} defines no hook; hooks are {', '.join(HOOKS)}")
    for name in (*defined, "close"):
        hook = getattr(found, name)
        if not callable(hook) or inspect.isasyncgenfunction(hook) or inspect.isgeneratorfunction(hook):
            raise UnusableFilter("class", f"{config.class_name}.{name} is no function that returns or is awaited")
    if asyncio.iscoroutinefunction(found.close):
        raise UnusableFilter("class", f"{config.class_name}.close must not be async")


def _instance(config: PythonFilter, found: type[Filter], filename: str, alarm: Alarm) -> Filter:
    plain = json.loads(config.config)
    made = _guarded(lambda: found(plain), "config", filename, alarm)
    if not isinstance(made, Filter):
        raise UnusableFilter("class", f"{config.class_name} makes no Filter")
    return made


def _guarded(call: Callable[[], Any], path: str, filename: str, alarm: Alarm) -> Any:
    try:
        return bounded(alarm, LOAD_S, call)
    except Overrun as error:
        raise UnusableFilter(path, f"takes longer than {LOAD_S:g} s to load") from error
    except UnusableFilter:
        raise
    except BaseException as error:  # SystemExit and KeyboardInterrupt as well: a filter must not end the proxy
        raise UnusableFilter(path, _told(error, said(error, alarm, LOAD_S), filename)) from error


def _told(error: BaseException, spoken: str, filename: str) -> str:
    """The exception, which says `spoken`, and the last line of the source that it came through."""
    line = ""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == filename:
            line = f"line {trace.tb_lineno}: "
        trace = trace.tb_next
    text = " ".join(spoken.split())
    return f"{line}{type(error).__name__}: {text}"[:500]
