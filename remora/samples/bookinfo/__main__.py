"""Run one Bookinfo service: `python -m remora.samples.bookinfo productpage|details|reviews|ratings --port 9080`."""

import argparse
import asyncio
import os
import secrets
import socket
from collections.abc import Mapping, Sequence

import uvloop
from aiohttp import web

from mesh import logs
from mesh.lifecycle import TaskScope, announce, follow_lifeline, on_stop_signals
from remora.samples.bookinfo import details, productpage, ratings, reviews

GRACE_S = 1.0
"""What is in flight when the service is told to stop may take this much longer."""


def application(service: str, environ: Mapping[str, str]) -> web.Application:
    """The service's application; `environ` says its version, its proxy and other names of its peers."""
    proxy = environ.get("HTTP_PROXY") or environ.get("http_proxy") or None
    peers = ("details", "reviews", "ratings")
    hosts = {each: environ[f"{each.upper()}_HOSTNAME"] for each in peers if f"{each.upper()}_HOSTNAME" in environ}
    match service:
        case "productpage":
            secret = environ.get("SESSION_SECRET") or secrets.token_urlsafe()
            return productpage.application(secret, proxy, hosts)
        case "reviews":
            return reviews.application(reviews.Version.of(environ), proxy, hosts)
        case "details":
            return details.application()
        case "ratings":
            return ratings.application()
        case _:
            raise ValueError(f"Bookinfo has no service {service!r}")


async def serve(app: web.Application, sock: socket.socket, *, ready_fd: int | None, lifeline_fd: int | None) -> None:
    """Serve until SIGTERM, SIGINT or the lifeline's end."""
    stopped = asyncio.Event()
    async with TaskScope() as scope:
        undo = on_stop_signals(stopped.set)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=GRACE_S)
        await runner.setup()
        try:
            await web.SockSite(runner, sock, backlog=1024).start()
            if lifeline_fd is not None:
                scope.spawn(follow_lifeline(lifeline_fd, stopped.set), name="lifeline")
            announce(ready_fd, {})
            await stopped.wait()
        finally:
            undo()
            await runner.cleanup()


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m remora.samples.bookinfo", description=__doc__)
    parser.add_argument("service", choices=("productpage", "details", "reviews", "ratings"))
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--port", type=int, help="port to listen on")
    where.add_argument("--fd", type=int, help="inherited descriptor of a bound socket")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--ready-fd", type=int, help="descriptor that gets a line once the service serves")
    parser.add_argument("--lifeline-fd", type=int, help="read end of a pipe; the service stops when it closes")
    options = parser.parse_args(argv)
    logs.setup("warning")
    if options.fd is not None:
        sock = socket.socket(fileno=options.fd)
    else:
        sock = socket.create_server((options.host, options.port))
    app = application(options.service, os.environ)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(app, sock, ready_fd=options.ready_fd, lifeline_fd=options.lifeline_fd))


if __name__ == "__main__":
    main()
