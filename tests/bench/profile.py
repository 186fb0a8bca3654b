"""`make profile`: where our sidecar's CPU goes under load. Flame graphs of worker and agent, and shares in percent.

py-spy samples both processes of one hop, frames of compiled code and of libraries included, without stopping them. The
kernel's share is the kernel's own count; how the rest divides is told by the samples. See docs/benchmarks.md.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from sidecar.compile import HOT
from tests.bench.cases import CASES, COMPILED, INTERPRETED, Case, Work
from tests.bench.flame import render
from tests.bench.ground import Ground, prepared
from tests.bench.load import saturate
from tests.bench.processes import Failed, usage
from tests.bench.systems.remora import Remora
from tests.bench.systems.system import Running

_ROOT = Path(__file__).parents[2]
_PY_SPY = Path(sys.executable).with_name("py-spy")
_MARGIN_S = 2
"""Of the load around each recording, so that start and end are not in it."""

_PARTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("TLS", ("libssl", "libcrypto", "_ssl", "SSL_", "net/tls", "ssl.py")),
    ("routing", ("sidecar/routing/",)),
    ("telemetry", ("sidecar/telemetry/", "msgpack")),
    ("parsing and rendering", ("sidecar/http/", "httptools", "llhttp")),
    ("upstream side", ("sidecar/clusters/",)),
    ("filters", ("sidecar/filters/",)),
    ("downstream side", ("sidecar/listeners/",)),
    ("channel to the agent", ("net/channel", "sidecar/config/")),
    ("sockets and buffers", ("sidecar/net/", "sidecar/overload/")),
    ("event loop", ("uvloop", "(loop.c:", "uv__", "uv_run", "libuv")),
)
"""What a frame is counted as: the first part of which a word is in its name or file; the innermost frame that is of any
part decides."""
_OTHER = "interpreter and the rest"
_SYSTEM_CALLS = tuple(f"{name} (" for name in (
    "read", "write", "writev", "send", "sendto", "sendmsg", "recv", "recvfrom", "recvmsg", "epoll_wait", "epoll_pwait",
    "accept4", "connect", "close", "syscall",
))  # fmt: skip
"""Innermost frames that stand for time in the kernel, which is counted elsewhere."""


def _tails() -> dict[str, str]:
    """Hot modules by the ends of their names that are theirs alone: mypyc calls functions `CPyDef_END___NAME`."""
    found: dict[str, list[str]] = {}
    for name in HOT:
        parts = name.split("/")
        for start in range(len(parts)):
            found.setdefault("___".join(parts[start:]), []).append(f"sidecar/{name}.py")
    return {tail: files[0] for tail, files in found.items() if len(files) == 1}


_TAILS = _tails()


@dataclass(frozen=True, slots=True)
class Shares:
    """Of a process, percent of its own CPU."""

    kernel: float
    parts: dict[str, float]


def shares(stacks: Iterable[str], kernel: float) -> Shares:
    """Of samples in py-spy's raw format (`outer;inner COUNT`); `kernel` is 0 to 1."""
    counts: Counter[str] = Counter()
    for line in stacks:
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        if frames[-1].startswith(_SYSTEM_CALLS) or not count.isdigit():
            continue
        counts[_part(reversed(frames))] += int(count)
    user = (1 - kernel) * 100
    total = counts.total() or 1
    return Shares(kernel * 100, {part: user * number / total for part, number in counts.most_common()})


def _part(frames: Iterable[str]) -> str:
    for frame in frames:
        place = _place(frame)
        for part, words in _PARTS:
            if any(word in place for word in words):
                return part
    return _OTHER


def _place(frame: str) -> str:
    """A frame's name and file; of a compiled function, its source's file."""
    for prefix in ("CPyDef_", "CPyPy_"):
        if frame.startswith(prefix):
            parts = frame[len(prefix) :].split("___")
            for count in (2, 1, 3):
                if (file := _TAILS.get("___".join(parts[:count]))) is not None:
                    return file
    return frame


def main() -> int:
    """Exit status 0: recorded; 1: something does not run."""
    arguments = _parse()
    case = next(case for case in CASES if case.name == arguments.case)
    if not _PY_SPY.exists():
        print(f"make profile needs py-spy: {sys.executable} -m pip install --editable '.[profile]'", file=sys.stderr)
        return 1
    missing = [tool for tool in ("wrk", "h2load", "nghttpd", "nginx", "taskset") if not shutil.which(tool)]
    if missing:
        print(f"make profile needs {', '.join(missing)}; see docs/benchmarks.md", file=sys.stderr)
        return 1
    arguments.output.mkdir(parents=True, exist_ok=True)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="remora-profile-") as directory,
            prepared(Path(directory), sys.executable) as ground,
            Remora(INTERPRETED if arguments.interpreted else COMPILED).running(case, ground) as running,
        ):
            _record(running, case, ground, arguments)
    except Failed as error:
        print(f"profile: {error}", file=sys.stderr)
        return 1
    return 0


def _record(running: Running, case: Case, ground: Ground, arguments: argparse.Namespace) -> None:
    """Of the first hop, the client's."""
    agent = running.proxies[0].pid
    (worker,) = (child.pid for child in psutil.Process(agent).children())
    seconds: int = arguments.seconds
    load_s = 2 * seconds + 2 * _MARGIN_S + 4  # two recordings one after the other, each of which takes a while to begin
    load = threading.Thread(target=saturate, args=(running.entry, case, load_s, ground.directory, ground.message))
    load.start()
    try:
        before = psutil.Process(worker).cpu_times(), usage([agent]).cpu_s
        stacks = {}
        for name, pid in (("worker", worker), ("agent", agent)):
            stacks[name] = _sample(pid, seconds, ground.directory / f"{name}.stacks")
            svg = arguments.output / f"profile-{case.name}-{name}.svg"
            svg.write_text(render(stacks[name], f"{name}, {case.name}"))
            print(svg)
        after = psutil.Process(worker).cpu_times(), usage([agent]).cpu_s
    finally:
        load.join()
    user_s, kernel_s = after[0].user - before[0].user, after[0].system - before[0].system
    both_s = after[1] - before[1]
    own = user_s + kernel_s
    print(f"\nworker {own / both_s:.0%}, agent {1 - own / both_s:.0%} of the hop's CPU. Of the worker's:\n")
    found = shares(stacks["worker"], kernel_s / own)
    for part, percent in {"kernel": found.kernel, **found.parts}.items():
        print(f"  {percent:5.1f} %  {part}")


def _sample(pid: int, seconds: int, path: Path) -> Sequence[str]:
    """Stacks that used the processor. Raises Failed."""
    argv = [str(_PY_SPY), "record", "--pid", str(pid), "--native", "--rate", "200", "--duration", str(seconds),
            "--format", "raw", "--output", str(path)]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + 60, check=False)
    if done.returncode or not path.exists():
        raise Failed(f"py-spy (it may need root, or kernel.yama.ptrace_scope=0):\n{done.stdout}{done.stderr}")
    return path.read_text().splitlines()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make profile", description=__doc__)
    cases = [case.name for case in CASES if case.work is not Work.NOTHING]
    parser.add_argument("case", nargs="?", choices=cases, default="plain-100B", help="default: %(default)s")
    parser.add_argument("--seconds", type=int, default=8, help="of each recording; default: %(default)s")
    parser.add_argument("--interpreted", action="store_true", help="profile the sources instead of the build")
    parser.add_argument("--output", type=Path, default=_ROOT / "build", help="directory; default: build/")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
