"""mitmweb that shows tapped requests as they come on standard input. Loopback only; whoever has the token may look.

`python -m remora_mitmproxy.view --confdir DIR`, with the token in the environment (a command line is for everyone to
read). Its first line on standard output is `{"url": ...}`. It ends on SIGTERM or SIGINT; at the end of the input it
goes on showing what it has.
"""

import argparse
import asyncio
import hmac
import json
import logging
import os
import signal
import sys
from typing import Any

import tornado.httpserver
import tornado.netutil
import tornado.web
from mitmproxy import http
from mitmproxy.master import Master
from mitmproxy.options import Options
from mitmproxy.tools.web import app
from mitmproxy.tools.web.master import WebMaster

from .flows import to_flow

MAX_FLOWS = 5000
"""The oldest make room for new ones."""

MAX_LINE_BYTES = 64 * 1024 * 1024
TOKEN = "REMORA_VIEW_TOKEN"  # noqa: S105  the variable's name
COOKIE = f"remora_view_{os.getpid()}"
"""Cookies know no ports: two viewers must not take each other's place."""


class Refused(tornado.web.RequestHandler):  # type: ignore[misc]
    """For whoever has no token: mitmweb runs commands for those it talks to."""

    def prepare(self) -> None:
        self.set_status(403)
        self.finish("open the address that `remora tap --view` printed\n")


class Entrance(tornado.web.RequestHandler):  # type: ignore[misc]
    """The token as a cookie, and away with it from the address."""

    def initialize(self, token: str) -> None:
        self._token = token

    def get(self) -> None:
        self.set_cookie(COOKIE, self._token, httponly=True, samesite="Strict")
        self.redirect("/")


class Guarded(app.Application):  # type: ignore[misc]
    """mitmweb's application, every route of it behind the token."""

    def __init__(self, master: WebMaster, token: str) -> None:
        super().__init__(master, False)
        self._token = token

    def find_handler(self, request: Any, **kwargs: Any) -> Any:
        cookie = request.cookies.get(COOKIE)
        if cookie is not None and self._is_token(cookie.value):
            return super().find_handler(request, **kwargs)
        given = request.query_arguments.get("token", [b""])[0].decode("latin-1")
        if request.method == "GET" and request.path == "/" and self._is_token(given):
            return self.get_handler_delegate(request, Entrance, {"token": self._token})
        return self.get_handler_delegate(request, Refused)

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(), self._token.encode())


class ViewMaster(WebMaster):  # type: ignore[misc]
    """mitmweb without a proxy, fed by a pipe."""

    def __init__(self, options: Options, token: str) -> None:
        super().__init__(options, with_termlog=False)
        self.app = Guarded(self, token)
        self._token = token

    async def running(self) -> None:
        server = tornado.httpserver.HTTPServer(self.app, max_buffer_size=2**28)
        sockets = tornado.netutil.bind_sockets(0, "127.0.0.1")
        server.add_sockets(sockets)
        port = sockets[0].getsockname()[1]
        print(json.dumps({"url": f"http://127.0.0.1:{port}/?token={self._token}"}), flush=True)
        await Master.running(self)

    async def feed(self) -> None:
        """Show what comes, until the end of the input."""
        reader = asyncio.StreamReader(limit=MAX_LINE_BYTES)
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            try:
                flow = to_flow(json.loads(line))
            except (LookupError, TypeError, ValueError) as error:
                logging.error("no tapped request: %s", error)
                continue
            await self.load_flow(flow)
            self._make_room()

    def _make_room(self) -> None:
        stored: list[http.HTTPFlow] = list(self.view._store.values()) if len(self.view._store) > MAX_FLOWS else []
        if stored:
            self.view.remove(stored[: len(stored) - MAX_FLOWS])


async def serve(confdir: str, token: str) -> None:
    options = Options()
    master = ViewMaster(options, token)
    # No proxy; nothing written; no browser opened on a machine that may have none.
    options.update(confdir=confdir, server=False, web_open_browser=False)
    if "web_password" in options:  # later versions ask for one themselves; ours comes first
        options.update(web_password=token)
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, master.shutdown)
    feeding = loop.create_task(master.feed())
    try:
        await master.run()
    finally:
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m remora_mitmproxy.view")
    parser.add_argument("--confdir", required=True)
    flags = parser.parse_args()
    token = os.environ.pop(TOKEN, "")
    if len(token) < 32:
        print(f"{TOKEN} must have at least 32 characters", file=sys.stderr)
        return 2
    asyncio.run(serve(flags.confdir, token))
    return 0


if __name__ == "__main__":
    sys.exit(main())
