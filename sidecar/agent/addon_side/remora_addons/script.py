"""One mitmproxy addon script: loaded, loaded again when its file changes, its hooks called as mitmproxy calls them.

An exception in a hook is the caller's to hear of, where mitmproxy only logs it: what becomes of the request then is
said by the rule that named the script.
"""

import asyncio
import importlib.machinery
import importlib.util
import logging
import sys
import types
from pathlib import Path
from typing import Any

from mitmproxy import ctx, exceptions, hooks
from mitmproxy.addonmanager import AddonManager
from mitmproxy.addons import core
from mitmproxy.http import HTTPFlow
from mitmproxy.master import Master
from mitmproxy.options import Options
from mitmproxy.proxy.layers import http

WATCH_EVERY_S = 1.0


class Broken(Exception):
    """The script can not be loaded, or a hook of it failed; the text says which and why."""


class Script:
    """`load` before anything else; `keep_fresh` for ever."""

    def __init__(self, path: Path, confdir: str) -> None:
        options = Options()
        self._master = Master(options)
        self._manager: AddonManager = self._master.addons
        self._manager.add(core.Core())
        options.update(confdir=confdir)
        self._path = path
        self._module: types.ModuleType | None = None
        self._seen: tuple[int, int] | None = None
        self.trouble = "it was not loaded yet"
        """Why there is no script; empty when there is one."""

    async def load(self) -> None:
        """From the file as it is now. `trouble` says afterwards whether that worked."""
        self._unload()
        self._seen = self._stamp()
        try:
            self._module = _execute(self._path)
            self._manager.add(self._module)
            # As for an addon that comes while mitmproxy runs.
            await self._call(hooks.ConfigureHook(set(ctx.options.keys())))
            await self._call(_running())
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError | KeyboardInterrupt):
                raise
            # SystemExit too: a script that ends its process while being loaded must not end ours again and again.
            self._unload()
            self.trouble = f"{self._path.name} can not be loaded: {_told(error)}"
            logging.error("%s", self.trouble, exc_info=error)
        else:
            self.trouble = ""
            logging.info("%s is loaded", self._path.name)

    async def keep_fresh(self) -> None:
        """Load it again whenever its file changes, as mitmproxy does."""
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            if self._stamp() != self._seen:
                await self.load()

    async def request(self, flow: HTTPFlow) -> None:
        """A request whose body is whole; where the script answers, the answer's hooks too. Raises Broken."""
        await self._hook(http.HttpRequestHeadersHook(flow))
        await self._hook(http.HttpRequestHook(flow))
        if flow.response is not None and flow.error is None:
            await self.response(flow)

    async def response(self, flow: HTTPFlow) -> None:
        """An answer whose body is whole. Raises Broken."""
        await self._hook(http.HttpResponseHeadersHook(flow))
        await self._hook(http.HttpResponseHook(flow))

    async def error(self, flow: HTTPFlow) -> None:
        """There is no answer to come. Raises Broken."""
        await self._hook(http.HttpErrorHook(flow))

    async def _hook(self, hook: hooks.Hook) -> None:
        if self._module is None:
            raise Broken(self.trouble)
        if hook.args()[0].error is not None and not isinstance(hook, http.HttpErrorHook):
            return  # killed by a hook before
        try:
            await self._call(hook)
        except exceptions.AddonHalt:
            pass
        except Exception as error:
            logging.exception("%s: %s failed", self._path.name, hook.name)
            raise Broken(f"{hook.name} failed: {_told(error)}") from error
        await hook.args()[0].wait_for_resume()

    async def _call(self, hook: hooks.Hook) -> None:
        await self._manager.invoke_addon(self._module, hook)

    def _unload(self) -> None:
        module, self._module = self._module, None
        if module is not None and module in self._manager:
            try:
                self._manager.remove(module)
            except Exception:
                logging.exception("%s: done failed", self._path.name)

    def _stamp(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size


def _execute(path: Path) -> types.ModuleType:
    name = f"__mitmproxy_script__.{path.stem}"
    sys.modules.pop(name, None)
    directory = str(path.parent)
    if directory not in sys.path:
        sys.path.insert(0, directory)  # its own modules, as mitmproxy lets it import them
    # Not the cached bytecode: a change within the same second would go unseen.
    loader = importlib.machinery.SourceFileLoader(name, str(path))
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)  # noqa: S102  running the script is our job
    if not getattr(module, "name", None):
        module.name = str(path)  # type: ignore[attr-defined]
    return module


def _running() -> Any:
    from mitmproxy.hooks import RunningHook

    return RunningHook()


def _told(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:300]
