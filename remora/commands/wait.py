"""`remora wait`: until the sidecar of this pod is ready. A postStart hook, so that the kubelet starts the application's
containers after it.

It starts fast and imports little: it runs in every pod, once for each start.
"""

import argparse
import http.client
import sys
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from mesh.flags import Parser

READY = ("http://127.0.0.1:15021/healthz/ready", "http://[::1]:15021/healthz/ready")
PROBE_S = 1.0
"""One question's share of the time."""

_EPILOG = """\
example, in the sidecar's container:

  remora wait --timeout 120

Exit status 0: it is ready. 1: not in time; the last answer is on standard error. The kubelet then ends the sidecar's
container and starts it again, and the application goes on waiting.
"""


def run(argv: Sequence[str]) -> int:
    """The exit status; 2 for wrong use, by SystemExit."""
    parser = Parser(
        "remora wait",
        "Wait until the sidecar of this pod has its certificate and its configuration, and serves it.",
        _EPILOG,
    )
    parser.add_argument(
        "--timeout", type=_seconds, default=60.0, metavar="S", help="give up after so long (default: %(default)g)"
    )
    parser.add_argument(
        "--every", type=_seconds, default=0.1, metavar="S", help="time between two questions (default: %(default)g)"
    )
    parser.add_argument(
        "--url",
        type=_url,
        metavar="URL",
        help=f"whom to ask (default: {READY[0]}, or [::1] where the pod has IPv6 alone)",
    )
    flags = parser.parse_args(argv)
    return _wait(READY if flags.url is None else (flags.url,), flags.timeout, flags.every)


def _wait(urls: Sequence[str], timeout_s: float, every_s: float) -> int:
    deadline = time.monotonic() + timeout_s
    while True:
        left_s = deadline - time.monotonic()
        answers = [_ask(url, min(PROBE_S, max(left_s, 0.01))) for url in urls]
        if None in answers:
            return 0
        if time.monotonic() + every_s >= deadline:
            said = "; ".join(answer for answer in answers if answer is not None)
            print(f"remora wait: the sidecar is not ready after {timeout_s:g} s: {said}", file=sys.stderr)
            return 1
        time.sleep(every_s)


def _ask(url: str, timeout_s: float) -> str | None:
    """None: it is ready; else what it said. No proxies: HTTP_PROXY may name the sidecar that is being waited for."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=timeout_s)
    try:
        connection.request("GET", parts.path or "/")
        response = connection.getresponse()
        said = response.read(200).decode("ascii", "replace").strip()
        return None if response.status == 200 else f"{url} answers {response.status} {said!r}"
    except (OSError, http.client.HTTPException) as error:
        return f"{url}: {getattr(error, 'strerror', None) or str(error) or type(error).__name__}"
    finally:
        connection.close()


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds between 0 and 86400")
    return value


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        usable = parts.scheme == "http" and parts.hostname and not parts.username and parts.port != 0
    except ValueError:
        usable = None
    if not usable:
        raise argparse.ArgumentTypeError(f"{text!r} is not http://HOST[:PORT]/PATH")
    return text
