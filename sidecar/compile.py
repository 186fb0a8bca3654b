"""Build the data plane's hot modules with mypyc: `python -m sidecar.compile`. Workers started afterwards use them.

The sources stay what they are and nothing is written beside them: a directory of the environment gets a copy of the
packages with extension modules beside the hot ones, and a digest of the sources. Where the sources have changed since,
the build is not used. Needs mypy and a C compiler; without, a sidecar takes about twice the CPU in Python code.
"""

import argparse
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sidecar.c_build import CompileFailed, build, translate
from sidecar.compiled import DEFAULT_TARGET, PACKAGES, ROOT, STAMP, sources_digest

HOT = (
    "clusters/balancers",
    "clusters/cluster",
    "clusters/counts",
    "clusters/ejections",
    "clusters/endpoint",
    "clusters/h1_upstream",
    "clusters/h2_pool",
    "clusters/h2_requests",
    "clusters/h2_upstream",
    "clusters/losses",
    "clusters/original",
    "clusters/outlier",
    "clusters/pool",
    "clusters/priorities",
    "clusters/raw_pool",
    "clusters/raw_upstream",
    "clusters/secrets",
    "clusters/upstream",
    "filters/addon",
    "filters/addon_answer",
    "filters/addon_messages",
    "filters/chain",
    "filters/client",
    "filters/edits",
    "filters/failures",
    "filters/fault",
    "filters/held_answer",
    "filters/retries",
    "filters/router",
    "filters/sending",
    "filters/tunnel",
    "http/errors",
    "http/field_lines",
    "http/fields",
    "http/grpc",
    "http/h1_chunks",
    "http/h1_hop",
    "http/h1_lines",
    "http/h1_render",
    "http/h1_request",
    "http/h1_response",
    "http/h2/connection",
    "http/h2/events",
    "http/h2/fields",
    "http/h2/floods",
    "http/h2/frames",
    "http/h2/heads",
    "http/h2/hpack_decoder",
    "http/h2/hpack_encoder",
    "http/h2/hpack_static",
    "http/h2/huffman",
    "http/h2/inbound",
    "http/h2/messages",
    "http/h2/outbound",
    "http/h2/settings",
    "http/h2/stream",
    "http/h2_messages",
    "http/head",
    "http/octets",
    "http/paths",
    "http/websocket",
    "listeners/admission",
    "listeners/answer",
    "listeners/client_stream",
    "listeners/connection",
    "listeners/context",
    "listeners/date",
    "listeners/exchange",
    "listeners/filtering",
    "listeners/grpc_stream",
    "listeners/h1_link",
    "listeners/h1_writer",
    "listeners/h2_connection",
    "listeners/h2_link",
    "listeners/h2_stream",
    "listeners/limits",
    "listeners/local_reply",
    "listeners/mirror",
    "listeners/routes",
    "listeners/tapped",
    "listeners/tcp",
    "listeners/tcp_relay",
    "listeners/tunnel_stream",
    "listeners/tcp_upstream",
    "net/outbox",
    "net/timers",
    "net/tls_stream",
    "net/turns",
    "overload/load",
    "routing/conditions",
    "routing/domains",
    "routing/table",
    "routing/weights",
    "telemetry/bindings",
    "telemetry/entry",
    "telemetry/messages",
    "telemetry/record",
    "telemetry/recorder",
    "telemetry/request_id",
    "telemetry/series",
    "telemetry/spans",
    "telemetry/tcp",
    "telemetry/tracing",
)
"""Modules of `sidecar` that every request passes through, and those that they subclass or are subclassed by."""

_SLOTS = re.compile(r"@dataclass\(((?:frozen=True, )?)slots=True\)")


def compile_into(target: Path, root: Path, say: Callable[[str], None] = lambda _: None) -> bool:
    """Build into `target` from the packages under `root`, telling how far it is. False if it was up to date. Raises
    CompileFailed."""
    stamp = target / STAMP
    digest = sources_digest(root)
    if stamp.exists() and stamp.read_text() == digest:
        return False
    began = time.monotonic()
    say(f"translating {len(HOT)} modules to C")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for package in PACKAGES:
        shutil.copytree(root / package, target / package, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    hot = [f"sidecar/{name}.py" for name in HOT]
    for name in hot:
        path = target / name
        # mypyc's classes have no __dict__ anyway, and it can not make them a second time, as slots=True asks.
        path.write_text(_SLOTS.sub(lambda match: f"@dataclass({match[1].rstrip(', ')})", path.read_text()))
    extensions = translate(target, hot)
    jobs = len(os.sched_getaffinity(0))
    say(f"translated in {time.monotonic() - began:.0f} s; compiling the C, {jobs} at a time: the longest part")
    build(target, extensions, jobs, say)
    shutil.rmtree(target / "build", ignore_errors=True)
    shutil.rmtree(target / ".mypy_cache", ignore_errors=True)
    stamp.write_text(digest)
    say(f"built in {time.monotonic() - began:.0f} s: {target}")
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0: built or up to date; 1: it could not be built."""
    parser = argparse.ArgumentParser(prog="python -m sidecar.compile", description=__doc__)
    parser.add_argument(
        "target",
        type=Path,
        nargs="?",
        default=DEFAULT_TARGET,
        help="directory to build into; what it holds is replaced (default: %(default)s)",
    )
    flags = parser.parse_args(arguments)
    try:
        if not compile_into(flags.target.absolute(), ROOT, lambda line: print(f"  {line}", flush=True)):
            print(f"  up to date: {flags.target}")
    except CompileFailed as error:
        print(f"sidecar.compile: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
