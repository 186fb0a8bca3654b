"""The console's command: flags, and the process from its socket to its end. The pages are in `pages/`.

The web framework takes most of a second to import, so nothing here imports it before the flags are understood.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from dashboards.console.doors import ClusterDoor
from dashboards.console.options import CannotStart, Options
from mesh.flags import Parser, add_supervision, checked, host_port
from mesh.logs import escape, setup
from mesh.state_directory import default_state

__all__ = ["Options", "parse", "run"]

DEFAULT_LISTEN = "127.0.0.1:20001"

_DESCRIPTION = """\
Serve Remora's web console: the mesh's graph, services, traces, logs and rules.

It reads the collector's store and talks to the control plane, both found through the state directory; either may come
later, or go and come back. In a cluster --control, --root and --token-file say where the control plane is, and prove to
it who asks. A new session token is made at every start. The address with the token is printed on
standard output, or, with --ready-fd, written there as {"url": "http://HOST:PORT/?token=..."}."""

_EXAMPLE = """\
example:
  remora console --state ~/.local/state/remora --listen 127.0.0.1:20001"""


def parse(argv: Sequence[str]) -> Options:
    """Understand the flags; exits with status 2 on wrong ones."""
    parser = Parser("remora console", _DESCRIPTION, _EXAMPLE)
    parser.add_argument(
        "--state",
        type=Path,
        default=default_state(),
        metavar="DIR",
        help="the mesh's state directory (default: $REMORA_STATE, else %(default)s)",
    )
    parser.add_argument(
        "--listen",
        type=host_port,
        default=DEFAULT_LISTEN,
        metavar="HOST:PORT",
        help="where to serve; port 0 for any (default: %(default)s)",
    )
    cluster = parser.add_argument_group("in a cluster, all three")
    cluster.add_argument(
        "--control", type=checked(_https), metavar="URL", help="the control plane's REST interface, https"
    )
    cluster.add_argument("--root", type=Path, metavar="FILE", help="the mesh's root certificates, PEM")
    cluster.add_argument(
        "--token-file", type=Path, metavar="FILE", help="a service account's token for audience remora-console"
    )
    parser.add_argument(
        "--url-file", type=Path, metavar="FILE", help="write the address there, mode 0600, instead of printing it"
    )
    add_supervision(parser, '{"url"}')
    given = parser.parse_args(argv)
    host, port = given.listen
    told = (given.control, given.root, given.token_file)
    if None in told and told != (None, None, None):
        parser.error("--control, --root and --token-file go together: give all three, or none")
    control = ClusterDoor(*told) if given.control is not None else None
    return Options(given.state, host, port, given.ready_fd, given.lifeline_fd, control, given.url_file)


def _https(text: str) -> str:
    """Raises ValueError."""
    found = urlsplit(text)
    if found.scheme != "https" or not found.hostname or found.path not in ("", "/") or found.query or found.username:
        raise ValueError(f"{text!r} is not https://HOST:PORT")
    return text


def run(options: Options) -> int:
    """Serve until SIGTERM, SIGINT or the lifeline's end; the exit status."""
    setup()
    # One line for every request would hide the few lines that matter.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        if not options.state.is_dir():
            raise CannotStart(f"state directory {options.state} does not exist")
        if not os.access(options.state, os.R_OK | os.X_OK):
            raise CannotStart(f"state directory {options.state} cannot be read")
        if options.url_file is not None and not os.access(options.url_file.parent, os.W_OK | os.X_OK):
            raise CannotStart(f"cannot write {options.url_file}: its directory is not there, or not ours to write to")
        from dashboards.console.server import serve

        asyncio.run(serve(options))
    except CannotStart as error:
        print(f"remora console: {escape(str(error))}", file=sys.stderr)
        return 1
    return 0


def main() -> int:
    """`python -m dashboards.console.app`, for a container without the rest of the command."""
    return run(parse(sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
