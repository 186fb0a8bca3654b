"""Build the data plane's hot modules with mypyc: `python -m sidecar.compile`. Workers started afterwards use them.

The same source, never a second implementation: a directory of the environment gets a copy of the packages with
extension modules beside the hot ones, and a digest of the sources. Where the sources have changed since, the build is
not used. Needs mypy and a C compiler; a sidecar runs without either, at about twice the CPU in Python code.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HOT = (
    "clusters/balancers",
    "clusters/cluster",
    "clusters/counts",
    "clusters/endpoint",
    "clusters/h1_upstream",
    "clusters/h2_pool",
    "clusters/h2_requests",
    "clusters/h2_upstream",
    "clusters/losses",
    "clusters/pool",
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
    "overload/load",
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

PACKAGES = ("mesh", "sidecar")
DEFAULT_TARGET = Path(sys.prefix) / "lib" / "remora-compiled"
"""Where workers of this environment look for the build."""

INTERPRETED_VARIABLE = "REMORA_INTERPRETED"
"""In the environment: workers are interpreted even where there is a build, for a debugger or a comparison."""

ROOT = Path(__file__).resolve().parent.parent
"""The directory of the packages' sources."""

_STAMP = "compiled.sha256"
_SLOTS = re.compile(r"@dataclass\(((?:frozen=True, )?)slots=True\)")


class CompileFailed(Exception):
    """mypyc or the C compiler refused; the text is their output's end."""


def usable(target: Path = DEFAULT_TARGET) -> Path | None:
    """`target` if it holds a build of exactly these sources for this interpreter, and the environment does not say
    INTERPRETED_VARIABLE."""
    if os.environ.get(INTERPRETED_VARIABLE):
        return None
    try:
        built = (target / _STAMP).read_text()
    except OSError:
        return None
    return target if built == sources_digest(ROOT) else None


def compile_into(target: Path, root: Path) -> bool:
    """Build into `target` from the packages under `root`. False if it was up to date. Raises CompileFailed."""
    stamp = target / _STAMP
    digest = sources_digest(root)
    if stamp.exists() and stamp.read_text() == digest:
        return False
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for package in PACKAGES:
        shutil.copytree(root / package, target / package, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    hot = [f"sidecar/{name}.py" for name in HOT]
    for name in hot:
        path = target / name
        # mypyc's classes have no __dict__ anyway, and it can not make them a second time, as slots=True asks.
        path.write_text(_SLOTS.sub(lambda match: f"@dataclass({match[1].rstrip(', ')})", path.read_text()))
    command = [sys.executable, "-m", "mypyc", "--ignore-missing-imports", *hot]
    environment = {**os.environ, "MYPYPATH": str(target)}
    done = subprocess.run(command, cwd=target, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise CompileFailed((done.stdout + done.stderr)[-4000:])
    shutil.rmtree(target / "build", ignore_errors=True)
    stamp.write_text(digest)
    return True


def sources_digest(root: Path) -> str:
    """Of every source and of the interpreter that the result is for."""
    digest = hashlib.sha256(sys.version.encode())
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


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
        built = compile_into(flags.target, ROOT)
    except CompileFailed as error:
        print(f"sidecar.compile: {error}", file=sys.stderr)
        return 1
    print(f"{'built' if built else 'up to date'}: {flags.target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
